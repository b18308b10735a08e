"""Records turned into what must be written, and those refused. Pure: no API, no database.

The store looks up what the ledger knows of the ids (`Known`), `build` decides, the store writes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Table

from etl import jsontext
from etl.errors import EtlError, RecordError
from etl.fields import Drift, clean, key
from etl.record import Arrival, Origin, Record
from etl.resource import Resource, Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A record that cannot become rows, with the reason a person can act on."""

    payload: bytes
    reason: str
    record_id: str | None = None
    #: None for what is no record's text: a request that failed.
    arrival: Arrival | None = field(default=None, compare=False)
    #: Is this the whole text of the record?
    is_whole: bool = field(default=True, compare=False)

    def shortened(self, length: int) -> Refusal:
        """The same with so many bytes of its payload at most, and a word that says so."""
        said = f"{self.reason} (only the first {length:,} of {len(self.payload):,} bytes are kept)"
        return Refusal(self.payload[:length], said, self.record_id, self.arrival, is_whole=False)

    @property
    def digest(self) -> str:
        """Of the payload and of whose it is: the same bad record again is the same refusal.

        One that came of another parent, or of another file, is another: both wait to be read well.
        """
        digest = blake2b(self.payload, digest_size=16)
        if self.arrival is not None and self.arrival.parent_id is not None:
            whose = (self.arrival.parent_id, self.record_id or "")
            digest.update(msgspec.json.encode([clean(one) for one in whose]))
        return digest.hexdigest()


class Known(msgspec.Struct):  # a listing makes one of these for every record it knows
    """What the ledger holds of one id before a batch."""

    version: int
    #: The highest version number given out so far.
    last_version: int
    origin: Origin
    digest: str
    canonical_digest: str
    missing_since: datetime | None = None
    position: int | None = None
    #: The rest is looked up for an import only, which must not move a record back.
    current: Record | None = None
    #: When the API last showed the current state.
    confirmed_at: datetime | None = None
    #: Canonical digests of the states that were superseded.
    superseded: frozenset[str] = frozenset()


class Line(NamedTuple):
    """A state to be written to the ledger."""

    record: Record
    version: int
    last_version: int
    #: The record's `status`, where its table has such a column.
    status: str | None = None
    #: Only an import leaves the mark of a record that a listing came without.
    missing_since: datetime | None = None
    #: The state before, where this batch brought that one too.
    before: Record | None = None
    #: Was it said before the current state was? Then nobody knows what it changed.
    is_older: bool = False


@dataclass(frozen=True)
class Touch:
    """An unchanged record whose ledger line needs a word: new bytes, or found again."""

    id: str
    digest: str
    #: Was it missing?
    is_back: bool = False


@dataclass
class Batch:
    """What one transaction has to write for some records of one resource."""

    resource: Resource
    #: The sources that there are; None where nobody knows.
    sources: Collection[str] | None = None
    #: Rows of every record that is new or changed, by table.
    rows: dict[Table, list[tuple[Any, ...]]] = field(default_factory=dict)
    created: list[Line] = field(default_factory=list)
    #: Records whose line in the ledger is replaced; the old line becomes a version.
    updated: list[Line] = field(default_factory=list)
    #: States that go straight to the versions: passed within the batch, or older.
    versions: list[Line] = field(default_factory=list)
    #: Records that keep their state while a version was added: id to last number given out.
    renumbered: dict[str, int] = field(default_factory=dict)
    touched: list[Touch] = field(default_factory=list)
    #: Unchanged records that stand elsewhere in their parent's list than they were thought to.
    moved: list[Record] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    #: How often each thing was noted, once for each version it is in, and the first example of it.
    drift: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    #: Ids that are now in the mirror as the API has them.
    settled: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("records", "created", "updated", "unchanged", "older", "quarantined"), 0
        )
    )


