"""A list of the API held against what the mirror holds of it, page by page."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b, sha256

from msgspec.structs import replace
from sqlalchemy import Connection

from etl.batch import Known, Refusal
from etl.db.ledger import chunks, look_up
from etl.db.quarantine import seen_before
from etl.errors import RecordError
from etl.record import Record
from etl.resource import Resource
from etl.settings import Source


@dataclass(frozen=True)
class Comparison:
    """A list of the API against what the mirror holds of it, each id once, all ids sorted."""

    #: Ids that the list showed, and ids that the mirror holds and does not mark as missing.
    listed: int = 0
    mirrored: int = 0
    equal: int = 0
    #: The list has it, the mirror does not.
    missing_here: list[str] = field(default_factory=list)
    #: The mirror has it and does not mark it as missing; the list came without it.
    only_here: list[str] = field(default_factory=list)
    #: The value is another one, or it cannot be read.
    differing: list[str] = field(default_factory=list)
    #: The mirror marks it as missing, and the list has it.
    marked_missing: list[str] = field(default_factory=list)
    #: Not equal, and the mirror knows: just this lies in quarantine.
    quarantined: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many ids are not as they should be; the quarantined ones do not count."""
        odd = (self.missing_here, self.only_here, self.differing, self.marked_missing)
        return sum(map(len, odd))


def _refused(item: Record | Refusal) -> Refusal:
    """The item as it would lie in quarantine."""
    if isinstance(item, Refusal):
        return item
    return Refusal(item.payload, "", item.id, item.arrival)


class State(Enum):
    """How one id stands."""

    ONLY_HERE = "only_here"
    EQUAL = "equal"
    DIFFERING = "differing"
    MISSING_HERE = "missing_here"
    MARKED_MISSING = "marked_missing"
    QUARANTINED = "quarantined"


class Comparing:
    """A list being compared, page by page; of each id no more than how it stands is kept."""

    def __init__(self, resource: Resource, source: Source, held: Iterable[str]) -> None:
        self._resource = resource
        self._source = source
        self._states = dict.fromkeys(held, State.ONLY_HERE)
        #: What was listed and is not among what the mirror holds, or is marked as missing there.
        self._not_held: set[str] = set()
        #: Items without an id that could be one: they stand under their digest.
        self._nameless: set[str] = set()

    def take(self, connection: Connection, items: Sequence[Record | Refusal]) -> None:
        """Compare some items of the list with the mirror."""
        ids = [item.id for item in items if isinstance(item, Record)]
        known = look_up(connection, self._resource.name, ids)
        found = [(_name(item), item, state_of(item, known)) for item in items]
        # What lies in quarantine lies there as it came.
        digests = {
            name: _refused(item).digest
            for name, item, state in found
            if state in (State.DIFFERING, State.MISSING_HERE)
        }
        waiting = seen_before(
            connection, self._resource.name, self._source.name, set(digests.values())
        )
        for name, item, state in found:
            self._states[name] = State.QUARANTINED if digests.get(name) in waiting else state
            if isinstance(item, Refusal):
                self._nameless.add(name)
            held = known.get(name)
            if held is None or held.missing_since is not None:
                self._not_held.add(name)

    def forgive(self, connection: Connection) -> None:
        """Look again at what only the mirror has: a sync may have marked it meanwhile."""
        lonely = [name for name, state in self._states.items() if state is State.ONLY_HERE]
        for some in chunks(lonely):
            known = look_up(connection, self._resource.name, some)
            for name in some:
                if name not in known or known[name].missing_since is not None:
                    del self._states[name]

    def listed(self) -> list[str]:
        """The ids that the list showed, sorted."""
        return sorted(
            name
            for name, state in self._states.items()
            if state is not State.ONLY_HERE and name not in self._nameless
        )

    def mirrored(self) -> list[str]:
        """The ids that the mirror holds and does not mark as missing, sorted."""
        return sorted(name for name in self._states if name not in self._not_held)

    def sample(self, size: int, seed: str) -> list[str]:
        """Some of the jobs that both sides have, the same for the same seed."""
        both = (
            name
            for name, state in self._states.items()
            if state is not State.ONLY_HERE and name not in self._not_held
        )
        return heapq.nsmallest(
            size, both, key=lambda name: blake2b(f"{seed}{name}".encode()).digest()
        )

    def result(self) -> Comparison:
        """How the list compares, as far as it was read."""
        names: dict[State, list[str]] = {state: [] for state in State}
        for name, state in self._states.items():
            names[state].append(name)
        equal, alone = len(names.pop(State.EQUAL)), len(names[State.ONLY_HERE])
        return Comparison(
            listed=len(self._states) - alone,
            mirrored=len(self._states) - len(self._not_held),
            equal=equal,
            **{state.value: sorted(some) for state, some in names.items()},
        )


def _name(item: Record | Refusal) -> str:
    return item.id if isinstance(item, Record) else f"(unreadable, digest {item.digest})"


def state_of(item: Record | Refusal, known: Mapping[str, Known]) -> State:
    """How an item of the list stands to what the ledger holds of its id."""
    if isinstance(item, Refusal):
        return State.DIFFERING
    held = known.get(item.id)
    if held is None:
        return State.MISSING_HERE
    if held.origin.id_space != item.origin.id_space:
        return State.DIFFERING  # the id is another's
    if held.missing_since is not None:
        return State.MARKED_MISSING
    if held.origin.source != item.origin.source:
        # Digests cover the project, and that is the owner's.
        item = replace(item, origin=held.origin)
    if item.digest == held.digest:
        return State.EQUAL
    try:
        same = item.canonical_digest == held.canonical_digest
    except RecordError:
        same = False
    return State.EQUAL if same else State.DIFFERING


def together(parts: Sequence[tuple[str, Comparing]]) -> Comparison:
    """The same list of several jobs as one, each id behind its job's."""
    found = [(job_id, comparing.result()) for job_id, comparing in parts]

    def ids(name: str) -> list[str]:
        return sorted(f"{job_id}/{one}" for job_id, part in found for one in getattr(part, name))

    return Comparison(
        listed=sum(part.listed for _, part in found),
        mirrored=sum(part.mirrored for _, part in found),
        equal=sum(part.equal for _, part in found),
        **{state.value: ids(state.value) for state in State if state is not State.EQUAL},
    )


def sha256_of(ids: Sequence[str]) -> str:
    """Of the ids, with a newline between two."""
    digest = sha256()
    for number, one in enumerate(ids):
        digest.update(f"\n{one}".encode() if number else one.encode())
    return digest.hexdigest()
