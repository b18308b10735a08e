"""The figures of the report, read from the views in one transaction.

Most of them are sums over `job_costs`, which is read once, a row at a time: so each breakdown comes
to the same total, and a mirror of a million jobs needs little memory.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import (
    Connection,
    Engine,
    select,
)

from etl.db.again import again
from etl.db.engine import database_errors
from etl.report import bill_queries, job_queries, spend_queries
from etl.report.asking import view
from etl.report.figures import (
    Figures,
    Health,
    Period,
)

_health = view(
    "sync_health",
    *("source", "resource", "last_status", "open_quarantine"),
    times=["last_success_at"],
)


def read(engine: Engine, period: Period, now: datetime) -> Figures:
    """Everything that the page shows, as the mirror was at one moment."""
    return again(lambda: _read(engine, period, now))


def _read(engine: Engine, period: Period, now: datetime) -> Figures:
    with database_errors(), _snapshot(engine) as connection:
        spend = spend_queries.spend_within(connection, period)
        shown, more = spend_queries.tags_within(connection, period)
        billed = bill_queries.billed_within(connection, period)
        return Figures(
            period=period,
            made_at=now,
            spend=replace(spend, dearest=spend_queries.with_suffixes(connection, spend.dearest)),
            project_names=spend_queries.project_names(connection, spend),
            times=job_queries.times_within(connection, period),
            failures=job_queries.failures_within(connection, period),
            trainings=job_queries.trainings_of(connection, spend),
            tags=shown,
            more_tags=more,
            # Days without any spend were read, too.
            has_bills=any(one.training is not None for one in billed)
            or bill_queries.has_items(connection),
            billed=billed,
            unknown_items=bill_queries.unknown_items_within(connection, period),
            health=_standing(connection),
        )


def _snapshot(engine: Engine) -> Connection:
    """A connection whose queries all see the same; SQLite's always do."""
    if engine.dialect.name == "sqlite":
        return engine.connect()
    return engine.execution_options(isolation_level="REPEATABLE READ").connect()


def _standing(connection: Connection) -> list[Health]:
    seen = _health.c
    query = select(_health).order_by(seen.source, seen.resource)
    return [
        Health(
            source=row.source,
            resource=row.resource,
            last_success_at=row.last_success_at,
            last_status=row.last_status,
            quarantined=int(row.open_quarantine),
        )
        for row in connection.execute(query)
    ]