def read(
    resource: Resource,
    text: bytes,
    origin: Origin,
    observed_at: datetime | None,
    identifier: str | None = None,
    *,
    parent_id: str | None = None,
    position: int | None = None,
    account: str = "",
) -> Record | Refusal:
    """One record of a page or a file, or why it cannot be one.

    `identifier`: its id, where somebody looked already (`jsontext.item_id`). `account`: whose it is
    where it does not say so, of a list of days (`etl.resource.Days`).
    """
    if identifier is None and resource.days is None:
        identifier = jsontext.item_id(text)
    try:
        if resource.days is not None:
            identifier = resource.days.name(text, account or origin.id_space)
        if identifier is None:
            value = jsontext.decode(text)
            if not isinstance(value, dict):
                raise RecordError("no JSON object")
            if value.keys() == {"error"}:
                raise RecordError("an error answer of the API, no record")
            identifier = value.get("id")
        identifier = key(identifier, "id", resource.id_length)
    except (jsontext.NotJson, RecordError) as error:
        reason = f"not JSON: {error}" if isinstance(error, jsontext.NotJson) else str(error)
        arrival = Arrival(origin, parent_id, position, observed_at)
        return Refusal(text, reason, arrival=arrival)
    return Record(resource.name, identifier, text, origin, parent_id, position, observed_at)


#: What decides that a record needs no further look: its id, digest, source, id space,
#: `missing_since` and place in its parent's list.
Standing = tuple[str, str, str, str, datetime | None, int | None]


def untouched(
    items: Sequence[Record | Refusal], standing: Mapping[str, Standing]
) -> frozenset[str]:
    """The usual case, decided without a word more: the same bytes from the same source."""
    same: set[str] = set()
    other: set[str] = set()
    for item in items:
        if isinstance(item, Refusal):
            continue
        source, id_space = item.origin.source, item.origin.id_space
        expected = (item.id, item.digest, source, id_space, None, item.position)
        if standing.get(item.id) == expected:
            same.add(item.id)
        else:
            other.add(item.id)
    return frozenset(same - other)


def build(
    resource: Resource,
    items: Sequence[Record | Refusal],
    known: Mapping[str, Known],
    same: Collection[str] = (),
    *,
    importing: bool = False,
    sources: Collection[str] | None = None,
) -> Batch:
    """Decide for each record, in order, whether it is new, changed, unchanged, older or refused.

    `known` holds the ledger's line of every id that has one, but for those in `same`, which are
    `untouched`. `sources`: those that the configuration names, where that is known; what belongs to
    another, which will not come again, is taken over. Raises EtlError when a resource made a row of
    a table that it does not declare, or one that does not fit its table: a mistake in the resource.
    """
    batch = Batch(resource, sources=sources)
    states: dict[str, _State] = {}
    unchanged = 0
    batch.counts["records"] = len(items)
    for item in items:
        if isinstance(item, Refusal):
            batch.refused.append(item)
            continue
        if item.id in same:
            unchanged += 1
            batch.settled.append(item.id)
            continue
        state = states.get(item.id)
        if state is None:
            state = states[item.id] = _State(known.get(item.id))
        try:
            _take(batch, state, item, importing=importing)
        except RecordError as error:
            state.is_settled = False
            batch.refused.append(Refusal(item.payload, str(error), item.id, item.arrival))
        else:
            state.is_settled = True
    # In the order of their keys: an index takes them faster, each of its pages once.
    for identifier in sorted(states):
        _settle(batch, identifier, states[identifier])
    batch.counts["unchanged"] += unchanged
    batch.counts["quarantined"] = len(batch.refused)
    return batch


