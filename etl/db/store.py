"""The door to the database: one batch, one transaction, under the lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache

from sqlalchemy import Connection, Engine, delete

from etl.batch import Batch, Known, Refusal, build, untouched
from etl.db import again, bulk, drift, frontier, ledger, missing, progress, quarantine, runs
from etl.db.engine import RowsRefused, database_errors, writing
from etl.db.frontier import Place
from etl.db.progress import ParentRead
from etl.db.runs import Tally, TallyState
from etl.record import Record
from etl.resource import Resource
from etl.resources import discover

log = logging.getLogger(__name__)

#: Bytes of a payload that quarantine keeps where the database would not take the whole.
KEPT = 64 * 1024
#: Runs, with the one that refused a record first, in which its list does not count as read: what
#: was only spoilt on its way comes right in one of them.
DOUBTING_RUNS = 2
#: Bytes that a statement needs beside the largest value in it.
_ROOM = 256 * 1024


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass
class Alongside:
    """What else becomes true in the transaction that writes some records."""

    #: How far lists were read.
    places: list[Place] = field(default_factory=list)
    #: How it went to ask parents.
    reads: list[ParentRead] = field(default_factory=list)
    #: Ids that the API no longer has.
    missing: list[str] = field(default_factory=list)
    #: Digests of texts that were in quarantine already and are read once more.
    retried: list[str] = field(default_factory=list)


class Store:
    """Writes batches for one run."""

    def __init__(
        self,
        engine: Engine,
        fence: Callable[[Connection], None],
        now: Callable[[], datetime] = utc_now,
        sources: Collection[str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._sleep = sleep
        #: How often a transaction is tried: once only, where the database was given up already.
        self.tries = again.MOST_TRIES
        self._fence = fence
        self.now = now
        #: The sources that the configuration names; None where nobody knows.
        self._sources = sources
        #: How the database likes its batches.
        self.pace = bulk.PACE[engine.dialect.name]
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

    def again(self, write: Callable[[Connection], None]) -> None:
        """Write something in a transaction, anew where the database failed in a way that passes.

        What is written may have been committed without our hearing of it, so it must bear being
        written twice. Raises what `transaction` raises.
        """

        def once() -> None:
            with self.transaction() as connection:
                write(connection)

        again.again(once, sleep=self._sleep, tries=self.tries)

    def begin(self, mode: str) -> int:
        """Log that a run begins; its number."""
        began_at = self.now()
        is_second = False

        def write(connection: Connection) -> None:
            nonlocal is_second
            self.run_id = runs.begin(connection, mode, began_at, may_be_there=is_second)
            is_second = True
            self._has_open_quarantine = quarantine.waiting(connection) > 0

        self.again(write)
        return self.run_id

    def end(self, status: str, error: str | None, counts: dict[str, int], mode: str) -> None:
        """Log how the run ended."""
        said = (self.run_id, status, error, counts, mode, self.now())
        self.again(lambda connection: runs.end(connection, *said))

    def note(self, tally: Tally) -> None:
        """Log how a resource stands, outside of any batch."""
        self.again(lambda connection: runs.note(connection, self.run_id, tally))

    def apply(
        self,
        resource: Resource,
        items: Sequence[Record | Refusal],
        tally: Tally,
        *,
        alongside: Alongside | None = None,
        importing: bool = False,
    ) -> None:
        """Mirror some records, log them in `tally`, write what stands `alongside`: all or none.

        Rows that the database refuses are sought by halving, so that only they are quarantined.
        What fails for a reason that passes is tried again.
        """
        before = tally.state()
        written: tuple[TallyState, _Found] | None = None

        def once() -> _Found:
            nonlocal written
            tally.become(before)
            with self.transaction() as connection:
                if written is not None and runs.is_noted(
                    connection, self.run_id, tally, written[0]
                ):
                    tally.become(written[0])  # the connection was lost after the commit
                    return written[1]
                fitting = _fitting(connection, items)
                found = self._write(
                    connection, resource, fitting, tally, alongside, importing=importing
                )
                written = tally.state(), found
            return found

        try:
            found = again.again(once, sleep=self._sleep, tries=self.tries)
        except BaseException as error:
            tally.become(before)  # nothing of it was written
            if not isinstance(error, RowsRefused):
                raise
            halves = _halves(items, error)
        else:
            _tell(resource.name, found)
            return
        for number, half in enumerate(halves, 1):
            last = alongside if number == len(halves) else None
            self.apply(resource, half, tally, alongside=last, importing=importing)

    def plan(self, resource: Resource, items: Sequence[Record | Refusal], tally: Tally) -> None:
        """Count in `tally` what `apply` would do, without writing anything."""
        with database_errors(), self._engine.connect() as connection:
            known, same = _known(connection, resource, items, importing=False)
            batch = build(resource, items, known, same)
            waiting = quarantine.seen_before(
                connection, resource.name, tally.source, [one.digest for one in batch.refused]
            )
        tally.add(batch.counts)
        tally.newly_quarantined += sum(one.digest not in waiting for one in batch.refused)

    def _write(
        self,
        connection: Connection,
        resource: Resource,
        items: Sequence[Record | Refusal],
        tally: Tally,
        alongside: Alongside | None,
        *,
        importing: bool,
    ) -> _Found:
        alongside = alongside or Alongside()
        known, same = _known(connection, resource, items, importing=importing)
        batch = build(resource, items, known, same, importing=importing, sources=self._sources)
        now = self.now()
        ledger.write(connection, batch, self.run_id, now)
        write_rows(connection, batch)
        changed = [line.record.id for line in batch.updated]
        changed += [one.id for one in batch.touched if one.is_back]
        progress.unsettle(connection, _children(resource.name), changed)
        found = _Found(seen_again=len(batch.refused))
        if batch.refused:
            self._has_open_quarantine = True
            put = (tally.source, batch.refused, self.run_id, now, alongside.retried)
            found.quarantined = quarantine.put(connection, resource.name, *put)
            found.seen_again -= len(found.quarantined) + len(alongside.retried)
            tally.newly_quarantined += len(found.quarantined)
            since = self.run_id - DOUBTING_RUNS + 1
            whose = (resource.name, tally.source, batch.refused)
            lately = quarantine.refused_lately(connection, *whose, since)
            tally.doubtful |= {_list_of(resource, one) for one in lately}
        if tally.doubtful:
            alongside = _doubted(alongside, tally.doubtful)
        if self._has_open_quarantine:
            read = [one for one in alongside.reads if one.failed_at is None]
            settled = batch.settled + [one.parent_id for one in read]
            new = [line.record.id for line in (*batch.created, *batch.updated)]
            of_these = (resource.name, tally.source, settled, new, batch.refused, now)
            quarantine.resolve(connection, *of_these)
            began = {one.parent_id: one.read_at for one in read if one.is_whole and one.read_at}
            began |= _listed(alongside.places)
            if began:
                quarantine.resolve_unsent(connection, resource.name, tally.source, began, now)
        if alongside.retried:
            read_now = set(alongside.retried) - {one.digest for one in batch.refused}
            quarantine.resolve_texts(connection, resource.name, tally.source, read_now, now)
        if batch.drift:
            found.drift = drift.put(connection, resource.name, batch.drift, now)
        tally.add(batch.counts)
        tally.counts["missing"] += missing.mark(connection, resource.name, alongside.missing, now)
        frontier.save(connection, alongside.places)
        progress.save(connection, alongside.reads)
        runs.note(connection, self.run_id, tally)
        return found


def _list_of(resource: Resource, refused: Refusal) -> str:
    """The parent whose answer held what was refused; '' where it came in a list of its own."""
    if resource.parents is None:
        return ""
    came = refused.arrival
    if resource.parents.reads in ("list", "growing list") and came is not None:
        return came.parent_id or ""
    return refused.record_id or ""


def _doubted(alongside: Alongside, doubtful: Collection[str]) -> Alongside:
    """What else becomes true, but that these lists were read."""
    return Alongside(
        [place for place in alongside.places if place.parent_id not in doubtful],
        [
            replace(one, is_settled=False, failed_at=one.failed_at or one.read_at, read_at=None)
            if one.parent_id in doubtful
            else one
            for one in alongside.reads
        ],
        alongside.missing,
        alongside.retried,
    )


def _listed(places: Sequence[Place]) -> dict[str, datetime]:
    """When the listings had begun that came to their end."""
    return {
        place.parent_id: place.frontier.listed_at
        for place in places
        if not place.parent_id and place.frontier.listed_at and place.frontier.cursor is None
    }


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
) -> tuple[dict[str, Known], frozenset[str]]:
    """What the ledger holds of the records that are there already, and the ids it has as they are.

    The second look, at what is there and not the same, is of a few records as a rule.
    """
    ids = {item.id for item in items if isinstance(item, Record)}
    standing = ledger.standing(connection, resource.name, ids)
    same = untouched(items, standing)
    known = ledger.look_up(connection, resource.name, standing.keys() - same)
    if importing:
        known = ledger.look_up_states(connection, resource.name, known)
    return known, same


def write_rows(connection: Connection, batch: Batch) -> None:
    """Insert the rows of new records; upsert changed ones, and replace whole what they own."""
    resource = batch.resource
    written_before = [line.record.id for line in batch.updated]
    written_before += [record.id for record in batch.moved]
    for some in ledger.chunks(written_before):
        for table, owner in resource.owned.items():
            mine = table.c[owner].in_(some), resource.its_own(table)
            connection.execute(delete(table).where(*mine))
    if resource.table is not None:
        main = batch.rows.get(resource.table, [])
        if written_before:
            was_there = set(written_before)
            place = resource.table.columns.keys().index("id")
            changed = [row for row in main if row[place] in was_there]
            main = [row for row in main if row[place] not in was_there]
            bulk.upsert_rows(connection, resource.table, changed)
        bulk.insert_rows(connection, resource.table, main)
    for table in resource.owned:
        bulk.insert_rows(connection, table, batch.rows.get(table, []))


@cache
def _children(name: str) -> frozenset[str]:
    """The resources that hang off a resource's records until they are settled."""
    resource = discover().get(name)
    if resource is None:  # a toy
        return frozenset()
    return frozenset(
        child.name
        for child in discover().values()
        if child.parents is not None
        and child.parents.until == "settled"
        and any(column.table is resource.table for column in child.parents.columns)
    )


