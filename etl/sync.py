"""Sync: every list of every source, and what hangs off it, from the API into the database."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Engine

from etl.api.access import has_key
from etl.api.clients import Clients
from etl.api.paging import pages
from etl.api.seen import Seen
from etl.batch import Refusal, build, read
from etl.children import Round, children
from etl.days import days
from etl.db import again, frontier
from etl.db.frontier import Frontier
from etl.db.runs import Tally
from etl.db.store import Store, utc_now
from etl.deadline import Deadline, ago
from etl.errand import Errand, origin_of
from etl.errors import ConfigError, EtlError, LongWait, StoreError, TimeIsUp
from etl.lists import Reading
from etl.pipe import Chunk, Meter, Progress, Run, RunResult, SourceResult, run
from etl.record import Record
from etl.resource import Resource
from etl.settings import Source
from etl.spend.prices import Book

log = logging.getLogger(__name__)

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Order:
    """What a run is asked to do."""

    sources: Sequence[Source]
    #: In an order in which nothing comes before what it hangs off.
    resources: Sequence[Resource]
    #: Parameters that narrow the listing (`metadata_filter`); with any, the run is not whole.
    narrowing: Sequence[tuple[str, str]] = ()
    #: `full` lists everything; `incremental` from the head to where it was read before; `auto` is
    #: incremental where the last full listing is younger than `full_every`.
    mode: str = "auto"
    #: Seconds after which nothing more is begun.
    time_limit: float | None = None
    #: Mark what a listing came without, however much that is.
    accept_missing: bool = False
    #: Were these resources asked for by name?
    is_picked: bool = False
    #: All sources that the configuration names, also those that this run leaves alone: a record of
    #: any other is taken over by the source that lists it. None where nobody knows.
    configured: frozenset[str] | None = None
    #: Seconds to wait for another writer to end.
    wait: float = 0.0
    #: The prices that the mirror is to have; None leaves it those it has.
    book: Book | None = None


def sync(
    engine: Engine,
    order: Order,
    progress: Progress,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    stopped: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Mirror what is ordered. A source that fails never stops the others.

    Once `stopped` says so, the run writes what it has read and ends as partial. Raises LeaseHeld
    where another writer is at work, StoreError where the database fails.
    """
    deadline = Deadline(order.time_limit, clock=clock, stopped=stopped)
    terms = (now, order.configured, sleep, order.wait, order.book)
    with run(engine, order.mode, "sync", progress, *terms) as current:
        current.result.mode = "incremental"
        turn = 0
        if deadline.is_set:  # so that nobody always comes when the time is up
            turn = current.store.run_id
            order = replace(order, sources=_turned(order.sources, turn))
        for source, result, clients in _sources(order, current.result, sleep):
            visit = _Visit(engine, order, source, clients, current, result, deadline, now)
            lists = [one for one in order.resources if one.parents is None]
            rest = [one for one in order.resources if one.parents is not None]
            for resource in (*lists, *_turned(rest, turn)):
                if not visit.mirror(resource):
                    break
            if order.is_picked and result.skipped and not result.tallies:
                result.error = "; ".join(f"{name}: {why}" for name, why in result.skipped.items())
    return current.result


def _turned(items: Sequence[_Item], turn: int) -> Sequence[_Item]:
    """The same in the same order, but begun with another."""
    begin = turn % len(items) if items else 0
    return [*items[begin:], *items[:begin]]


