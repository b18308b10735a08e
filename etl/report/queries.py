"""The figures of the report, read from the views in one transaction.

Most of them are sums over `job_costs`, which is read once, a row at a time: so each breakdown comes
to the same total, and a mirror of a million jobs needs little memory.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    TableClause,
    and_,
    column,
    func,
    select,
    table,
    true,
)

from etl.db.again import again
from etl.db.engine import database_errors
from etl.db.types import UtcDateTime
from etl.report.figures import (
    Best,
    Billed,
    Cost,
    Curve,
    Failure,
    Figures,
    Health,
    LineItem,
    Period,
    Spend,
    Sum,
    Tags,
    Times,
    Training,
    middle_and_most,
    outcome,
    thinned,
)
from etl.spend.rules import MOST_TOKENS

#: Jobs in the list of the most expensive ones.
DEAREST = 15
#: Jobs whose training is drawn: at most so many of the most expensive and of the latest.
DRAWN_DEAREST, DRAWN_LATEST = 3, 3
#: Jobs looked at for it: not all have something to draw.
CANDIDATES = 12
#: Points of a curve; more would not show.
POINTS = 120
#: Metadata keys, and values of one.
KEYS, VALUES = 8, 8
#: Lines of the reconciliation, and line items that no pattern knows.
BILLED, UNKNOWN_ITEMS = 240, 20
#: Rows that a server sends at once.
CHUNK = 5000

#: A job's metrics that are drawn, in this order: its losses, else its rewards.
LOSSES = ("train_loss", "valid_loss", "full_valid_loss")
REWARDS = ("train_mean_reward", "full_valid_mean_reward")
#: The fullest account of a training first.
ORIGINS = ("result_file", "event", "checkpoint")


def _view(name: str, *names: str, times: Iterable[str] = ()) -> TableClause:
    """A view by these columns; those of `times` are moments."""
    moments: list[Any] = [column(one, UtcDateTime()) for one in times]
    return table(name, *(column(one) for one in names), *moments)


_costs = _view(
    "job_costs",
    *("job_id", "provider", "project_id", "status", "model", "base_model", "method_type"),
    *("spent_on", "spent_in", "trained_tokens", "cost_microusd", "certainty", "reason"),
    times=["spent_at"],
)
_overview = _view(
    "job_overview",
    *("job_id", "status", "user_provided_suffix", "queue_seconds", "run_seconds"),
    times=["finished_at"],
)
_failures = _view(
    "job_failures",
    *("job_id", "status", "error_code", "error_message", "trained_tokens", "last_event_message"),
    times=["created_at", "finished_at"],
)
_curves = _view("training_curves", "job_id", "origin", "step", *LOSSES, *REWARDS)
_best = _view(
    "best_checkpoints", "job_id", "fine_tuned_model_checkpoint", "step_number", "loss", "loss_name"
)
_projects = _view("spend_by_project", "project_id", "project_name")
_metadata = _view("job_metadata", "job_id", "name", "value")
_reconciliation = _view(
    "spend_reconciliation",
    *("month", "project_id", "project_name", "currency"),
    *("estimated_nano", "billed_training_nano", "billed_other_nano", "unpriced_jobs"),
)
_items = _view("billed_line_items", "month", "line_item", "kind", "currency", "amount_nano")
_health = _view(
    "sync_health",
    *("source", "resource", "last_status", "open_quarantine"),
    times=["last_success_at"],
)


def read(engine: Engine, period: Period, now: datetime) -> Figures:
    """Everything that the page shows, as the mirror was at one moment."""
    return again(lambda: _read(engine, period, now))


def _read(engine: Engine, period: Period, now: datetime) -> Figures:
    with database_errors(), _snapshot(engine) as connection:
        spend = _spend(connection, period)
        shown, more = _tags(connection, period)
        billed = _billed(connection, period)
        return Figures(
            period=period,
            made_at=now,
            spend=replace(spend, dearest=_named(connection, spend.dearest)),
            project_names=_project_names(connection, spend),
            times=_times(connection, period),
            failures=_failed(connection, period),
            trainings=_trainings(connection, spend),
            tags=shown,
            more_tags=more,
            # Days without any spend were read, too.
            has_bills=any(one.training is not None for one in billed)
            or connection.execute(select(_items.c.month).limit(1)).first() is not None,
            billed=billed,
            unknown_items=_unknown_items(connection, period),
            health=_standing(connection),
        )


def _snapshot(engine: Engine) -> Connection:
    """A connection whose queries all see the same; SQLite's always do."""
    if engine.dialect.name == "sqlite":
        return engine.connect()
    return engine.execution_options(isolation_level="REPEATABLE READ").connect()


