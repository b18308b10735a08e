"""What training cost, summed by whatever is asked for: the view `job_costs`, added up.

Money is whole micro-dollars from the first to the last sum, and every job stands in exactly one
row, so that each breakdown adds up to the same total.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, case, column, exists, func, select, table

from etl.db.types import BigInt, UtcDateTime
from etl.errors import UsageError
from etl.resources.jobs import job_metadata
from etl.resources.projects import projects
from etl.settings import escaped, nearest
from etl.spend.rules import MOST_TOKENS

#: What can be asked for by one word, and the column of the view that says it.
COLUMNS = {
    "month": "spent_in",
    "day": "spent_on",
    "model": "base_model",
    "method": "method_type",
    "project": "project_id",
    "source": "source",
    "status": "status",
}
#: What a key of metadata is called: `metadata.team`.
METADATA = "metadata."
#: What comes in the order of time; anything else has the dearest first.
_TIMES = ("month", "day")

job_costs = table(
    "job_costs",
    column("job_id", String()),
    column("source", String()),
    column("provider", String()),
    column("project_id", String()),
    column("status", String()),
    column("base_model", String()),
    column("method_type", String()),
    column("spent_at", UtcDateTime()),
    column("spent_on", String()),
    column("spent_in", String()),
    column("trained_tokens", BigInt),
    column("cost_microusd", BigInt),
    column("certainty", String()),
    column("reason", String()),
)

#: What a row is of: a text for each word asked for, None for jobs that have no such thing.
Keys = tuple[str | None, ...]


@dataclass(frozen=True)
class Amounts:
    """What some jobs cost, and of how many of them that is not known."""

    jobs: int = 0
    trained_tokens: int = 0
    cost_microusd: int = 0
    #: Jobs whose cost is in the sum, though they may have cost less; and that part of it.
    uncertain_jobs: int = 0
    uncertain_microusd: int = 0
    #: Jobs that are over and whose cost nobody can tell, and those that are not over.
    unpriced_jobs: int = 0
    open_jobs: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(self))
        )


@dataclass(frozen=True)
class Part:
    """Jobs whose cost is known or not known for one reason."""

    #: `list_price`, `uncertain`, `estimate`, `unpriced` or `open`.
    certainty: str
    #: Why so, where there is something to say.
    reason: str | None
    provider: str


@dataclass(frozen=True)
class Wanted:
    """Which jobs, and by what they are summed."""

    by: tuple[str, ...] = ("month",)
    #: Jobs that ended (open ones: began) from then on, and before that.
    since: datetime | None = None
    until: datetime | None = None
    project: str | None = None
    #: Pairs of metadata that a job must have.
    metadata: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for number, word in enumerate(self.by):
            _check(word)
            if word in self.by[:number]:
                raise UsageError(f"{escaped(word)} is named twice")


@dataclass(frozen=True)
class Spending:
    """What was asked for, summed."""

    wanted: Wanted
    rows: list[tuple[Keys, Amounts]]
    total: Amounts
    #: The same total by what is known of the jobs.
    parts: dict[Part, Amounts]
    #: Names of the projects in the rows, as far as they have one.
    project_names: dict[str, str] = field(default_factory=dict)


def _check(word: str) -> None:
    """Raise UsageError for what nothing can be summed by."""
    if word in COLUMNS or (word.startswith(METADATA) and word != METADATA):
        return
    if word.rstrip(".") == METADATA.rstrip("."):
        raise UsageError("name the key of metadata, as metadata.team")
    known = [*COLUMNS, f"{METADATA}KEY"]
    raise UsageError(
        f'nothing is summed by "{escaped(word)}"{nearest(word, known)}; known: {", ".join(known)}'
    )


def spending(connection: Connection, wanted: Wanted) -> Spending:
    """Add up what the view says, in one statement, so that all sums are of one moment."""
    rows: dict[Keys, Amounts] = {}
    parts: dict[Part, Amounts] = {}
    total = Amounts()
    for keys, part, amounts in _sums(connection, wanted):
        rows[keys] = rows.get(keys, Amounts()) + amounts
        parts[part] = parts.get(part, Amounts()) + amounts
        total += amounts
    names = _project_names(connection) if "project" in wanted.by and rows else {}
    return Spending(wanted, _in_order(wanted.by, rows), total, parts, names)


def months(connection: Connection) -> tuple[str, str] | None:
    """The first and the last month in which anything was spent, as `2025-01`; None for no jobs."""
    first, last = connection.execute(
        select(func.min(job_costs.c.spent_in), func.max(job_costs.c.spent_in))
    ).one()
    return None if first is None else (first, last)


def _sums(connection: Connection, wanted: Wanted) -> Iterator[tuple[Keys, Part, Amounts]]:
    cost = job_costs.c
    source: Any = job_costs
    keys: list[ColumnElement[Any]] = []
    for number, word in enumerate(wanted.by):
        if word in COLUMNS:
            keys.append(cost[COLUMNS[word]])
        else:
            tag = job_metadata.alias(f"tag_{number}")
            name = word.removeprefix(METADATA)
            source = source.outerjoin(tag, (tag.c.job_id == cost.job_id) & (tag.c.name == name))
            keys.append(tag.c.value)
    grouped = [*keys, cost.certainty, cost.reason, cost.provider]
    tokens = case((cost.trained_tokens.between(0, MOST_TOKENS), cost.trained_tokens))
    query = (
        select(
            *grouped,
            func.count(),
            func.sum(tokens),
            func.sum(cost.cost_microusd),
        )
        .select_from(source)
        .where(*_conditions(wanted))
        .group_by(*grouped)
    )
    for *said, certainty, reason, provider, jobs, trained, microusd in connection.execute(query):
        # Servers add whole numbers up to a Decimal; of nothing but NULL to NULL.
        spent = int(microusd or 0)
        yield (
            tuple(said),
            Part(certainty, reason, provider),
            Amounts(
                jobs=jobs,
                trained_tokens=int(trained or 0),
                cost_microusd=spent,
                uncertain_jobs=jobs if certainty == "uncertain" else 0,
                uncertain_microusd=spent if certainty == "uncertain" else 0,
                unpriced_jobs=jobs if certainty == "unpriced" else 0,
                open_jobs=jobs if certainty == "open" else 0,
            ),
        )


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    cost = job_costs.c
    if wanted.since is not None:
        yield cost.spent_at >= wanted.since
    if wanted.until is not None:
        yield cost.spent_at < wanted.until
    if wanted.project is not None:
        yield cost.project_id == wanted.project
    for name, value in wanted.metadata:
        tag = job_metadata.c
        yield exists().where(tag.job_id == cost.job_id, tag.name == name, tag.value == value)


def _project_names(connection: Connection) -> dict[str, str]:
    project = projects.c
    query = select(project.id, project.name).where(project.name.is_not(None))
    return {line[0]: line[1] for line in connection.execute(query)}


def _in_order(by: Sequence[str], rows: dict[Keys, Amounts]) -> list[tuple[Keys, Amounts]]:
    """Time goes on, the dearest comes first, and what has no such thing last, word by word."""
    costs: dict[Keys, int] = {}
    for keys, amounts in rows.items():
        for length in range(1, len(keys) + 1):
            costs[keys[:length]] = costs.get(keys[:length], 0) + amounts.cost_microusd

    def place(line: tuple[Keys, Amounts]) -> list[tuple[bool, int, str]]:
        keys = line[0]
        return [
            (key is None, 0 if word in _TIMES else -costs[keys[: number + 1]], key or "")
            for number, (word, key) in enumerate(zip(by, keys, strict=True))
        ]

    return sorted(rows.items(), key=place)
