"""What people ask of a mirror: how fresh it is, what it holds, how the runs went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from etl.db import runs
from etl.db.engine import database_errors
from etl.db.tables import COUNTS, drift, quarantine, records, sync_resource_runs, sync_runs
from etl.resources.jobs import jobs

#: Runs that ask no API, and so bring nothing in step. The view `sync_health` says the same.
NO_SYNCS = ("import", "replay", "retry")


@dataclass(frozen=True)
class Standing:
    """How one resource of one source stands."""

    source: str
    resource: str
    #: Does a sync read it, as the configuration is now?
    configured: bool
    records: int
    missing: int
    #: When the last sync had begun that was not narrowed and brought it in step; None for never.
    synced_at: datetime | None
    #: Seconds since then.
    age_seconds: float | None
    quarantined: int
    #: The last sync that came to it: its number, when it began here, and how it went.
    last_run_id: int | None
    last_run_at: datetime | None
    last_status: str | None
    last_error: str | None

    def is_stale(self, max_age: float) -> bool:
        """Is it to be read by syncs, and was not brought in step for so many seconds?"""
        return self.configured and (self.age_seconds is None or self.age_seconds > max_age)


@dataclass(frozen=True)
class Status:
    """How a mirror stands."""

    standings: list[Standing]
    #: Records by `resource`, of every source together.
    totals: dict[str, int]
    #: Kinds of drift seen so far.
    drift: int

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the stalest resource of a configured source was read; None: one never."""
        ages = [one.age_seconds for one in self.standings if one.configured]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    def stale(self, max_age: float) -> list[Standing]:
        """The resources of configured sources that were not read for so many seconds."""
        return [one for one in self.standings if one.is_stale(max_age)]

    def as_json(self, max_age: float | None = None) -> dict[str, Any]:
        """For machines. `stale` is null where no age was called too old."""
        return {
            "oldest_age_seconds": self.oldest_age,
            "max_age_seconds": max_age,
            "totals": self.totals,
            "drift": self.drift,
            "sources": [
                {**asdict(one), "stale": None if max_age is None else one.is_stale(max_age)}
                for one in self.standings
            ],
        }


def past_runs(engine: Engine, limit: int) -> list[dict[str, Any]]:
    """The latest runs with their resources, newest first."""
    with database_errors(), engine.connect() as connection:
        found = runs.latest(connection, limit)
        ids = [run["id"] for run in found]
        lines = connection.execute(
            select(sync_resource_runs)
            .where(sync_resource_runs.c.run_id.in_(ids))
            .order_by(sync_resource_runs.c.source, sync_resource_runs.c.resource)
        )
        parts: dict[int, list[dict[str, Any]]] = {}
        for line in lines:
            part = dict(line._mapping)  # noqa: SLF001 - SQLAlchemy's public name
            parts.setdefault(part.pop("run_id"), []).append(part)
    return [{**run, "resources": parts.get(run["id"], [])} for run in found]


def status(engine: Engine, configured: Iterable[tuple[str, str]], now: datetime) -> Status:
    """How each configured source and resource stands, and each other one that the mirror knows."""
    expected = frozenset(configured)
    with database_errors(), engine.connect() as connection:
        held = _held(connection)
        bad = _open_quarantine(connection)
        whole = _whole_since(connection)
        last = _last_lines(connection)
        kinds = connection.scalar(select(func.count()).select_from(drift)) or 0
    standings = []
    for pair in sorted(expected | held.keys() | bad.keys() | last.keys()):
        synced_at = whole.get(pair)
        stored, missing = held.get(pair, (0, 0))
        run_id, run_at, run_status, error = last.get(pair, (None, None, None, None))
        standings.append(
            Standing(
                source=pair[0],
                resource=pair[1],
                configured=pair in expected,
                records=stored,
                missing=missing,
                synced_at=synced_at,
                age_seconds=None if synced_at is None else (now - synced_at).total_seconds(),
                quarantined=bad.get(pair, 0),
                last_run_id=run_id,
                last_run_at=run_at,
                last_status=run_status,
                last_error=error,
            )
        )
    totals: dict[str, int] = {}
    for (_, resource), (stored, _) in held.items():
        totals[resource] = totals.get(resource, 0) + stored
    return Status(standings, totals, kinds)


def totals(counts: dict[str, int]) -> str:
    """What a run did, as a person would say it: `1,000 created, 20 updated`."""
    named = [name for name in COUNTS if name not in ("pages", "requests", "retries", "records")]
    said = [f"{counts[name]:,} {name}" for name in named if counts[name]]
    return ", ".join(said) or "nothing new"


def _held(connection: Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """How many records there are, and how many of them are missing: one look at a long table."""
    record = records.c
    query = select(
        record.source, record.resource, func.count(), func.count(record.missing_since)
    ).group_by(record.source, record.resource)
    return {(line[0], line[1]): (line[2], line[3]) for line in connection.execute(query)}


def _open_quarantine(connection: Connection) -> dict[tuple[str, str], int]:
    line = quarantine.c
    query = (
        select(line.source, line.resource, func.count())
        .where(line.resolved_at.is_(None))
        .group_by(line.source, line.resource)
    )
    return {(one[0], one[1]): one[2] for one in connection.execute(query)}


def _whole_since(connection: Connection) -> dict[tuple[str, str], datetime]:
    line = sync_resource_runs.c
    query = (
        select(line.source, line.resource, func.max(line.started_at))
        .join(sync_runs, sync_runs.c.id == line.run_id)
        .where(
            sync_runs.c.mode.not_in(NO_SYNCS),
            line.is_whole,
            line.status.in_(("success", "partial")),
            line.error.is_(None),
        )
        .group_by(line.source, line.resource)
    )
    return {(one[0], one[1]): one[2] for one in connection.execute(query)}


def _last_lines(
    connection: Connection,
) -> dict[tuple[str, str], tuple[int, datetime, str, str | None]]:
    line = sync_resource_runs.c
    latest = (
        select(line.source, line.resource, func.max(line.run_id).label("run_id"))
        .join(sync_runs, sync_runs.c.id == line.run_id)
        .where(sync_runs.c.mode.not_in(NO_SYNCS))
        .group_by(line.source, line.resource)
        .subquery()
    )
    query = select(
        line.source, line.resource, line.run_id, line.started_at, line.status, line.error
    ).join(
        latest,
        (latest.c.source == line.source)
        & (latest.c.resource == line.resource)
        & (latest.c.run_id == line.run_id),
    )
    return {(one[0], one[1]): (one[2], one[3], one[4], one[5]) for one in connection.execute(query)}


def outcomes(engine: Engine) -> list[tuple[Any, ...]]:
    """Jobs by status: how many, their trained tokens, the first and the last day they began."""
    job = jobs.c
    query = (
        select(
            job.status,
            func.count(),
            func.sum(job.trained_tokens),
            func.min(job.created_at),
            func.max(job.created_at),
        )
        .group_by(job.status)
        .order_by(func.count().desc(), job.status)
    )
    with database_errors(), engine.connect() as connection:
        found = connection.execute(query).all()
    return [
        (status, count, None if tokens is None else f"{int(tokens):,}", first.date(), last.date())
        for status, count, tokens, first, last in found
    ]


def sources(engine: Engine) -> set[str]:
    """The sources whose records a mirror holds."""
    with database_errors(), engine.connect() as connection:
        return set(connection.scalars(select(records.c.source).distinct()))
