"""One resource's rows made anew from the ledger, a batch of records a transaction."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from etl.batch import Batch, Line, Refusal, collect, rows_of
from etl.children import CONTENT_WEIGHT
from etl.db import ledger, quarantine, replaying, runs
from etl.db.engine import RowsRefused
from etl.db.replaying import Place
from etl.db.runs import Tally, TallyState
from etl.db.sightings import Sightings, State
from etl.db.store import write_rows
from etl.db.tables import COUNTS, record_versions, records
from etl.errors import RecordError
from etl.fields import Drift
from etl.pipe import BATCH_BYTES, Run, SourceResult
from etl.record import Record
from etl.resource import Resource

log = logging.getLogger(__name__)

#: Superseded states read at once.
VERSIONS_AT_ONCE = 1_000

_NOTHING: TallyState = dict.fromkeys(COUNTS, 0), 0, frozenset()


@dataclass
class _Made:
    """What one transaction reads, and has to write."""

    batch: Batch
    #: Records whose rows were made.
    read: list[Record] = field(default_factory=list)
    #: Those that could not be read, by source.
    refused: dict[str, list[Refusal]] = field(default_factory=dict)
    #: How many were looked at, by source.
    taken: Counter[str] = field(default_factory=Counter)
    seen: Sightings = field(default_factory=Sightings)
    unread_versions: int = 0
    #: The last id that was looked at.
    last_id: str = ""
    is_last: bool = False
    #: Refused, and not yet in quarantine.
    new: list[Refusal] = field(default_factory=list)

    @property
    def unread(self) -> Counter[str]:
        """How many could not be read, by source."""
        return Counter({source: len(refused) for source, refused in self.refused.items()})


@dataclass(frozen=True)
class _Way:
    """A pass over the ledger, and how far it came."""

    last_id: str
    seen: Sightings
    #: Only over what was written since the replay was begun, by runs that came in between?
    is_later: bool = False


class Rebuilding:
    """One resource's rows, made anew."""

    def __init__(self, current: Run, resource: Resource, place: Place) -> None:
        self._current = current
        self._store = current.store
        self._resource = resource
        self._place = place
        self._resumed_from = place.last_id
        self._tallies: dict[str, Tally] = {}
        self._unread = Counter(place.unread)
        #: Records that are to be read, by source.
        self._left: dict[str, int] = {}
        #: Records that the last try took.
        self._tried = 0
        #: Superseded states that this version cannot read.
        self.unread_versions = 0
        #: All that is noted of this resource, once it is done.
        self.seen = Sightings()

    def run(self) -> None:
        """Make the rows of all records that the ledger has beyond the place."""
        self._store.again(self._count)
        self.seen = self._walk(_Way(self._place.last_id, self._place.seen))
        if self._resumed_from:
            # Who wrote since the replay was begun counted its drift by itself, and may have been
            # another version of this program.
            later = self._walk(_Way("", Sightings(), is_later=True))
            self.seen = self.seen.plus(later)

    def _count(self, connection: Connection) -> None:
        self._left = replaying.left(connection, self._place)

    def finish(self) -> None:
        """Write the drift, and that the resource is done."""
        new: list[tuple[str, str, str]] = []

        def write(connection: Connection) -> None:
            nonlocal new
            new = replaying.replace_drift(connection, self._resource.name, self.seen)
            replaying.forget(connection, self._resource.name)
            for tally in self._tallies.values():
                runs.note(connection, self._store.run_id, tally)

        for source, unread in self._unread.items():
            tally = self._tally(source)
            tally.status = "partial"
            one = "1 record" if unread == 1 else f"{unread:,} records"
            tally.error = (
                f"{one} of {self._resource.name} could not be read: the rows are as before"
            )
        for tally in self._tallies.values():
            tally.status = "success" if tally.status == "running" else tally.status
            tally.finished_at = self._store.now()
        self._store.again(write)
        for path, kind, example in new:
            log.warning("new in %s: `%s` (%s), as %s", self._resource.name, path, kind, example)
        if count := self.unread_versions:
            states = "1 superseded state" if count == 1 else f"{count:,} superseded states"
            log.warning(
                "%s: %s cannot be read any more; their drift is not counted",
                self._resource.name,
                states,
            )

    def _walk(self, way: _Way) -> Sightings:
        """Go on until there is no more; rows that the database refuses are sought by halving."""
        pace = most = self._store.pace.records
        is_last = False
        while not is_last:
            try:
                way, is_last = self._step(way, most)
            except RowsRefused as error:
                if self._tried < 2:
                    way, is_last = self._step(way, 1, refusing=f"the database refuses it: {error}")
                most = max(self._tried // 2, 1)
            else:
                most = min(most * 2, pace)
        return way.seen

    def _step(self, way: _Way, most: int, refusing: str | None = None) -> tuple[_Way, bool]:
        """The next records, in one transaction; how far it came, and whether that is the end."""
        was = {source: tally.state() for source, tally in self._tallies.items()}
        made: _Made
        then: _Way
        place = self._place

        def restore() -> None:
            for source, tally in self._tallies.items():
                tally.become(was.get(source, _NOTHING))

        def write(connection: Connection) -> None:
            nonlocal made, then, place
            restore()
            made = self._read(connection, way, most, refusing)
            self._write(connection, made)
            then = replace(way, last_id=made.last_id, seen=way.seen.plus(made.seen))
            if not way.is_later:
                place = replace(
                    self._place,
                    last_id=then.last_id,
                    records=self._place.records + made.taken.total(),
                    unread=dict(self._unread + made.unread),
                    seen=then.seen,
                )
                replaying.save(connection, place)
            for source, taken in made.taken.items():
                unread = made.unread[source]
                counts = {"records": taken, "unchanged": taken - unread, "quarantined": unread}
                self._tally(source).add(counts)
            for tally in self._tallies.values():
                runs.note(connection, self._store.run_id, tally)

        try:
            self._store.again(write)
        except BaseException:
            restore()  # nothing of it was written
            raise
        self._place = place
        self._unread += made.unread
        self.unread_versions += made.unread_versions
        self._tell(made)
        return then, made.is_last

    def _read(self, connection: Connection, way: _Way, most: int, refusing: str | None) -> _Made:
        """Records in the order of their ids, as many as fit in a batch, and what they become."""
        where = [records.c.resource == self._resource.name]
        if way.is_later:
            where.append(records.c.run_id >= self._place.run_id)
        is_content = self._resource.parents and self._resource.parents.reads == "content"
        weight = CONTENT_WEIGHT if is_content else 1
        after = way.last_id, replaying.LAST_VERSION
        lines, is_last = replaying.page(
            connection, records, where, after, most, BATCH_BYTES // weight
        )
        self._tried = 0
        made = _Made(Batch(self._resource), last_id=way.last_id)
        size = 0
        for line in lines:
            if size >= BATCH_BYTES:  # compressed ones may be more than they seemed
                is_last = False
                break
            record = ledger.state(line)
            size += weight * len(record.payload)
            self._tried += 1
            made.last_id = record.id
            is_counted = way.is_later or line.run_id < self._place.run_id
            state = State(line.changed_at, record.id, line.version) if is_counted else None
            has_rows = way.is_later and record.id > self._resumed_from
            self._make(made, record, state, has_rows=has_rows, refusing=refusing)
        made.is_last = is_last
        self._read_versions(connection, way, made)
        return made

    def _make(
        self,
        made: _Made,
        record: Record,
        state: State | None,
        *,
        has_rows: bool,
        refusing: str | None,
    ) -> None:
        """The rows of a record, unless it `has_rows` of this run; its drift goes to `state`."""
        source = record.origin.source
        try:
            rows = rows_of(self._resource, record)
            if refusing is not None:
                raise RecordError(refusing)
        except RecordError as error:
            if not has_rows:
                made.taken[source] += 1
                refused = Refusal(record.payload, str(error), record.id, record.arrival)
                made.refused.setdefault(source, []).append(refused)
            return
        finally:
            record.forget_value()
        if state is not None:
            made.seen.note((row for row in rows if isinstance(row, Drift)), state)
        if not has_rows:
            made.taken[source] += 1
            made.read.append(record)
            made.batch.updated.append(Line(record, 0, 0))
            collect(made.batch, rows)

    def _read_versions(self, connection: Connection, way: _Way, made: _Made) -> None:
        """What was noted of the states that were superseded: of the same ids, or of all others."""
        column = record_versions.c
        where = [column.resource == self._resource.name]
        if way.is_later:
            where.append(column.run_id >= self._place.run_id)
        else:
            where.append(column.run_id < self._place.run_id)
        if not made.is_last:
            where.append(column.id <= made.last_id)
        after, is_last = (way.last_id, replaying.LAST_VERSION), False
        while not is_last:
            lines, is_last = replaying.page(
                connection, record_versions, where, after, VERSIONS_AT_ONCE, BATCH_BYTES
            )
            for line in lines:
                after = line.id, line.version
                made.last_id = max(made.last_id, line.id)
                try:
                    rows = rows_of(self._resource, ledger.state(line))
                except RecordError:
                    made.unread_versions += 1
                    continue
                notes = (row for row in rows if isinstance(row, Drift))
                made.seen.note(notes, State(line.changed_at, line.id, line.version))

    def _write(self, connection: Connection, made: _Made) -> None:
        now = self._store.now()
        name = self._resource.name
        write_rows(connection, made.batch)
        for source, refused in made.refused.items():
            made.new += quarantine.put(connection, name, source, refused, self._store.run_id, now)
        replaying.readable_again(connection, name, made.read, now)

    def _tell(self, made: _Made) -> None:
        for one in made.new:
            log.warning("quarantined: %s %s: %s", self._resource.name, one.record_id, one.reason)
        for source, taken in made.taken.items():
            tally = self._tally(source)
            tally.read += taken
            self._current.progress(tally)

    def _tally(self, source: str) -> Tally:
        if source not in self._tallies:
            tally = Tally(source, self._resource.name, self._store.now(), is_whole=False)
            tally.total = self._left.get(source)
            self._tallies[source] = tally
            sources = self._current.result.sources
            result = next((one for one in sources if one.name == source), None)
            if result is None:
                result = SourceResult(source)
                sources.append(result)
            result.tallies.append(tally)
        return self._tallies[source]
