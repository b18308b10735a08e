"""The door to the database: one batch, one transaction, under the lease."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete

from etl import jsontext
from etl.batch import Batch, Known, Refusal, build
from etl.db import bulk, drift, ledger, quarantine, runs
from etl.db.engine import RowsRefused, database_errors, writing
from etl.db.runs import Tally
from etl.db.tables import frontiers
from etl.db.upsert import upsert
from etl.record import Record
from etl.resource import Resource

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Place:
    """Where a listing stands, written with the batch that brought it there."""

    source: str
    resource: str
    started_at: datetime
    cursor: str | None
    #: The ids at the head of the list when it was begun, newest first.
    newest_ids: tuple[str, ...] = ()
    #: Did the listing reach its end?
    is_done: bool = False


class Store:
    """Writes batches for one run."""

    def __init__(
        self,
        engine: Engine,
        fence: Callable[[Connection], None],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine = engine
        self._fence = fence
        self.now = now
        self.run_id = 0
        self._has_open_quarantine = False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction. Its first statement renews the lease; every look-up comes after.

        Raises LeaseLost, RowsRefused, StoreError; whatever is raised, nothing was written.
        """
        with database_errors(), writing(self._engine) as connection:
            self._fence(connection)
            yield connection

    def begin(self, mode: str) -> int:
        """Log that a run begins; its number."""
        with self.transaction() as connection:
            self.run_id = runs.begin(connection, mode, self.now())
            self._has_open_quarantine = quarantine.waiting(connection) > 0
        return self.run_id

    def end(self, status: str, error: str | None, counts: dict[str, int]) -> None:
        """Log how the run ended."""
        with self.transaction() as connection:
            runs.end(connection, self.run_id, status, error, counts, self.now())

    def note(self, tally: Tally) -> None:
        """Log how a resource stands, outside of any batch."""
        with self.transaction() as connection:
            runs.note(connection, self.run_id, tally)

    def apply(
        self,
        resource: Resource,
        items: Sequence[Record | Refusal],
        tally: Tally,
        *,
        place: Place | None = None,
        importing: bool = False,
    ) -> None:
        """Mirror some records, log them in `tally`, write where the listing stands: all or none.

        Rows that the database refuses are sought by halving, so that only they are quarantined.
        """
        before = replace(tally, counts=dict(tally.counts))
        try:
            with self.transaction() as connection:
                found = self._write(connection, resource, items, tally, place, importing=importing)
        except RowsRefused as error:
            tally.counts, tally.newly_quarantined = before.counts, before.newly_quarantined
            halves = _halves(items, str(error))
            for number, half in enumerate(halves, 1):
                last = place if number == len(halves) else None
                self.apply(resource, half, tally, place=last, importing=importing)
        else:
            _tell(resource.name, found)

    def plan(
        self, resource: Resource, items: Sequence[Record | Refusal], *, importing: bool = False
    ) -> Batch:
        """What `apply` would do, decided without writing anything."""
        with database_errors(), self._engine.connect() as connection:
            return build(
                resource,
                items,
                _known(connection, resource, items, importing=importing),
                importing=importing,
            )

    def _write(
        self,
        connection: Connection,
        resource: Resource,
        items: Sequence[Record | Refusal],
        tally: Tally,
        place: Place | None,
        *,
        importing: bool,
    ) -> _Found:
        known = _known(connection, resource, items, importing=importing)
        batch = build(resource, items, known, importing=importing)
        now = self.now()
        ledger.write(connection, batch, self.run_id, now)
        _write_rows(connection, batch)
        found = _Found(seen_again=len(batch.refused))
        if batch.refused:
            self._has_open_quarantine = True
            put = (tally.source, batch.refused, self.run_id, now)
            found.quarantined = quarantine.put(connection, resource.name, *put)
            found.seen_again -= len(found.quarantined)
            tally.newly_quarantined += len(found.quarantined)
        if self._has_open_quarantine:
            settled = (tally.source, batch.settled, batch.refused, now)
            quarantine.resolve(connection, resource.name, *settled)
        if batch.drift:
            found.drift = drift.put(connection, resource.name, batch.drift, now)
        tally.add(batch.counts)
        runs.note(connection, self.run_id, tally)
        if place is not None:
            _write_place(connection, place)
        return found


@dataclass
class _Found:
    """What a batch met that a person should hear of, once it is written."""

    quarantined: list[Refusal] = field(default_factory=list)
    seen_again: int = 0
    #: Path, kind and example of each kind of drift never seen before.
    drift: list[tuple[str, str, str]] = field(default_factory=list)


def _known(
    connection: Connection,
    resource: Resource,
    items: Sequence[Record | Refusal],
    *,
    importing: bool,
) -> dict[str, Known]:
    ids = {item.id for item in items if isinstance(item, Record)}
    known = ledger.look_up(connection, resource.name, ids)
    return ledger.look_up_states(connection, resource.name, known) if importing else known


def _write_rows(connection: Connection, batch: Batch) -> None:
    """Insert the rows of new records; upsert changed ones, and replace whole what they own."""
    resource = batch.resource
    updated = [line.record.id for line in batch.updated]
    for some in ledger.chunks(updated):
        for table, owner in resource.owned.items():
            connection.execute(delete(table).where(table.c[owner].in_(some)))
    main = batch.rows.get(resource.table, [])
    if updated:
        was_there = set(updated)
        changed = [row for row in main if row["id"] in was_there]
        main = [row for row in main if row["id"] not in was_there]
        bulk.upsert_rows(connection, resource.table, changed)
    bulk.insert_rows(connection, resource.table, main)
    for table in resource.owned:
        bulk.insert_rows(connection, table, batch.rows.get(table, []))


def _write_place(connection: Connection, place: Place) -> None:
    at = {"source": place.source, "resource": place.resource, "parent_id": ""}
    if place.is_done:
        line = {
            **at,
            "cursor": None,
            "listing_started_at": None,
            "newest_ids": jsontext.compact(list(place.newest_ids)),
            "listed_at": place.started_at,
        }
        statement = upsert(connection.dialect.name, frontiers)
    else:
        line = {**at, "cursor": place.cursor, "listing_started_at": place.started_at}
        line |= {"newest_ids": None, "listed_at": None}
        statement = upsert(connection.dialect.name, frontiers, keep=("newest_ids", "listed_at"))
    connection.execute(statement, line)


def _halves(items: Sequence[Record | Refusal], reason: str) -> list[Sequence[Record | Refusal]]:
    if len(items) > 1:
        middle = len(items) // 2
        return [items[:middle], items[middle:]]
    if not items or isinstance(items[0], Refusal):
        raise RowsRefused(reason)
    record = items[0]
    return [[Refusal(record.payload, f"the database refuses it: {reason}", record.id)]]


def _tell(resource: str, found: _Found) -> None:
    for one in found.quarantined:
        log.warning("quarantined: %s %s: %s", resource, one.record_id or "without id", one.reason)
    if found.seen_again:
        log.warning("%s: %s bad records seen before came again", resource, found.seen_again)
    for path, kind, example in found.drift:
        log.warning("new in %s: `%s` (%s), as %s", resource, path, kind, example)
