"""What was measured, and what stands between the lines: medians and ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Result:
    """One process, from its start to its end."""

    entrant: str
    label: str
    database: str
    #: first, unchanged, changed, or latency
    scenario: str
    jobs: int
    round: int
    seconds: float
    #: Of the process and its children; and of the database's server meanwhile.
    cpu: float
    server_cpu: float
    peak_mb: float
    requests: int
    exit: int
    is_floor: bool = False
    #: What the database held after it; None where nothing is stored or nobody looked.
    rows: int | None = None
    tables: int | None = None
    #: Jobs that are not there, or not as the API says.
    wrong: int | None = None
    #: Of the jobs that had just changed, how many are stored as they are now.
    seen: int | None = None

    @property
    def is_good(self) -> bool:
        """It ended well, and what it stored is right."""
        return self.exit == 0 and not self.wrong


class Results:
    """All of them."""

    def __init__(self, results: Iterable[Result] = ()) -> None:
        self.all = list(results)

    def add(self, result: Result) -> None:
        """One more."""
        self.all.append(result)

    def select(self, **wanted: Any) -> list[Result]:
        """Those with these values, failures left out."""
        return [
            one
            for one in self.all
            if one.exit == 0 and all(getattr(one, name) == value for name, value in wanted.items())
        ]

    def figure(self, value: Callable[[Result], float], **wanted: Any) -> float | None:
        """The median of a value over the rounds; None where there is none."""
        found = [value(one) for one in self.select(**wanted)]
        return median(found) if found else None

    def seconds(self, **wanted: Any) -> float | None:
        """Median wall seconds."""
        return self.figure(lambda one: one.seconds, **wanted)

    def cpu(self, **wanted: Any) -> float | None:
        """Median CPU seconds, the server's with them."""
        return self.figure(lambda one: one.cpu + one.server_cpu, **wanted)

    def peak(self, **wanted: Any) -> float | None:
        """The highest peak, in MB."""
        found = [one.peak_mb for one in self.select(**wanted)]
        return max(found, default=None)

    def lines(self, jobs: int, database: str) -> Iterator[tuple[str, str, bool]]:
        """The names and labels of who did this, in the order of their turns; the floors last."""
        who = dict.fromkeys(
            (one.entrant, one.label, one.is_floor)
            for one in self.all
            if one.jobs == jobs and one.database == database and one.scenario != "latency"
        )
        yield from sorted(who, key=lambda one: one[2])

    def plain(self) -> list[dict[str, Any]]:
        """As JSON has it, figures rounded to what they are worth."""
        return [
            {name: round(value, 3) if isinstance(value, float) else value for name, value in pairs}
            for pairs in (asdict(one).items() for one in self.all)
        ]


def ratio(above: float | None, below: float | None) -> float | None:
    """How many times; None where one of them is missing."""
    return above / below if above is not None and below else None