class _Visit:
    """One run at one source."""

    def __init__(
        self,
        engine: Engine,
        order: Order,
        source: Source,
        clients: Clients,
        current: Run,
        result: SourceResult,
        deadline: Deadline,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._order = order
        self._source = source
        self._clients = clients
        self._current = current
        self._result = result
        self._deadline = deadline
        self._now = now
        #: Is this a visit that reads lists from end to end, as one is in `full_every`?
        self._is_full = order.mode == "full"
        #: The jobs that a narrowed run came by.
        self._jobs: Seen | None = None

    def mirror(self, resource: Resource) -> bool:
        """Mirror one resource. False where nothing more is to be asked of this source."""
        if not self._has_key(resource):
            return True
        if self._order.narrowing and resource.parents is None and resource.item_path is None:
            return True
        tally = Tally(
            self._source.name, resource.name, self._now(), is_whole=not self._order.narrowing
        )
        if resource.parents is not None:
            chunks = self._children(resource, tally)
        else:
            chunks = self._list(resource, tally)
        self._result.tallies.append(tally)
        chunks = itertools.chain(self._unless_stopped(), chunks)
        self._current.feed(resource, chunks, tally, meter=_meter(self._clients))
        # Where not even the list could be read, what hangs off it would only look like a success.
        is_refused = tally.status == "failed" and resource.item_path is not None
        return not (is_refused or isinstance(tally.ended_by, TimeIsUp | LongWait))

    def _unless_stopped(self) -> Iterator[Chunk]:
        """Nothing; but where the run was told to stop, nothing more is asked either."""
        self._deadline.check_stopped()
        yield from ()

    def _has_key(self, resource: Resource) -> bool:
        """Can this source be asked for it? What needs an admin key is passed over without one."""
        if has_key(self._source, resource.path):
            return True
        reason = f"no admin key ({self._source.admin_key.origin})"
        self._result.skipped[resource.name] = reason
        if self._order.is_picked:
            log.warning("%s, %s: skipped, %s", self._source.name, resource.name, reason)
        return False

    def _list(self, resource: Resource, tally: Tally) -> Iterable[Chunk]:
        """The records of a list of its own; none where it is not yet due again.

        Of a list of days the last are always due.
        """
        place = (self._source.name, resource.name)
        known = again.read(self._engine, lambda connection: frontier.load(connection, *place))
        is_due = self._is_due(known, tally.started_at)
        if resource.days is not None:
            errand = self._errand(resource, known, tally, is_whole=self._order.mode == "full")
            return days(errand)
        if resource.item_path is None and not is_due:
            return ()
        is_whole = is_due and (known.cursor is None or self._order.mode == "full")
        if is_whole and resource.item_path is not None and not self._order.narrowing:
            self._current.result.mode = "full"
            self._is_full = True
        reading = Reading(self._errand(resource, known, tally, is_whole=is_whole))
        if self._order.narrowing:
            self._jobs = reading.seen
        return reading.chunks()

    def _errand(
        self, resource: Resource, known: Frontier, tally: Tally, *, is_whole: bool
    ) -> Errand:
        return Errand(
            self._engine,
            self._clients,
            self._source,
            resource,
            known,
            tally.started_at,
            self._now,
            self._deadline,
            is_whole,
            self._order.narrowing,
            self._order.accept_missing,
        )

    def _is_due(self, known: Frontier, now: datetime) -> bool:
        """Is the whole list to be read?"""
        if self._order.mode == "full" or known.listed_at is None:
            return True
        long_ago = ago(now, self._source.full_every)
        return self._order.mode == "auto" and known.listed_at <= long_ago

    def _children(self, resource: Resource, tally: Tally) -> Iterable[Chunk]:
        if resource.parents is None:
            raise ValueError(f"{resource.name} hangs off nothing")

        def told(parents: int) -> None:
            tally.total, tally.done = parents, tally.done or 0

        return children(
            Round(
                self._engine,
                self._clients,
                self._source,
                resource,
                resource.parents,
                origin_of(self._source),
                self._now,
                self._deadline,
                self._jobs,
                is_full=self._order.mode == "full",
                is_doubting=self._is_full,
                told=told,
            )
        )


def rehearse(
    engine: Engine | None,
    order: Order,
    progress: Progress,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = utc_now,
) -> RunResult:
    """What a full listing would change, found by the same look-ups; nothing is written.

    No lease is taken, and what hangs off records is not asked for. `engine`: None for a mirror that
    does not exist yet, in which everything would be new.
    """
    began = time.monotonic()
    result = RunResult("full")
    lists = [one for one in order.resources if one.parents is None and one.item_path is not None]
    for source, found, clients in _sources(order, result, sleep):
        for resource in lists:
            tally = Tally(source.name, resource.name, now(), not order.narrowing)
            found.tallies.append(tally)
            meter = _meter(clients)
            try:
                for page in pages(clients[0], resource.path, params=order.narrowing):
                    origin, seen_at = origin_of(source), now()
                    items = [
                        read(resource, item, origin, seen_at, one)
                        for item, one in zip(page.items, page.ids, strict=True)
                    ]
                    tally.counts.update(meter(), pages=tally.counts["pages"] + 1)
                    _plan(engine, resource, items, tally)
                    tally.read += len(items)
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
) -> Iterator[tuple[Source, SourceResult, Clients]]:
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
            yield source, found, clients


def _meter(clients: Clients) -> Meter:
    """What one list costs, of all that its clients do."""
    requests, retries = clients.requests, clients.retries
    return lambda: {
        "requests": clients.requests - requests,
        "retries": clients.retries - retries,
    }


def _plan(
    engine: Engine | None, resource: Resource, items: Sequence[Record | Refusal], tally: Tally
) -> None:
    if engine is not None:
        Store(engine, _no_fence).plan(resource, items, tally)
        return
    batch = build(resource, items, {})
    tally.add(batch.counts)
    tally.newly_quarantined += len(batch.refused)


def _no_fence(_: Connection) -> None:
    """A rehearsal opens no writing transaction that a lease would have to guard."""