def _rows(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of a long answer, some at a time."""
    return iter(connection.execute(query, execution_options={"yield_per": CHUNK}))


def _within(period: Period, moment: ColumnElement[Any]) -> ColumnElement[bool]:
    """Is the moment within this time?"""
    terms: list[ColumnElement[bool]] = [true()]
    if period.since is not None:
        terms.append(moment >= period.since)
    if period.until is not None:
        terms.append(moment < period.until)
    return and_(*terms)


def _month_within(period: Period, month: ColumnElement[Any]) -> ColumnElement[bool]:
    """Has the month any of this time? Of bills there is nothing finer in the views."""
    terms: list[ColumnElement[bool]] = [true()]
    if period.since is not None:
        terms.append(month >= f"{period.since:%Y-%m}")
    if period.until is not None:
        terms.append(month <= f"{period.until - timedelta(microseconds=1):%Y-%m}")
    return and_(*terms)


def _spend(connection: Connection, period: Period) -> Spend:
    found = Spend()
    dearest: list[tuple[int, str, Cost]] = []
    latest: list[tuple[datetime, str, Cost]] = []
    for row in _rows(connection, select(_costs).where(_within(period, _costs.c.spent_at))):
        tokens, microusd = _tokens(row.trained_tokens), int(row.cost_microusd or 0)
        for one in (
            found.total,
            found.months[row.spent_in],
            found.models[row.base_model],
            found.projects[row.project_id],
            found.methods[row.method_type],
            found.certainties[row.certainty, row.reason],
        ):
            one.add(tokens, microusd, row.certainty)
        found.days[row.spent_on] += microusd
        found.months_models[row.spent_in, row.base_model] += microusd
        found.outcomes[row.spent_in, outcome(row.status)] += 1
        if row.certainty == "unpriced":
            group = found.unpriced[row.reason, row.provider, row.base_model, row.method_type]
            group.jobs += 1
            group.tokens += tokens
        if microusd and (len(dearest) < DEAREST or microusd >= dearest[0][0]):
            _keep(dearest, (microusd, row.job_id, _cost(row)), DEAREST)
        of_model = found.dearest_of.get(row.base_model)
        if microusd and (of_model is None or microusd > of_model.microusd):
            found.dearest_of[row.base_model] = _cost(row)
        if row.status == "succeeded" and (len(latest) < CANDIDATES or row.spent_at >= latest[0][0]):
            _keep(latest, (row.spent_at, row.job_id, _cost(row)), CANDIDATES)
    found.dearest = [cost for _, _, cost in sorted(dearest, key=lambda one: (-one[0], one[1]))]
    found.latest = [cost for _, _, cost in sorted(latest, reverse=True)]
    return found


def _tokens(said: int | None) -> int:
    """A job's trained tokens as the views of spend add them up: what cannot be is left out."""
    return int(said) if said is not None and 0 <= said <= MOST_TOKENS else 0


def _keep(heap: list[Any], item: tuple[Any, str, Cost], most: int) -> None:
    """Add it to the largest ones."""
    heapq.heappush(heap, item)
    if len(heap) > most:
        heapq.heappop(heap)


def _cost(row: Row[Any]) -> Cost:
    return Cost(
        job_id=row.job_id,
        model=row.model,
        base_model=row.base_model,
        method=row.method_type,
        status=row.status,
        spent_at=row.spent_at,
        tokens=None if row.trained_tokens is None else int(row.trained_tokens),
        microusd=int(row.cost_microusd or 0),
        certainty=row.certainty,
    )


def _named(connection: Connection, costs: list[Cost]) -> list[Cost]:
    """The same jobs with their suffixes."""
    query = select(_overview.c.job_id, _overview.c.user_provided_suffix).where(
        _overview.c.job_id.in_([one.job_id for one in costs])
    )
    suffixes = {row[0]: row[1] for row in connection.execute(query)} if costs else {}
    return [replace(one, suffix=suffixes.get(one.job_id)) for one in costs]


def _project_names(connection: Connection, spend: Spend) -> dict[str, str]:
    if not any(spend.projects):  # the view reads every job for it
        return {}
    query = select(_projects.c.project_id, _projects.c.project_name)
    return {row[0]: row[1] for row in connection.execute(query) if row[0] and row[1]}


def _times(connection: Connection, period: Period) -> dict[str, Times]:
    seen = _overview.c
    query = select(seen.finished_at, seen.run_seconds, seen.queue_seconds).where(
        seen.status == "succeeded",
        seen.finished_at.is_not(None),
        _within(period, seen.finished_at),
    )
    run: dict[str, list[int]] = defaultdict(list)
    queue: dict[str, list[int]] = defaultdict(list)
    jobs: dict[str, int] = defaultdict(int)
    for row in _rows(connection, query):
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


def _failed(connection: Connection, period: Period) -> dict[tuple[str, str], Failure]:
    seen = _failures.c
    ended = func.coalesce(seen.finished_at, seen.created_at, type_=UtcDateTime())
    query = select(_failures, ended.label("ended_at")).where(_within(period, ended))
    found: dict[tuple[str, str], Failure] = defaultdict(Failure)
    for row in _rows(connection, query):
        one = found[row.status, row.error_code or ""]
        one.jobs += 1
        one.tokens += _tokens(row.trained_tokens)
        # Nothing went wrong with most that were cancelled, whatever an event had warned of.
        said = row.error_message or (row.last_event_message if row.status == "failed" else "") or ""
        if said and (one.told_at is None or (row.ended_at, said) > (one.told_at, one.message)):
            one.told_at, one.message = row.ended_at, said
    return dict(found)


def _trainings(connection: Connection, spend: Spend) -> list[Training]:
    """How some trainings went: the most expensive one of each of some models, then the latest."""
    by_cost = sorted(spend.dearest_of.values(), key=lambda one: (-one.microusd, one.job_id))
    first = by_cost[:CANDIDATES]
    named = _named(connection, list({one.job_id: one for one in [*first, *spend.latest]}.values()))
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


def _tags(connection: Connection, period: Period) -> tuple[list[Tags], list[str]]:
    """What training cost by metadata, and the names of keys that are not shown."""
    name, value, cost = _metadata.c.name, _metadata.c.value, _costs.c
    query = (
        select(
            name,
            value,
            func.count().label("jobs"),
            func.coalesce(func.sum(cost.cost_microusd), 0).label("microusd"),
        )
        .join_from(_metadata, _costs, cost.job_id == _metadata.c.job_id)
        .where(_within(period, _costs.c.spent_at))
        .group_by(name, value)
    )
    tagged: dict[str, Sum] = defaultdict(Sum)
    counts: dict[str, int] = defaultdict(int)
    heaps: dict[str, list[tuple[int, str, Sum]]] = defaultdict(list)
    for row in _rows(connection, query):
        key, text = row.name, row.value
        one = Sum(jobs=int(row.jobs), microusd=int(row.microusd))
        whole = tagged[key]
        whole.jobs += one.jobs
        whole.microusd += one.microusd
        counts[key] += 1
        heap = heaps[key]
        heapq.heappush(heap, (one.microusd, text, one))
        if len(heap) > VALUES:
            heapq.heappop(heap)
    keys = sorted(tagged, key=lambda key: (-tagged[key].jobs, key))
    shown = [
        Tags(
            key=key,
            values=[
                (text, one)
                for _, text, one in sorted(heaps[key], key=lambda item: (-item[0], item[1]))
            ],
            tagged=tagged[key],
            count=counts[key],
        )
        for key in keys[:KEYS]
    ]
    return shown, keys[KEYS:]


def _billed(connection: Connection, period: Period) -> list[Billed]:
    seen = _reconciliation.c
    query = select(_reconciliation).where(_month_within(period, seen.month))
    return [
        Billed(
            month=row.month,
            project_id=row.project_id or "",
            project_name=row.project_name,
            currency=row.currency,
            estimated=int(row.estimated_nano),
            training=_known(row.billed_training_nano),
            other=_known(row.billed_other_nano),
            unpriced_jobs=int(row.unpriced_jobs),
        )
        for row in connection.execute(
            query.order_by(seen.month.desc(), seen.project_id, seen.currency)
        )
    ]


def _known(amount: Any) -> int | None:
    """A sum as a whole number, of whatever type the database makes it."""
    return None if amount is None else int(amount)


def _unknown_items(connection: Connection, period: Period) -> list[LineItem]:
    seen = _items.c
    amount = func.sum(seen.amount_nano)
    query = (
        select(seen.line_item, seen.currency, amount)
        .where(seen.kind.is_(None), _month_within(period, seen.month))
        .group_by(seen.line_item, seen.currency)
        .order_by(amount.desc(), seen.line_item, seen.currency)
    )
    return [LineItem(row[0], row[1], int(row[2])) for row in connection.execute(query)]


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
