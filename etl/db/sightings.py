"""What was noted of the ledger's states: how often, when first and last, and the first example."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from etl.db.tables import ID_LENGTH
from etl.fields import Drift, clean


class State(NamedTuple):
    """A state in the ledger, in the order in which the mirror took them in."""

    changed_at: datetime
    id: str
    version: int


class Sighting(NamedTuple):
    """How often one kind of drift is in the ledger."""

    times: int
    first: State
    #: As the first state has it.
    example: str
    last_at: datetime


class Sightings(dict[tuple[str, str], Sighting]):
    """Drift of one resource by path and kind, as the table of drift has it."""

    def note(self, notes: Iterable[Drift], state: State) -> None:
        """Count what was noted of one state."""
        for path, kind, example in notes:
            # A path may hold a name that a stranger chose: made storable, and short enough.
            at = clean(path)[:ID_LENGTH], kind
            self._add(at, Sighting(1, state, example, state.changed_at))

    def plus(self, others: Sightings) -> Sightings:
        """Both together, as a new one."""
        both = Sightings(self)
        for at, one in others.items():
            both._add(at, one)
        return both

    def _add(self, at: tuple[str, str], one: Sighting) -> None:
        known = self.get(at)
        if known is None:
            self[at] = one
            return
        first = one if one.first < known.first else known
        self[at] = Sighting(
            known.times + one.times, first.first, first.example, max(known.last_at, one.last_at)
        )

    def as_json(self) -> list[list[Any]]:
        """Plain values, for the place of a replay that may be cut."""
        return [
            [
                *at,
                one.times,
                one.first.changed_at.isoformat(),
                one.first.id,
                one.first.version,
                one.example,
                one.last_at.isoformat(),
            ]
            for at, one in self.items()
        ]

    @classmethod
    def of_json(cls, values: Iterable[list[Any]]) -> Sightings:
        """What `as_json` gave."""
        found = cls()
        for path, kind, times, first_at, id_, version, example, last_at in values:
            first = State(datetime.fromisoformat(first_at), id_, version)
            found[path, kind] = Sighting(times, first, example, datetime.fromisoformat(last_at))
        return found