def _fitting(
    connection: Connection, items: Sequence[Record | Refusal]
) -> Sequence[Record | Refusal]:
    """The records that the server can be sent, the others refused with what would help.

    MariaDB and MySQL hang up on a statement over `max_allowed_packet`, so it is not tried.
    """
    if connection.dialect.name not in ("mariadb", "mysql"):
        return items
    if "max_allowed_packet" not in connection.info:
        found = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
        connection.info["max_allowed_packet"] = int(found)
    most = connection.info["max_allowed_packet"] - _ROOM
    return [item if _sent_size(item.payload) <= most else _too_large(item, most) for item in items]


def _sent_size(payload: bytes) -> int:
    """Bytes of a payload in a statement, in which these characters are escaped."""
    if len(payload) < _ROOM:
        return len(payload)
    return len(payload) + sum(payload.count(one) for one in (b'"', b"'", b"\\"))


def _too_large(item: Record | Refusal, most: int) -> Refusal:
    if isinstance(item, Refusal):
        return item.shortened(KEPT)
    reason = (
        f"{len(item.payload):,} bytes are more than the database takes at once; "
        f"raise its max_allowed_packet, which now leaves room for {most:,}"
    )
    return Refusal(item.payload, reason, item.id, item.arrival).shortened(KEPT)


def _halves(
    items: Sequence[Record | Refusal], error: RowsRefused
) -> list[Sequence[Record | Refusal]]:
    if len(items) > 1:
        middle = len(items) // 2
        return [items[:middle], items[middle:]]
    if not items:
        raise error
    (item,) = items
    if isinstance(item, Refusal):
        if len(item.payload) <= KEPT:
            raise error
        return [[item.shortened(KEPT)]]
    return [[Refusal(item.payload, f"the database refuses it: {error}", item.id, item.arrival)]]


def _tell(resource: str, found: _Found) -> None:
    for one in found.quarantined:
        log.warning("quarantined: %s %s: %s", resource, one.record_id or "without id", one.reason)
    if found.seen_again > 0:
        log.warning("%s: %s bad records seen before came again", resource, found.seen_again)
    for path, kind, example in found.drift:
        log.warning("new in %s: `%s` (%s), as %s", resource, path, kind, example)
