"""Lists, page by page, to an end that cannot be missed or go on for ever."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from etl import jsontext
from etl.api import paths
from etl.api.answers import page_of
from etl.api.client import Answer, Client
from etl.errors import ApiContractError, ApiRefused, Exchange

#: How servers refuse a cursor that they do not know.
UNKNOWN_CURSOR = (400, 404, 410, 422)
#: Earlier ids of a page that are tried where its last one is gone.
_EARLIER = 3


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    #: The exact bytes of each item, in the order of the answer.
    items: list[bytes] = field(repr=False)
    #: The id of each item; None where it has none, and of a list whose items have none.
    ids: list[str | None] = field(repr=False)
    #: Where the next page begins; None when this one is the last.
    cursor: str | None
    #: 1 for the first page that this call read.
    number: int
    exchange: Exchange


def pages(
    client: Client,
    path: str,
    *,
    limit: int | None = None,
    after: str | None = None,
    params: Iterable[tuple[str, str]] = (),
) -> Iterator[Page]:
    """Read a list from its head, or from a cursor, to its end.

    `limit`: items to ask for at once; what fits the endpoint when not given. The end is where the
    official SDK ends: `has_more` is false, or the page is empty, or there is no id to go on from.

    Raises ValueError for a path that is not a list, ApiContractError for an answer that is not a
    page, or that cannot be followed though it says there is more, or that leads back.
    """
    endpoint = paths.find(path)
    if endpoint.cursor is None:
        raise ValueError(f"{path} is not a list")
    size = limit or endpoint.page_size
    given = [*params, ("limit", str(size))]
    return _pages(client, path, endpoint.cursor, given, after)


def metadata_filter(pairs: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Parameters for jobs with all these metadata; None: for jobs without any."""
    if pairs is None:
        return [("metadata", "null")]
    return [(f"metadata[{name}]", value) for name, value in pairs.items()]


def _pages(
    client: Client,
    path: str,
    rule: paths.CursorRule,
    params: list[tuple[str, str]],
    cursor: str | None,
) -> Iterator[Page]:
    cursors: set[str] = set()
    before: list[str] = []
    for number in itertools.count(1):
        asked = params if cursor is None else [*params, (rule, cursor)]
        # A page that was spoilt on its way may lead back: only one that does so again is believed.
        for _ in range(2):
            if rule == "page":  # days of costs have no id
                answer, found = client.read(path, page_of, asked)
                ids: list[str | None] = [None] * len(found.items)
                following = _token(found, answer)
            else:
                answer, found = _behind(client, path, params, asked, before)
                ids = _ids(answer, found)
                following = _last_id(found, ids, answer)
            if following not in cursors:
                break
        else:
            raise ApiContractError(
                "The server repeats itself: the next page would begin where an earlier one began, "
                "so the list would never end.",
                answer.exchange,
            )
        cursor = following
        before = [one for one in ids if one] if found.has_more else []
        yield Page(found.items, ids, cursor, number, answer.exchange)
        if cursor is None:
            return
        cursors.add(cursor)


def _behind(
    client: Client,
    path: str,
    params: list[tuple[str, str]],
    asked: list[tuple[str, str]],
    before: list[str],
) -> tuple[Answer, jsontext.ListPage]:
    """The page behind a cursor, found from an earlier id where that one is gone by now.

    `before`: the ids of the page before, of which the server said that more follows. Some servers
    refuse a cursor that they do not know, to others it is the end of the list.
    """
    refused: ApiRefused | None = None
    try:
        answer, found = client.read(path, page_of, asked)
    except ApiRefused as error:
        if not before or error.exchange.status not in UNKNOWN_CURSOR:
            raise
        refused = error
    else:
        if found.items or not before:
            return answer, found
    for one in reversed(before[-1 - _EARLIER : -1]):
        try:
            earlier, again = client.read(path, page_of, [*params, ("after", one)])
        except ApiRefused as error:
            if error.exchange.status not in UNKNOWN_CURSOR:
                raise
            continue
        if again.items:
            return earlier, _without(again, earlier, set(before))
    if refused is not None:
        raise refused
    return answer, found


def _ids(answer: Answer, found: jsontext.ListPage) -> list[str | None]:
    ids = jsontext.item_ids(answer.body, found.items)
    # Some items of the answer may have been left out.
    if len(ids) == len(found.items):
        return ids
    return [jsontext.item_id(item) for item in found.items]


def _without(found: jsontext.ListPage, answer: Answer, known: set[str]) -> jsontext.ListPage:
    """The page without the items that came before."""
    ids = jsontext.item_ids(answer.body, found.items)
    items = [item for item, one in zip(found.items, ids, strict=True) if one not in known]
    return jsontext.ListPage(items, found.has_more, found.next_page)


def _last_id(found: jsontext.ListPage, ids: list[str | None], answer: Answer) -> str | None:
    if found.has_more is False or not found.items:
        return None
    for one in reversed(ids):
        # Not always the last item's: where that one is broken, the next page begins before it.
        if one:
            return one
    if found.has_more:
        raise ApiContractError(
            "The server says there is more, but no item of this page has an id to go on from.",
            answer.exchange,
        )
    return None


def _token(found: jsontext.ListPage, answer: Answer) -> str | None:
    if found.has_more is False:
        return None
    if found.next_page and found.items:
        return found.next_page
    if found.has_more:
        raise ApiContractError(
            "The server says there is more, but "
            + ("this page is empty." if found.next_page else "names no next page."),
            answer.exchange,
        )
    return None
