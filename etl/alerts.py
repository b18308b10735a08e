"""What somebody should be told of: budgets, jobs that failed, a mirror that fell behind.

Each fact is told once: what was told stands in `sent_alerts`, written after it was sent. That table
is written without the lease, or nobody could be told of a mirror that falls behind because a run
hangs; it is read by nothing else, and each of its transactions is complete in itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, exists, func, select, true

from etl.budgets import Spent
from etl.db import again
from etl.db.engine import database_errors, writing
from etl.db.tables import record_versions, records, sent_alerts, sync_runs
from etl.db.types import UtcDateTime
from etl.db.upsert import upsert
from etl.reports import NO_SYNCS, Standing
from etl.resources.jobs import jobs

#: How long before a run a job may have ended that is news to who was never told of any.
NEWS = timedelta(days=1)
#: Jobs that a message names.
SHOWN = 20

#: Under this fact stands the run up to which failed jobs were told of.
_UP_TO = "up to this run"


@dataclass(frozen=True)
class Alert:
    """One message, and the facts that are told by it."""

    #: `budget`, `failed_jobs` or `stale`.
    kind: str
    title: str
    #: Nothing to send where there are none.
    lines: tuple[str, ...]
    facts: tuple[str, ...]
    run_id: int | None = None


def over_budget(engine: Engine, exceeded: Mapping[Spent, str]) -> Alert:
    """The limits that are exceeded, with a sentence for each: once a month, and again if raised."""
    facts = {
        _fact(one.month, one.limit.name, str(one.limit.monthly_microusd)): said
        for one, said in exceeded.items()
    }
    return _news(engine, "budget", "ftmirror: training is over budget", facts)


def stale(engine: Engine, late: Iterable[tuple[Standing, str]]) -> Alert:
    """What was not brought in step in time, with a sentence for each: once until it is again."""
    facts = {
        _fact(one.source, one.resource, str(one.synced_at or "never")): said for one, said in late
    }
    return _news(engine, "stale", "ftmirror: the mirror is behind", facts)


def failed_jobs(engine: Engine) -> Alert:
    """The jobs that syncs found failed since they were last told of.

    At first those that the last sync found, as far as they ended shortly before it began: what a
    first sync or an import brings is history.
    """

    def look(connection: Connection) -> Alert:
        run, record = sync_runs.c, records.c
        last = connection.scalar(
            select(func.max(run.id)).where(run.mode.not_in(NO_SYNCS), run.finished_at.is_not(None))
        )
        told = connection.scalar(
            select(sent_alerts.c.run_id).where(
                sent_alerts.c.kind == "failed_jobs", sent_alerts.c.fact == _UP_TO
            )
        )
        if last is None or last == told:
            return Alert("failed_jobs", "", (), ())
        ended = func.coalesce(jobs.c.finished_at, jobs.c.created_at, type_=UtcDateTime())
        after = told
        is_recent: ColumnElement[bool] = true()
        if after is None:
            began = connection.scalars(select(run.started_at).where(run.id == last)).one()
            after, is_recent = last - 1, ended >= began - NEWS
        before = record_versions.c
        query = (
            select(jobs.c.id, jobs.c.model, jobs.c.project_id, jobs.c.error_message)
            .join(records, (record.resource == "jobs") & (record.id == jobs.c.id))
            .join(sync_runs, run.id == record.run_id)
            .where(
                jobs.c.status == "failed",
                record.run_id > after,
                record.run_id <= last,
                run.mode.not_in(NO_SYNCS),
                is_recent,
                # It had not failed before, and changed since in another way.
                ~exists().where(
                    before.resource == "jobs",
                    before.id == jobs.c.id,
                    before.status == "failed",
                    before.run_id <= after,
                ),
            )
            .order_by(jobs.c.created_at.desc(), jobs.c.id)
        )
        found = connection.execute(query).all()
        lines = [
            f"{line.id} ({', '.join(word for word in (line.model, line.project_id) if word)}): "
            f"{line.error_message or 'no message'}"
            for line in found[:SHOWN]
        ]
        if len(found) > SHOWN:
            lines.append(f"and {len(found) - SHOWN:,} more")
        count = "a job" if len(found) == 1 else f"{len(found):,} jobs"
        title = f"ftmirror: {count} failed"
        return Alert("failed_jobs", title, tuple(lines), (_UP_TO,), last)

    return again.read(engine, look)


def _fact(*words: str) -> str:
    """What makes a fact the same tomorrow, short enough for a key."""
    return hashlib.sha256("\x00".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _news(engine: Engine, kind: str, title: str, facts: Mapping[str, str]) -> Alert:
    """An alert of those facts that were not told yet."""

    def look(connection: Connection) -> set[str]:
        query = select(sent_alerts.c.fact).where(
            sent_alerts.c.kind == kind, sent_alerts.c.fact.in_(facts)
        )
        return set(connection.scalars(query))

    told = again.read(engine, look) if facts else set()
    new = {fact: said for fact, said in facts.items() if fact not in told}
    return Alert(kind, title, tuple(new.values()), tuple(new))


def note(engine: Engine, alert: Alert, now: datetime) -> None:
    """Write down that these facts were told. Raises StoreError."""
    rows = [
        {"kind": alert.kind, "fact": fact, "run_id": alert.run_id, "sent_at": now}
        for fact in alert.facts
    ]

    def write() -> None:
        with database_errors(), writing(engine) as connection:
            for row in rows:
                connection.execute(upsert(engine.dialect.name, sent_alerts), row)

    if rows:
        again.again(write)
