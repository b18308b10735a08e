"""What the report tells, as plain figures: read once, drawn later.

Money is whole micro-dollars, and is added up as such.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

#: A job's way to an end, as the report tells it; any other status is not final, or not known.
OUTCOMES = ("succeeded", "failed", "cancelled", "open")


@dataclass(frozen=True)
class Period:
    """The time that counts: jobs that ended (open ones: began) from then on, and before that."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass
class Sum:
    """What some jobs come to."""

    jobs: int = 0
    tokens: int = 0
    microusd: int = 0
    uncertain: int = 0
    estimate: int = 0
    unpriced_jobs: int = 0
    open_jobs: int = 0

    def add(self, tokens: int, microusd: int, certainty: str) -> None:
        """One more job."""
        self.jobs += 1
        self.tokens += tokens
        self.microusd += microusd
        if certainty == "uncertain":
            self.uncertain += microusd
        elif certainty == "estimate":
            self.estimate += microusd
        elif certainty == "unpriced":
            self.unpriced_jobs += 1
        elif certainty == "open":
            self.open_jobs += 1


@dataclass(frozen=True)
class Cost:
    """A job and what it cost."""

    job_id: str
    model: str | None
    base_model: str | None
    method: str | None
    status: str | None
    #: When it ended, or began where it has no end; UTC.
    spent_at: datetime
    tokens: int | None
    microusd: int
    certainty: str
    #: What its model was to be called; looked up later.
    suffix: str | None = None


@dataclass
class Unpriced:
    """Jobs that have no price, for one reason."""

    jobs: int = 0
    tokens: int = 0


@dataclass
class Spend:
    """What training cost, in every way that the report shows it."""

    total: Sum = field(default_factory=Sum)
    #: By UTC month, `2026-01`.
    months: dict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    #: Micro-dollars by UTC day, `2026-01-31`.
    days: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    models: dict[str | None, Sum] = field(default_factory=lambda: defaultdict(Sum))
    #: Micro-dollars by month and base model.
    months_models: dict[tuple[str, str | None], int] = field(
        default_factory=lambda: defaultdict(int)
    )
    projects: dict[str | None, Sum] = field(default_factory=lambda: defaultdict(Sum))
    methods: dict[str | None, Sum] = field(default_factory=lambda: defaultdict(Sum))
    #: By how sure the figure is and why.
    certainties: dict[tuple[str, str | None], Sum] = field(default_factory=lambda: defaultdict(Sum))
    #: Jobs by month and one of OUTCOMES.
    outcomes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    #: By reason, provider, base model and method.
    unpriced: dict[tuple[str, str, str | None, str | None], Unpriced] = field(
        default_factory=lambda: defaultdict(Unpriced)
    )
    #: The most expensive first.
    dearest: list[Cost] = field(default_factory=list)
    #: The most expensive one of each base model.
    dearest_of: dict[str | None, Cost] = field(default_factory=dict)
    #: Those that succeeded last.
    latest: list[Cost] = field(default_factory=list)


@dataclass(frozen=True)
class Times:
    """How long jobs took that succeeded in one month: the middle one, and nine of ten."""

    jobs: int
    run: tuple[int, int] | None
    queue: tuple[int, int] | None


@dataclass
class Failure:
    """Jobs that came to no good end, for one reason."""

    jobs: int = 0
    tokens: int = 0
    #: What the last of them was told.
    message: str = ""
    told_at: datetime | None = None


@dataclass(frozen=True)
class Curve:
    """One measurement of a job over its steps."""

    name: str
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class Best:
    """A job's best checkpoint."""

    step: int | None
    loss: float
    loss_name: str
    model: str | None


@dataclass(frozen=True)
class Training:
    """How the training of a job went."""

    job: Cost
    #: Where it was measured: `result_file`, `event` or `checkpoint`.
    origin: str
    curves: list[Curve]
    best: Best | None


@dataclass
class Tags:
    """What training cost by the values of one metadata key."""

    key: str
    #: The most expensive values first.
    values: list[tuple[str, Sum]]
    #: Of all values, those that are not listed too.
    tagged: Sum
    count: int


@dataclass(frozen=True)
class Billed:
    """A month and project: what training should have cost, and what was billed. 10⁻⁹ of it."""

    month: str
    project_id: str
    project_name: str | None
    currency: str
    estimated: int
    #: None where no day of the month was read from the bill.
    training: int | None
    other: int | None
    #: Jobs that the estimate does not know the cost of.
    unpriced_jobs: int


@dataclass(frozen=True)
class LineItem:
    """What was billed for something that no pattern knows."""

    name: str
    currency: str
    amount: int


@dataclass(frozen=True)
class Health:
    """How a source and resource stand."""

    source: str
    resource: str
    last_success_at: datetime | None
    last_status: str | None
    quarantined: int


@dataclass(frozen=True)
class Figures:
    """Everything that the page shows."""

    period: Period
    made_at: datetime
    spend: Spend
    #: Names of projects, where they are mirrored.
    project_names: dict[str, str]
    #: By month.
    times: dict[str, Times]
    #: By status and reason.
    failures: dict[tuple[str, str], Failure]
    trainings: list[Training]
    tags: list[Tags]
    #: Metadata keys that are not shown.
    more_tags: list[str]
    #: Is anything billed mirrored at all?
    has_bills: bool
    billed: list[Billed]
    unknown_items: list[LineItem]
    health: list[Health]


def outcome(status: str | None) -> str:
    """One of OUTCOMES."""
    return status if status in OUTCOMES and status is not None else "open"


def middle_and_most(values: Sequence[int]) -> tuple[int, int] | None:
    """The median and the 90th percentile, each a value that is there; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * 0.5) - 1], ordered[math.ceil(len(ordered) * 0.9) - 1]


def thinned(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """So many points at the most, evenly chosen; the first and the last stay."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(number * step)] for number in range(most)]


def months_between(known: Sequence[str], most: int) -> list[str]:
    """Every month from the first to the last, so that a gap shows; at most so many, the newest.

    Where there would be more, those that are known only: one odd date must not fill the page.
    """
    if not known:
        return []
    first, last = _number(min(known)), _number(max(known))
    if last - first >= most:
        return sorted(known)[-most:]
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(first, last + 1)]


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:7]) - 1
