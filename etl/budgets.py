"""What training cost in a month, held against what it may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from etl.settings import Limit
from etl.spending import Amounts, Wanted, months, spending


@dataclass(frozen=True)
class Spent:
    """One limit in one month."""

    limit: Limit
    #: As `2025-01`, UTC.
    month: str
    amounts: Amounts
    #: Is there any job that the limit is of, in whatever month?
    is_matched: bool = True
    #: What jobs without a project spent that month, for a limit of one: any may be of it.
    without_project: Amounts = field(default_factory=Amounts)

    @property
    def is_exceeded(self) -> bool:
        """Is what is known to be spent above the limit?"""
        return self.amounts.cost_microusd > self.limit.monthly_microusd

    @property
    def is_sure(self) -> bool:
        """Could nothing that is not known turn this over?"""
        if self.is_exceeded:
            sure = self.amounts.cost_microusd - self.amounts.uncertain_microusd
            return sure > self.limit.monthly_microusd
        most = self.amounts + self.without_project
        return (
            self.is_matched
            and most.cost_microusd <= self.limit.monthly_microusd
            and not most.unpriced_jobs
            and not most.open_jobs
        )


def checked(
    connection: Connection,
    limits: Sequence[Limit],
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Spent]:
    """Each limit in each month from `since` to before `until`; without both, in the month of `now`.

    A month that is touched counts as a whole. Months before the first job are left out.
    """
    asked = _months(connection, now, since, until)
    found: list[Spent] = []
    for limit in limits:
        wanted = Wanted(
            by=("month", "project"),
            since=_begin(asked[0]),
            until=_begin(_next(asked[-1])),
            metadata=limit.metadata,
        )
        sums: dict[str | None, Amounts] = {}
        unassigned: dict[str | None, Amounts] = {}
        for (month, project), amounts in spending(connection, wanted).rows:
            if limit.project is None or limit.project == project:
                sums[month] = sums.get(month, Amounts()) + amounts
            elif project is None:
                unassigned[month] = amounts
        is_matched = bool(sums) or _is_matched(connection, limit)
        found += [
            Spent(
                limit,
                month,
                sums.get(month, Amounts()),
                is_matched,
                unassigned.get(month, Amounts()),
            )
            for month in asked
        ]
    return found


def _is_matched(connection: Connection, limit: Limit) -> bool:
    """Is any job of it? The limit of all is one of nothing in particular, even of no job."""
    if limit.project is None and not limit.metadata:
        return True
    wanted = Wanted(by=("status",), project=limit.project, metadata=limit.metadata)
    return bool(spending(connection, wanted).rows)


def _months(
    connection: Connection, now: datetime, since: datetime | None, until: datetime | None
) -> list[str]:
    if since is None and until is None:
        return [_month(now)]
    last = _month(now if until is None else until - timedelta(microseconds=1))
    known = months(connection)
    first = max(_month(since) if since else "", known[0] if known else last)
    found, month = [], first
    while month <= last:
        found.append(month)
        month = _next(month)
    return found or [last]


def _month(moment: datetime) -> str:
    return f"{moment.year:04}-{moment.month:02}"


def _next(month: str) -> str:
    year, number = divmod(12 * int(month[:4]) + int(month[5:]), 12)
    return f"{year:04}-{number + 1:02}"


def _begin(month: str) -> datetime:
    return datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