class _State:
    """Where one id stands while a batch is decided, record after record."""

    def __init__(self, known: Known | None) -> None:
        self.known = known
        #: Was the latest that came of this id taken, and not refused?
        self.is_settled = False
        #: The current state, once this batch brought one.
        self.record: Record | None = None
        #: The one before, once this batch brought two.
        self.before: Record | None = None
        self.status: str | None = None
        self.rows: list[Row | Drift] = []
        #: What was noted of each version that this batch brought, in their order.
        self.notes: list[Drift] = []
        #: The record with its rows, where it was found at another place than it had.
        self.moved: Record | None = None
        self.version = known.version if known else 0
        self.last_version = known.last_version if known else 0
        self.superseded = set(known.superseded) if known else set()
        self.is_missing = known is not None and known.missing_since is not None
        #: Of the latest bytes, where they came with the value that was there.
        self.touched: str | None = None

    @property
    def origin(self) -> Origin | None:
        if self.record is not None:
            return self.record.origin
        return self.known.origin if self.known else None

    @property
    def current(self) -> Record | None:
        return self.record or (self.known.current if self.known else None)

    def digests(self) -> tuple[str | None, str | None]:
        if self.record is not None:
            return self.touched or self.record.digest, self.record.canonical_digest
        if self.known is not None:
            return self.touched or self.known.digest, self.known.canonical_digest
        return None, None


def _take(batch: Batch, state: _State, record: Record, *, importing: bool) -> None:
    if state.origin is None:
        _become(batch, state, record)
        batch.counts["created"] += 1
        return
    record, taken_over = _adopt(batch, state, state.origin, record, importing=importing)
    digest, canonical_digest = state.digests()
    if not taken_over and record.digest == digest:
        _found_again(state, importing=importing)
        _move(batch.resource, state, record, importing=importing)
        batch.counts["unchanged"] += 1
    elif not taken_over and record.canonical_digest == canonical_digest:
        if not importing:  # a file's own spelling would hide the API's from the next sync
            state.touched = record.digest
        _found_again(state, importing=importing)
        _move(batch.resource, state, record, importing=importing)
        batch.counts["unchanged"] += 1
    elif importing and _is_passed(state, record):
        batch.counts["unchanged"] += 1
    elif importing and _is_older(batch.resource, state, record):
        # Rows are made all the same: what cannot become rows is refused, whenever it was said.
        rows = rows_of(batch.resource, record)
        status = _status(batch.resource, rows)
        state.notes += _notes(rows)
        state.last_version += 1
        version = state.last_version
        batch.versions.append(Line(record, version, version, status, is_older=True))
        state.superseded.add(record.canonical_digest)
        batch.counts["older"] += 1
    else:
        _become(batch, state, record)
        _found_again(state, importing=importing)
        batch.counts["updated"] += 1


def _adopt(
    batch: Batch, state: _State, owner: Origin, record: Record, *, importing: bool
) -> tuple[Record, bool]:
    """The record under the source that owns it, and whether another source takes it over."""
    if record.origin.id_space != owner.id_space:
        raise RecordError(
            f"the id belongs to id space {owner.id_space!r} (source {owner.source!r}) "
            f"and arrived from id space {record.origin.id_space!r}"
        )
    if record.origin.source == owner.source:
        return record, False
    is_orphan = batch.sources is not None and owner.source not in batch.sources
    if (state.is_missing or is_orphan) and not importing:
        return record, True
    return msgspec.structs.replace(record, origin=owner), False


def _become(batch: Batch, state: _State, record: Record) -> None:
    rows = rows_of(batch.resource, record)
    record.canonical_digest  # noqa: B018 - refuse now what cannot be compared later
    record.forget_value()
    if state.record is not None:
        passed = Line(state.record, state.version, state.version, state.status, before=state.before)
        batch.versions.append(passed)
    state.before, state.status = state.record, _status(batch.resource, rows)
    if digest := state.digests()[1]:
        state.superseded.add(digest)
    state.last_version += 1
    state.version = state.last_version
    state.record, state.rows, state.touched, state.moved = record, rows, None, None
    state.notes += _notes(rows)


def _move(resource: Resource, state: _State, record: Record, *, importing: bool) -> None:
    """The API's list says where a record stands; a file says only where it stood in the file."""
    if importing or record.position is None or state.record is not None or state.known is None:
        return
    if record.position != state.known.position:
        state.rows = rows_of(resource, record)
        state.moved = record


