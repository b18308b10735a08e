"""How jobs went: how long they took, why they failed, and how training came on."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    func,
    select,
)

from etl.db.types import UtcDateTime
from etl.report.asking import rows, view, within
from etl.report.figures import (
    Best,
    Cost,
    Curve,
    Failure,
    Period,
    Spend,
    Times,
    Training,
    middle_and_most,
    thinned,
)
from etl.report.spend_queries import CANDIDATES, overview, tokens_of, with_suffixes

#: Jobs whose training is drawn: at most so many of the most expensive and of the latest.
DRAWN_DEAREST, DRAWN_LATEST = 3, 3
#: Points of a curve; more would not show.
POINTS = 120
#: A job's metrics that are drawn, in this order: its losses, else its rewards.
LOSSES = ("train_loss", "valid_loss", "full_valid_loss")
REWARDS = ("train_mean_reward", "full_valid_mean_reward")
#: The fullest account of a training first.
ORIGINS = ("result_file", "event", "checkpoint")
_failures = view(
    "job_failures",
    *("job_id", "status", "error_code", "error_message", "trained_tokens", "last_event_message"),
    times=["created_at", "finished_at"],
)
_curves = view("training_curves", "job_id", "origin", "step", *LOSSES, *REWARDS)
_best = view(
    "best_checkpoints", "job_id", "fine_tuned_model_checkpoint", "step_number", "loss", "loss_name"
)


def times_within(connection: Connection, period: Period) -> dict[str, Times]:
    """How long the jobs that succeeded in each month ran and waited."""
    seen = overview.c
    query = select(seen.finished_at, seen.run_seconds, seen.queue_seconds).where(
        seen.status == "succeeded",
        seen.finished_at.is_not(None),
        within(period, seen.finished_at),
    )
    run: dict[str, list[int]] = defaultdict(list)
    queue: dict[str, list[int]] = defaultdict(list)
    jobs: dict[str, int] = defaultdict(int)
    for row in rows(connection, query):
        if row.run_seconds is None and row.queue_seconds is None:
            continue
        month = f"{row.finished_at:%Y-%m}"
        # A server whose clock went back would have them below zero.
        if row.run_seconds is not None and row.run_seconds >= 0:
            run[month].append(int(row.run_seconds))
        if row.queue_seconds is not None and row.queue_seconds >= 0:
            queue[month].append(int(row.queue_seconds))
        jobs[month] += 1
    return {
        month: Times(count, middle_and_most(run[month]), middle_and_most(queue[month]))
        for month, count in sorted(jobs.items())
        if run[month] or queue[month]
    }


def failures_within(connection: Connection, period: Period) -> dict[tuple[str, str], Failure]:
    """Why jobs failed or were cancelled, by status and error code, with the newest message."""
    seen = _failures.c
    ended = func.coalesce(seen.finished_at, seen.created_at, type_=UtcDateTime())
    query = select(_failures, ended.label("ended_at")).where(within(period, ended))
    found: dict[tuple[str, str], Failure] = defaultdict(Failure)
    for row in rows(connection, query):
        one = found[row.status, row.error_code or ""]
        one.jobs += 1
        one.tokens += tokens_of(row.trained_tokens)
        # Nothing went wrong with most that were cancelled, whatever an event had warned of.
        said = row.error_message or (row.last_event_message if row.status == "failed" else "") or ""
        if said and (one.told_at is None or (row.ended_at, said) > (one.told_at, one.message)):
            one.told_at, one.message = row.ended_at, said
    return dict(found)


def trainings_of(connection: Connection, spend: Spend) -> list[Training]:
    """How some trainings went: the most expensive one of each of some models, then the latest."""
    by_cost = sorted(spend.dearest_of.values(), key=lambda one: (-one.microusd, one.job_id))
    first = by_cost[:CANDIDATES]
    named = with_suffixes(
        connection, list({one.job_id: one for one in [*first, *spend.latest]}.values())
    )
    if not named:
        return []
    ids = [one.job_id for one in named]
    measured: dict[str, dict[str, list[Row[Any]]]] = defaultdict(lambda: defaultdict(list))
    query = select(_curves).where(_curves.c.job_id.in_(ids)).order_by(_curves.c.step)
    for row in connection.execute(query):
        measured[row.job_id][row.origin].append(row)
    best = {
        row.job_id: Best(row.step_number, row.loss, row.loss_name, row.fine_tuned_model_checkpoint)
        for row in connection.execute(select(_best).where(_best.c.job_id.in_(ids)))
        if math.isfinite(row.loss)
    }
    made = {
        one.job_id: training
        for one in named
        if (training := _training(one, measured[one.job_id], best.get(one.job_id))) is not None
    }
    chosen = [one.job_id for one in first if one.job_id in made][:DRAWN_DEAREST]
    rest = [one.job_id for one in spend.latest if one.job_id in made and one.job_id not in chosen]
    return [made[job_id] for job_id in [*chosen, *rest[:DRAWN_LATEST]]]


def _training(job: Cost, measured: dict[str, list[Row[Any]]], best: Best | None) -> Training | None:
    """The fullest account there is; None for a job of which fewer than two steps are known."""
    for names in (LOSSES, REWARDS):
        for origin in ORIGINS:
            curves = []
            for name in names:
                points = [
                    (int(row.step), float(value))
                    for row in measured.get(origin, [])
                    if (value := getattr(row, name)) is not None and math.isfinite(value)
                ]
                if points:
                    curves.append(Curve(name, thinned(points, POINTS)))
            if any(len(curve.points) > 1 for curve in curves):
                return Training(job, origin, curves, best if names is LOSSES else None)
    return None
