"""Can this key read that? Asked with the smallest request there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from etl.api import paths, providers
from etl.api.client import Client
from etl.api.paging import pages
from etl.errors import ApiError, ConfigError, Exchange
from etl.settings import Source


@dataclass(frozen=True)
class Access:
    """What came of asking."""

    path: str
    ok: bool
    #: For people: what can be read with which key, or why not and what to do.
    sentence: str
    #: None where nothing was sent.
    exchange: Exchange | None = None


def check_access(client: Client, path: str, *, params: Iterable[tuple[str, str]] = ()) -> Access:
    """Ask a list for one item. Raises ValueError for a path that is not a list, nothing else.

    `/organization/costs` needs a `start_time` among the params.
    """
    read = pages(client, path, limit=1, params=params)
    try:
        page = next(read)
    except ConfigError as error:
        return Access(path, ok=False, sentence=str(error))
    except ApiError as error:
        return Access(path, ok=False, sentence=str(error), exchange=error.exchange)
    key = providers.key_of(client.source, paths.find(path).key)
    rest = "." if page.items else ", and is empty."
    sentence = f"{path} can be read with the key from {key.origin}{rest}"
    return Access(path, ok=True, sentence=sentence, exchange=page.exchange)


def has_key(source: Source, path: str) -> bool:
    """Does the source name a key for this path? What needs an admin key is passed over without one.

    A project's key is always needed; one that is missing is to be heard of.
    """
    return paths.find(path).key != "admin" or source.admin_key.is_named
