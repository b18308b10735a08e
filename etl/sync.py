"""Sync: every list of every source, from the API into the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine

from etl.api.clients import Clients
from etl.api.paging import Page, pages
from etl.api.paths import find
from etl.batch import build, read
from etl.db.cuts import cuts
from etl.db.runs import Tally
from etl.db.store import Store, utc_now
from etl.errors import ConfigError, EtlError, StoreError
from etl.listing import LEAST_PAGES, RANGES_EACH, listing
from etl.pipe import Chunk, Meter, Progress, RunResult, SourceResult, run
from etl.record import Origin
from etl.resource import Resource
from etl.settings import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What a run is asked to do."""

    sources: Sequence[Source]
    resources: Sequence[Resource]
    #: Parameters that narrow the listing (`metadata_filter`); with any, the run is not whole.
    narrowing: Sequence[tuple[str, str]] = ()
    mode: str = "full"


def sync(
    engine: Engine,
    order: Order,
    progress: Progress,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = utc_now,
) -> RunResult:
    """Mirror what is ordered. A source that fails never stops the others.

    Raises LeaseHeld where another writer is at work, StoreError where the database fails.
    """
    with run(engine, order.mode, "sync", progress, now) as current:
        for source, tallies, clients in _sources(order, current.result, sleep):
            for resource in order.resources:
                tally = Tally(source.name, resource.name, now(), not order.narrowing)
                tallies.append(tally)
                known = partial(_cuts, engine, source, resource, order)
                with listing(clients, resource.path, known, order.narrowing) as found:
                    chunks = _chunks(found, source, resource, now)
                    current.feed(resource, chunks, tally, meter=_meter(clients))
    return current.result


def rehearse(
    engine: Engine | None,
    order: Order,
    progress: Progress,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = utc_now,
) -> RunResult:
    """What `sync` would change, found by the same look-ups; nothing is written, no lease taken.

    `engine`: None for a mirror that does not exist yet, in which everything would be new.
    """
    began = time.monotonic()
    result = RunResult(order.mode)
    for source, tallies, clients in _sources(order, result, sleep):
        for resource in order.resources:
            tally = Tally(source.name, resource.name, now(), not order.narrowing)
            tallies.append(tally)
            meter = _meter(clients)
            found = pages(clients[0], resource.path, params=order.narrowing)
            try:
                for chunk in _chunks(found, source, resource, now):
                    tally.counts.update(meter(), pages=tally.counts["pages"] + 1)
                    _plan(engine, resource, chunk, tally)
                    tally.read += len(chunk.items)
                    progress(tally)
                tally.status = "partial" if tally.newly_quarantined else "success"
            except StoreError:
                raise
            except EtlError as error:
                tally.status, tally.error = "failed", str(error)
                log.error("%s, %s: %s", source.name, resource.name, error)  # noqa: TRY400
    result.seconds = time.monotonic() - began
    return result


def _sources(
    order: Order, result: RunResult, sleep: Callable[[float], None]
) -> Iterator[tuple[Source, list[Tally], Clients]]:
    """Each source with its clients; one whose settings cannot work is logged and passed over."""
    for source in order.sources:
        found = SourceResult(source.name)
        result.sources.append(found)
        try:
            clients = Clients(source, sleep=sleep)
        except ConfigError as error:
            found.error = str(error)
            log.error("%s: %s", source.name, error)  # noqa: TRY400
            continue
        with clients:
            yield source, found.tallies, clients


def _cuts(engine: Engine, source: Source, resource: Resource, order: Order) -> list[str]:
    """Where the list may be cut for the source's readers; nowhere where it is narrowed."""
    page = find(resource.path).page_size
    if order.narrowing or source.workers == 1 or page is None:
        return []
    return cuts(engine, resource, source.name, source.workers * RANGES_EACH, page, LEAST_PAGES)


def _chunks(
    found: Iterable[Page], source: Source, resource: Resource, now: Callable[[], datetime]
) -> Iterator[Chunk]:
    """The pages of a list as records."""
    origin = Origin(source.name, source.provider, source.id_space, source.project)
    for page in found:
        seen_at = now()
        items = [
            read(resource, item, origin, seen_at, one)
            for item, one in zip(page.items, page.ids, strict=True)
        ]
        yield Chunk(items, page.cursor, pages=1)


def _meter(clients: Clients) -> Meter:
    """What one list costs, of all that its clients do."""
    requests, retries = clients.requests, clients.retries
    return lambda: {
        "requests": clients.requests - requests,
        "retries": clients.retries - retries,
    }


def _plan(engine: Engine | None, resource: Resource, chunk: Chunk, tally: Tally) -> None:
    if engine is not None:
        Store(engine, _no_fence).plan(resource, chunk.items, tally)
        return
    batch = build(resource, chunk.items, {})
    tally.add(batch.counts)
    tally.newly_quarantined += len(batch.refused)


def _no_fence(_: Connection) -> None:
    """A rehearsal opens no writing transaction that a lease would have to guard."""
