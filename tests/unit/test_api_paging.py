"""Lists over a real server: where they end, how they go on, what stops a list without end."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from etl.api import Access, Client, Page, check_access, metadata_filter, pages
from etl.api.seen import Seen
from etl.errors import ApiContractError, SpoiltAnswer
from etl.settings import Secret, Source
from tests.http_server import Reply, Script, Server, serve

JOBS = "/fine_tuning/jobs"
COSTS = "/organization/costs"


@contextmanager
def talking(script: Script, **changes: Any) -> Iterator[tuple[Server, Client]]:
    """A server with this script, and a client of it that does not really wait."""
    keys = {"api_key": Secret("KEY", "sk-1"), "admin_key": Secret("ADMIN", "sk-admin-1")}
    with serve(script) as server:
        source = Source(base_url=server.url, **{**keys, **changes})
        with Client(source, sleep=lambda _: None) as client:
            yield server, client


def page(*ids: Any, **envelope: Any) -> Reply:
    """A page of items with these ids; an item that is no text is taken as it is."""
    data = [{"id": name} if isinstance(name, str) else name for name in ids]
    return Reply({"object": "list", "data": data, **envelope})


def read(script: Script, path: str = JOBS, **how: Any) -> tuple[list[Page], list[list[Any]]]:
    """All pages, and the query of each request."""
    with talking(script) as (server, client):
        return list(pages(client, path, **how)), [seen.query for seen in server.seen]


def ids(found: list[Page]) -> list[list[Any]]:
    return [[json.loads(item).get("id") for item in page.items] for page in found]


def test_reads_to_the_end() -> None:
    """The cursor is the id of the last item, as long as there is more."""
    script = [page("c", "b", has_more=True), page("a", has_more=False)]
    found, queries = read(script)
    assert ids(found) == [["c", "b"], ["a"]]
    assert [(p.number, p.cursor, p.exchange.status) for p in found] == [
        (1, "b", 200),
        (2, None, 200),
    ]
    assert queries == [[("limit", "100")], [("limit", "100"), ("after", "b")]]


def test_items_are_exact_bytes() -> None:
    """Nothing is decoded and written again."""
    body = b'{"data": [ {"id" : "a", "x": 1.0} , {"id":"b"}], "has_more": false}'
    (found,), _ = read([Reply(body)])
    assert found.items == [b'{"id" : "a", "x": 1.0}', b'{"id":"b"}']


def test_begins_at_a_cursor_with_its_own_limit_and_params() -> None:
    """All of them on every page."""
    script = [page("b", has_more=True), page("a", has_more=False)]
    _, queries = read(script, limit=1, after="c", params=metadata_filter({"team": "x"}))
    assert queries == [
        [("metadata[team]", "x"), ("limit", "1"), ("after", "c")],
        [("metadata[team]", "x"), ("limit", "1"), ("after", "b")],
    ]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (None, [("metadata", "null")]),
        ({}, []),
        ({"a": "1", "b": "null"}, [("metadata[a]", "1"), ("metadata[b]", "null")]),
    ],
)
def test_metadata_filters(pairs: dict[str, str] | None, expected: list[tuple[str, str]]) -> None:
    """None asks for jobs without any metadata."""
    assert metadata_filter(pairs) == expected


@pytest.mark.parametrize("envelope", [{}, {"has_more": None}])
def test_a_missing_has_more_means_go_on(envelope: dict[str, Any]) -> None:
    """Until a page is empty."""
    found, _ = read([page("b", **envelope), page("a", **envelope), page(**envelope)])
    assert ids(found) == [["b"], ["a"], []]
    assert [p.cursor for p in found] == ["b", "a", None]


@pytest.mark.parametrize("has_more", [True, False, None])
def test_an_empty_page_is_the_end(has_more: bool | None) -> None:
    """Whatever it says about more: there is no id to go on from."""
    found, queries = read([page(has_more=has_more)])
    assert [(p.items, p.cursor) for p in found] == [([], None)]
    assert len(queries) == 1


def test_fewer_items_than_asked_are_not_the_end() -> None:
    """Only the server knows where its list ends."""
    found, _ = read([page("b", has_more=True), page("a", has_more=False)], limit=50)
    assert ids(found) == [["b"], ["a"]]


@pytest.mark.parametrize("last", [{}, {"id": None}, {"id": 7}, {"id": ""}, [1], None])
def test_a_last_item_without_an_id(last: Any) -> None:
    """The list goes on from the last id there is; nothing is lost."""
    script = [page("c", "b", last, has_more=True), page(last, "a", has_more=False)]
    found, queries = read(script)
    assert [p.cursor for p in found] == ["b", None]
    assert queries[1][-1] == ("after", "b")
    assert len(found[1].items) == 2


def test_a_broken_last_item() -> None:
    """An item that is no JSON stays among the others, and the list goes on."""
    body = b'{"data": [{"id": "b"}, {"id": "\\ud800", "x": NaN}], "has_more": true}'
    found, queries = read([Reply(body), page("a", has_more=False)])
    assert found[0].items == [b'{"id": "b"}', b'{"id": "\\ud800", "x": NaN}']
    assert queries[1][-1] == ("after", "b")


def test_more_without_any_id_is_an_error() -> None:
    """Never a silent end in the middle of a list."""
    with pytest.raises(ApiContractError, match="no item of this page has an id to go on from"):
        read([page({"x": 1}, {"x": 2}, has_more=True)])


def test_no_id_and_no_word_about_more_is_the_end() -> None:
    """As the official SDK has it."""
    found, _ = read([page({"x": 1})])
    assert [p.cursor for p in found] == [None]


LEADING_BACK = [
    [page("b", "a", has_more=True), page("b", "a", has_more=True)],
    [page("b", "a", has_more=True), page("a", "b", has_more=True), page("a", has_more=True)],
    [page("c", has_more=True), page("b", has_more=True), page("c", has_more=True)],
]


@pytest.mark.parametrize("script", LEADING_BACK)
def test_a_page_that_leads_back_twice_ends_a_list_without_end(script: list[Reply]) -> None:
    """Also when it comes round only after a while; the page is not handed out."""
    numbers: list[int] = []
    with (
        talking([*script, script[-1]]) as (server, client),
        pytest.raises(ApiContractError) as caught,
    ):
        numbers.extend(found.number for found in pages(client, JOBS))
    assert "The server repeats itself" in str(caught.value)
    assert "GET /fine_tuning/jobs" in str(caught.value)
    assert len(numbers) == len(script) - 1
    assert (client.requests, client.retries) == (len(script) + 1, 0)
    assert server.seen[-1].query == server.seen[-2].query


@pytest.mark.parametrize("script", LEADING_BACK)
def test_a_page_that_leads_back_once_is_asked_for_again(script: list[Reply]) -> None:
    """It may have been spoilt on its way, and nothing of it is handed out."""
    whole, queries = read([*script[:-1], page("z", has_more=False)])
    healed, asked = read([*script, page("z", has_more=False)])
    assert ids(healed) == ids(whole)
    assert [(p.number, p.cursor) for p in healed] == [(p.number, p.cursor) for p in whole]
    assert asked == [*queries, queries[-1]]


def test_one_good_page_makes_no_later_one_believed_at_once() -> None:
    """Each place of a list has its two tries."""
    first, second = page("c", has_more=True), page("b", has_more=True)
    found, _ = read([first, first, second, first, page("a", has_more=False)])
    assert ids(found) == [["c"], ["b"], ["a"]]


def test_pages_may_overlap() -> None:
    """What counts is where the next one begins."""
    found, _ = read([page("c", "b", has_more=True), page("b", "a", has_more=False)])
    assert ids(found) == [["c", "b"], ["b", "a"]]


NO_PAGES = [
    (Reply("<html><title>Login</title>", headers={"Content-Type": "text/html"}), "An HTML page"),
    (Reply(""), "This is not a page of a list"),
    (Reply('{"data": [{"id": "a"'), "This is not a page of a list"),
    (Reply([]), "This is not a page of a list"),
    (Reply({"object": "list"}), "This is not a page of a list"),
    (Reply({"data": {}}), "This is not a page of a list"),
    (Reply({"error": {"message": "overloaded"}}), "This is not a page of a list"),
]


@pytest.mark.parametrize(("reply", "said"), NO_PAGES)
def test_what_is_not_a_page(reply: Reply, said: str) -> None:
    """Three times the same is believed. The error names what came, the path and the request."""
    answer = Reply(reply.body, headers={**reply.headers, "x-request-id": "req_1"})
    with (
        talking([answer] * 3) as (server, client),
        pytest.raises(SpoiltAnswer, match=said) as caught,
    ):
        list(pages(client, JOBS))
    assert str(caught.value).endswith("(GET /fine_tuning/jobs, HTTP 200, request id req_1)")
    assert (client.requests, client.retries, len(server.seen)) == (3, 2, 3)


@pytest.mark.parametrize("reply", [reply for reply, _ in NO_PAGES])
def test_what_is_not_a_page_once_is_asked_for_again(reply: Reply) -> None:
    """In the middle of a list, from where it stood."""
    script = [page("b", has_more=True), reply, reply, page("a", has_more=False)]
    found, queries = read(script)
    assert ids(found) == [["b"], ["a"]]
    assert [p.number for p in found] == [1, 2]
    assert queries[1:] == [[("limit", "100"), ("after", "b")]] * 3


def test_more_than_can_be_followed_is_no_spoilt_answer() -> None:
    """A whole page that says what we do not understand is not asked for again."""
    with talking([page({"x": 1}, has_more=True)]) as (server, client):
        with pytest.raises(ApiContractError, match="no item of this page has an id"):
            list(pages(client, JOBS))
        assert len(server.seen) == 1


def test_only_lists_have_pages() -> None:
    """Said at once, not at the first page."""
    with talking([]) as (_, client), pytest.raises(ValueError, match="/files/file-1 is not a list"):
        pages(client, "/files/file-1")


def day(number: int) -> dict[str, Any]:
    return {"object": "bucket", "start_time": number, "results": []}


def test_costs_follow_their_token() -> None:
    """180 days a page, from the token of the page before."""
    script = [page(day(1), has_more=True, next_page="t/2="), page(day(2), has_more=False)]
    found, queries = read(script, COSTS, params=[("start_time", "1")])
    assert [(p.cursor, len(p.items)) for p in found] == [("t/2=", 1), (None, 1)]
    assert queries == [
        [("start_time", "1"), ("limit", "180")],
        [("start_time", "1"), ("limit", "180"), ("page", "t/2=")],
    ]


@pytest.mark.parametrize("envelope", [{"has_more": False, "next_page": "t"}, {"next_page": None}])
def test_costs_end(envelope: dict[str, Any]) -> None:
    """When there is no more, or no next page and no word about more."""
    found, _ = read([page(day(1), **envelope)], COSTS)
    assert [p.cursor for p in found] == [None]


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([page(day(1), has_more=True)], "names no next page"),
        ([page(has_more=True, next_page="t")], "this page is empty"),
        ([page(day(1), has_more=True, next_page="t")] * 3, "repeats itself"),
    ],
)
def test_costs_that_cannot_be_followed(replies: list[Reply], said: str) -> None:
    """Money is never cut off in silence."""
    with pytest.raises(ApiContractError, match=said):
        read(replies, COSTS)


def test_projects_come_with_the_archived_ones() -> None:
    """Their jobs and costs are history too."""
    _, queries = read([page("proj_1", has_more=False)], "/organization/projects")
    assert queries == [[("include_archived", "true"), ("limit", "100")]]


def test_a_hundred_thousand_values_are_remembered_in_little_memory() -> None:
    """Told apart without a mistake, in 8 bytes a slot, at most half of them taken."""
    seen = Seen()
    numbers = list(range(100_000))
    random.Random(1).shuffle(numbers)
    names = [f"ftjob-{number}" for number in numbers]
    assert sum(map(seen.add, names)) == 100_000
    assert sum(map(seen.add, names)) == 0
    assert len(seen) == 100_000
    assert len(seen._slots) == 262_144


def test_of_two_equal_values_the_first_is_new() -> None:
    seen = Seen()
    assert seen.add("a") is True
    assert seen.add_all(["b", "a", "b", b"c"]) == [True, False, False, True]
    assert len(seen) == 3


def test_access_is_checked_with_one_item() -> None:
    """The smallest request, and a sentence with the key's origin."""
    with talking([page("a", has_more=True), page(has_more=False)]) as (server, client):
        first, second = check_access(client, JOBS), check_access(client, "/files")
    assert first.sentence == "/fine_tuning/jobs can be read with the key from KEY."
    assert second.sentence == "/files can be read with the key from KEY, and is empty."
    assert (first.ok, second.ok) == (True, True)
    assert [seen.query for seen in server.seen] == [[("limit", "1")], [("limit", "1")]]


def test_access_that_is_refused() -> None:
    """Whatever is wrong becomes a sentence, not an exception."""
    script = [Reply(status=403), *[Reply("<html>")] * 3]
    with talking(script, admin_key=Secret("ADMIN")) as (server, client):
        refused = check_access(client, JOBS)
        no_list = check_access(client, JOBS)
        no_key = check_access(client, COSTS, params=[("start_time", "1")])
    assert (refused.ok, no_list.ok, no_key.ok) == (False, False, False)
    assert "It needs read on fine-tuning" in refused.sentence
    assert "not a page of a list" in no_list.sentence
    assert refused.exchange is not None
    assert refused.exchange.status == 403
    assert no_key == Access(COSTS, ok=False, sentence=no_key.sentence)
    assert "ADMIN is not set" in no_key.sentence
    assert len(server.seen) == 4
