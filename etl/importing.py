"""Import: the same pipe, fed from saved JSON and JSONL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Any

import msgspec
from sqlalchemy import Engine

from etl import jsontext
from etl.batch import Refusal, read
from etl.days import Bills, account
from etl.db.progress import positions
from etl.db.runs import Tally
from etl.db.store import utc_now
from etl.pipe import Chunk, Progress, Run, RunResult, SourceResult, run
from etl.record import Arrival, Origin, Record
from etl.resource import Parents, Resource
from etl.resources.jobs import jobs
from etl.saved import Extent, require_file, texts
from etl.spend.prices import Book

log = logging.getLogger(__name__)

#: Objects of the same API that are no record of their own: a result belongs to its day.
NOT_MIRRORED = frozenset({"organization.costs.result"})
#: The kind of an object that does not say, or says something unknown.
DEFAULT = "jobs"
CHUNK = 500


@dataclass(frozen=True)
class Order:
    """What an import is asked to do."""

    #: `-` is standard input.
    files: Sequence[str]
    origin: Origin
    resources: Mapping[str, Resource]
    #: Take every object for this kind, whatever it says of itself.
    resource: str | None = None
    #: When the API said all this; None where nobody knows.
    observed_at: datetime | None = None
    #: The job that events and checkpoints belong to, which events do not say themselves.
    job: str | None = None
    #: Seconds to wait for another writer to end.
    wait: float = 0.0
    #: The prices that the mirror is to have; None leaves it those it has.
    book: Book | None = None


class _Head(msgspec.Struct):
    object: Any = None


_head = msgspec.json.Decoder(_Head)
_members = msgspec.json.Decoder(dict[str, Any])


def import_files(
    engine: Engine,
    order: Order,
    progress: Progress,
    *,
    stdin: IO[bytes] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> RunResult:
    """Mirror what saved files hold; a record is never moved back in time.

    Raises UsageError for a file that cannot be read as JSON (what came before it is imported),
    LeaseHeld where another writer is at work, StoreError where the database fails.
    """
    for name in order.files:
        require_file(name)
    with run(
        engine, "import", "import", progress, now, wait=order.wait, book=order.book
    ) as current:
        waiting = _Waiting(engine, order, current, now)
        try:
            for name in order.files:
                for place, text in texts(name, stdin, waiting.extent):
                    waiting.take(place, text)
        finally:
            waiting.finish()
    return current.result


class _Waiting:
    """The objects that were read and not yet written, by their kind."""

    def __init__(
        self, engine: Engine, order: Order, current: Run, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._order = order
        self._current = current
        self._now = now
        self._source = SourceResult(order.origin.source)
        current.result.sources.append(self._source)
        self._items: dict[str, list[Record | Refusal]] = {}
        self._tallies: dict[str, Tally] = {}
        self.extent = Extent(order.files)
        #: Of a list of days, whose they are that do not say so.
        self._accounts: dict[str, str] = {}
        #: Of a list of days, those that the mirror has, and the digest of each that came.
        self._bills: dict[str, Bills] = {}
        self._came: dict[str, str] = {}

    def take(self, place: str, text: bytes) -> None:
        """One object, found at a place; what waits is written once it is enough."""
        kind, item = _item(text, self._order, self._whose)
        if self._order.resources[kind].days is not None:
            item = self._day(place, kind, item)
        if isinstance(item, Refusal):
            item = replace(item, reason=f"{place}: {item.reason}")
        self._items.setdefault(kind, []).append(item)
        # Where they stand is known only once all of them are there.
        is_growing = _is_growing(self._order.resources[kind])
        if len(self._items[kind]) >= CHUNK and not is_growing:
            self._flush(kind)

    def finish(self) -> None:
        """Write what still waits."""
        for kind in list(self._items) or [self._order.resource or DEFAULT]:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        resource = self._order.resources[kind]
        if kind not in self._tallies:
            self._tallies[kind] = Tally(self._source.name, kind, self._now(), is_whole=False)
            self._source.tallies.append(self._tallies[kind])
        tally = self._tallies[kind]
        tally.total, tally.done = self.extent.total, self.extent.done
        if tally.status != "failed":
            tally.status = "running"  # again: more came of the same kind
        items = self._items.pop(kind, [])
        if _is_growing(resource):
            items = _in_their_places(self._engine, resource, items)
        chunks = [Chunk(items[at : at + CHUNK]) for at in range(0, max(len(items), 1), CHUNK)]
        self._current.feed(resource, chunks, tally, importing=True)

    def _day(self, place: str, kind: str, item: Record | Refusal) -> Record | Refusal:
        """A day as the mirror names it; one that came before with other amounts is heard of."""
        if kind not in self._bills:
            resource = self._order.resources[kind]
            self._bills[kind] = Bills(self._engine, resource, self._order.origin)
        item = self._bills[kind].placed(item)
        if isinstance(item, Record):
            before = self._came.get(item.id, item.canonical_digest)
            if before != item.canonical_digest:
                log.warning(
                    "%s: %s %s came before in these files with other amounts; a day counts once, "
                    "and of the two the later one",
                    place,
                    kind,
                    item.id,
                )
            self._came[item.id] = item.canonical_digest
            item.forget_value()
        return item

    def _whose(self, kind: str) -> str:
        if kind not in self._accounts:
            resource = self._order.resources[kind]
            if resource.days is not None and DEFAULT in self._items:
                self._flush(DEFAULT)  # the jobs that came before may tell
            self._accounts[kind] = account(self._engine, resource, self._order.origin)
        return self._accounts[kind]


def _item(text: bytes, order: Order, whose: Callable[[str], str]) -> tuple[str, Record | Refusal]:
    """The kind of an object, and the record it is.

    `whose`: of a kind that is a list of days, whose they are that do not say so.
    """
    named = {resource.object: name for name, resource in order.resources.items()}
    try:
        said = _head.decode(text).object
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    kind = order.resource or (named.get(said, DEFAULT) if isinstance(said, str) else DEFAULT)
    is_other = isinstance(said, str) and said in NOT_MIRRORED - named.keys()
    if order.resource is None and is_other:
        reason = f"a {said} is no record of its own; import the whole bucket it came in"
        return kind, Refusal(
            text, reason, arrival=Arrival(order.origin, observed_at=order.observed_at)
        )
    resource = order.resources[kind]
    parent_id = None
    if resource.parents is not None and resource.parents.reads in ("list", "growing list"):
        parent_id = _parent(text, resource.parents, order.job)
        if parent_id is None:
            of_jobs = _is_of_jobs(resource.parents)
            hint = "say which job it belongs to: --job ID" if of_jobs else "only sync knows that"
            reason = f"it does not name what it belongs to; {hint}"
            arrival = Arrival(order.origin, observed_at=order.observed_at)
            return kind, Refusal(text, reason, jsontext.item_id(text), arrival)
    elif resource.parents is not None and resource.parents.reads == "content":
        return kind, Refusal(text, f"{kind} are read from files of another form, which sync does")
    given = order.origin, order.observed_at
    return kind, read(resource, text, *given, parent_id=parent_id, account=whose(kind))


def _parent(text: bytes, parents: Parents, job: str | None) -> str | None:
    """What a saved record belongs to: what it says itself, else the job that was named."""
    said = None
    if parents.field is not None:
        try:
            said = _members.decode(text).get(parents.field)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
    if isinstance(said, str) and said:
        return said
    return job if _is_of_jobs(parents) else None


def _is_of_jobs(parents: Parents) -> bool:
    return all(column.table is jobs and column.name == "id" for column in parents.columns)


def _is_growing(resource: Resource) -> bool:
    return resource.parents is not None and resource.parents.reads == "growing list"


def _in_their_places(
    engine: Engine, resource: Resource, items: Sequence[Record | Refusal]
) -> list[Record | Refusal]:
    """The records with their positions, the oldest first.

    Lists have the newest first, and so have most files; of one second the order of the file counts.
    What the mirror has keeps its place, the others come after it. A later sync that reads the whole
    list puts all in the places that the API's own order gives them.
    """
    found = [item for item in items if isinstance(item, Record)]
    refused = [item for item in items if isinstance(item, Refusal)]
    times = [jsontext.item_time(item.payload) or 0.0 for item in found]
    if times and times[0] > times[-1]:
        found, times = found[::-1], times[::-1]
    order = sorted(range(len(found)), key=times.__getitem__)
    placed: list[Record | Refusal] = list(refused)
    known: dict[str, dict[str, int]] = {}
    following: dict[str, int] = {}
    for number in order:
        item = found[number]
        parent = item.parent_id or ""
        if parent not in known:
            known[parent] = positions(engine, resource, parent)
            following[parent] = max(known[parent].values(), default=-1) + 1
        place = known[parent].setdefault(item.id, following[parent])
        following[parent] += place == following[parent]
        placed.append(msgspec.structs.replace(item, position=place))
    return placed
