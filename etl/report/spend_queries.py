"""What was spent, by all that it may be asked by, in one reading of `job_costs`."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    func,
    select,
)

from etl.report.asking import rows, view, within
from etl.report.figures import (
    Cost,
    Period,
    Spend,
    Sum,
    Tags,
    outcome,
)
from etl.spend.rules import MOST_TOKENS

#: Jobs in the list of the most expensive ones.
DEAREST = 15
#: Jobs looked at for it: not all have something to draw.
CANDIDATES = 12
#: Metadata keys, and values of one.
KEYS, VALUES = 8, 8
_costs = view(
    "job_costs",
    *("job_id", "provider", "project_id", "status", "model", "base_model", "method_type"),
    *("spent_on", "spent_in", "trained_tokens", "cost_microusd", "certainty", "reason"),
    times=["spent_at"],
)
overview = view(
    "job_overview",
    *("job_id", "status", "user_provided_suffix", "queue_seconds", "run_seconds"),
    times=["finished_at"],
)
_projects = view("spend_by_project", "project_id", "project_name")
_metadata = view("job_metadata", "job_id", "name", "value")


def spend_within(connection: Connection, period: Period) -> Spend:
    """What was spent, by all that the page breaks it down by, and its most expensive jobs."""
    found = Spend()
    dearest: list[tuple[int, str, Cost]] = []
    latest: list[tuple[datetime, str, Cost]] = []
    for row in rows(connection, select(_costs).where(within(period, _costs.c.spent_at))):
        tokens, microusd = tokens_of(row.trained_tokens), int(row.cost_microusd or 0)
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


def tokens_of(said: int | None) -> int:
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


def with_suffixes(connection: Connection, costs: list[Cost]) -> list[Cost]:
    """The same jobs with their suffixes."""
    query = select(overview.c.job_id, overview.c.user_provided_suffix).where(
        overview.c.job_id.in_([one.job_id for one in costs])
    )
    suffixes = {row[0]: row[1] for row in connection.execute(query)} if costs else {}
    return [replace(one, suffix=suffixes.get(one.job_id)) for one in costs]


def project_names(connection: Connection, spend: Spend) -> dict[str, str]:
    """The names of the projects that are known by one."""
    if not any(spend.projects):  # the view reads every job for it
        return {}
    query = select(_projects.c.project_id, _projects.c.project_name)
    return {row[0]: row[1] for row in connection.execute(query) if row[0] and row[1]}


def tags_within(connection: Connection, period: Period) -> tuple[list[Tags], list[str]]:
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
        .where(within(period, _costs.c.spent_at))
        .group_by(name, value)
    )
    tagged: dict[str, Sum] = defaultdict(Sum)
    counts: dict[str, int] = defaultdict(int)
    heaps: dict[str, list[tuple[int, str, Sum]]] = defaultdict(list)
    for row in rows(connection, query):
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
