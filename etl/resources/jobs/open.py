"""Which mirrored jobs may still change."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_

from etl.resources.jobs.states import FINAL_STATUSES
from etl.resources.jobs.tables import jobs

#: How long after its end a job may still get its `trained_tokens`.
TOKENS_AFTER = timedelta(days=1)


def open_rows(now: datetime) -> ColumnElement[bool]:
    """Jobs in any status that is not known to be final, and those that wait for their tokens."""
    ended_at = func.coalesce(jobs.c.finished_at, jobs.c.created_at)
    return or_(
        jobs.c.status.is_(None),
        jobs.c.status.not_in(sorted(FINAL_STATUSES)),
        and_(
            jobs.c.status == "succeeded",
            jobs.c.trained_tokens.is_(None),
            ended_at > now - TOKENS_AFTER,
        ),
    )