def _status(resource: Resource, rows: Iterable[Row | Drift]) -> str | None:
    place = resource.status_column
    if place is None:
        return None
    main = (row[1] for row in rows if not isinstance(row, Drift) and row[0] is resource.table)
    return next((values[place] for values in main), None)


def _notes(rows: Iterable[Row | Drift]) -> list[Drift]:
    return [row for row in rows if isinstance(row, Drift)]


def rows_of(resource: Resource, record: Record) -> list[Row | Drift]:
    """What a record becomes. Raises RecordError, EtlError for a mistake in the resource."""
    try:
        return list(resource.rows(record))
    except EtlError:  # it says itself what is wrong, with the record or with the resource
        raise
    except Exception as error:
        # A normaliser met something nobody thought of. The record is kept, the others go on.
        log.debug("%s %s could not be read", resource.name, record.id, exc_info=True)
        raise RecordError(
            f"this version cannot read it: {type(error).__name__}: {error}"
        ) from error


def _found_again(state: _State, *, importing: bool) -> None:
    """A listing shows the record, so it is not missing; a saved file shows nothing of the sort."""
    if state.is_missing and not importing:
        state.is_missing = False
        if state.record is None:
            state.touched = state.digests()[0]


def _is_passed(state: _State, record: Record) -> bool:
    """Is this a state that the record left behind, with nothing to say that it came back?"""
    if record.canonical_digest not in state.superseded:
        return False
    last_said = _last_said(state)
    return record.observed_at is None or (last_said is not None and record.observed_at <= last_said)


def _last_said(state: _State) -> datetime | None:
    """When the API last showed the current state; None where nobody knows."""
    said = state.current.observed_at if state.current else None
    if state.record is None and state.known and state.known.confirmed_at:
        return max(said or state.known.confirmed_at, state.known.confirmed_at)
    return said


def _is_older(resource: Resource, state: _State, record: Record) -> bool:
    """Would this state move the record back? Only asked of imports: what the API says is now."""
    current = state.current
    if current is None:
        return False
    was_final = resource.is_final(current)
    if was_final != resource.is_final(record):
        # An end comes after whatever was said of the open job, whenever that was.
        return was_final
    last_said = _last_said(state)
    if last_said is not None:
        return record.observed_at is None or record.observed_at < last_said
    return resource.progress(record) < resource.progress(current)


def _settle(batch: Batch, identifier: str, state: _State) -> None:
    if state.record is not None:
        missing_since = state.known.missing_since if state.known and state.is_missing else None
        line = Line(
            state.record,
            state.version,
            state.last_version,
            state.status,
            missing_since,
            state.before,
        )
        (batch.updated if state.known else batch.created).append(line)
        collect(batch, state.rows)
    elif state.known is not None and state.last_version != state.known.last_version:
        batch.renumbered[identifier] = state.last_version
    if state.moved is not None:
        batch.moved.append(state.moved)
        collect(batch, state.rows)
    if state.touched is not None:
        was_missing = state.known is not None and state.known.missing_since is not None
        is_back = was_missing and not state.is_missing
        batch.touched.append(Touch(identifier, state.touched, is_back))
    if state.is_settled:
        batch.settled.append(identifier)
    for note in state.notes:
        times, example = batch.drift.get((note.path, note.kind), (0, note.example))
        batch.drift[note.path, note.kind] = times + 1, example


def collect(batch: Batch, rows: Iterable[Row | Drift]) -> None:
    """Add the rows of a record to those that a batch writes. Raises EtlError for a strange one."""
    for row in rows:
        if isinstance(row, Drift):  # noted already, once for each version
            continue
        table, values = row
        try:
            batch.rows[table].append(values)
        except KeyError:
            if table not in batch.resource.tables:
                raise EtlError(
                    f"{batch.resource.name} made a row of {table.name}, which it does not "
                    "declare: nothing would replace it"
                ) from None
            batch.rows[table] = [values]
