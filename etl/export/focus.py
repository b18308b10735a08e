"""Training spend as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

A row is a job: what it used, counted on the UTC day on which it ended, and what that costs by list
price. A job whose cost is not known has no row, as any number there would be one of ours; nor has
one that used nothing, as there was no charge. They are counted by why they were left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from itertools import chain, groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, column, select, type_coerce
from sqlalchemy import table as named

from etl.db.types import UtcDateTime
from etl.export.kinds import DOLLARS, INTEGER, JSON, MOMENT, TEXT, Kind
from etl.export.reading import BATCH, Row, streamed
from etl.spend.prices import UNITS

#: The name of the one table.
NAME = "focus"
#: A price of six decimals times a quantity of six.
_PRODUCT = Kind("decimal", 38, 12)
_QUANTITY = Kind("decimal", 38, 6)
_EXACT = Context(prec=60)

#: FOCUS's columns, and behind them ours, which its rules have begin with `x_`.
COLUMNS: dict[str, Kind] = {
    "BilledCost": DOLLARS,
    "BillingAccountId": TEXT,
    "BillingAccountName": TEXT,
    "BillingAccountType": TEXT,
    "BillingCurrency": TEXT,
    "BillingPeriodEnd": MOMENT,
    "BillingPeriodStart": MOMENT,
    "ChargeCategory": TEXT,
    "ChargeClass": TEXT,
    "ChargeDescription": TEXT,
    "ChargeFrequency": TEXT,
    "ChargePeriodEnd": MOMENT,
    "ChargePeriodStart": MOMENT,
    "ConsumedQuantity": _QUANTITY,
    "ConsumedUnit": TEXT,
    "ContractedCost": _PRODUCT,
    "EffectiveCost": DOLLARS,
    "InvoiceIssuerName": TEXT,
    "ListCost": _PRODUCT,
    "ListUnitPrice": DOLLARS,
    "PricingCategory": TEXT,
    "PricingQuantity": _QUANTITY,
    "PricingUnit": TEXT,
    "ProviderName": TEXT,
    "PublisherName": TEXT,
    "RegionId": TEXT,
    "RegionName": TEXT,
    "ResourceId": TEXT,
    "ResourceName": TEXT,
    "ResourceType": TEXT,
    "ServiceCategory": TEXT,
    "ServiceName": TEXT,
    "ServiceSubcategory": TEXT,
    "SkuId": TEXT,
    "SkuMeter": TEXT,
    "SkuPriceDetails": JSON,
    "SkuPriceId": TEXT,
    "SubAccountId": TEXT,
    "SubAccountName": TEXT,
    "SubAccountType": TEXT,
    "Tags": JSON,
    "x_Certainty": TEXT,
    "x_Reason": TEXT,
    "x_PriceConfidence": TEXT,
    "x_JobStatus": TEXT,
    "x_Model": TEXT,
    "x_Source": TEXT,
}

#: What gives each figure as many digits as its column has; other values are as they should be.
_READS = {
    name: kind.reads if kind.precision else (lambda value: value) for name, kind in COLUMNS.items()
}

#: How FOCUS writes units: what was used, what is priced, and what the meter counts.
_WORDS = {
    "trained_token": ("Tokens", "1000000 Tokens", "Trained Tokens"),
    "training_second": ("Seconds", "Hours", "Training Time"),
}
_STEPS = {unit.name: unit.quantity_step for unit in UNITS.values()}

#: What is read of a job, with its kind; behind these stand a metadata's name and value.
_READ: dict[str, Kind] = {
    "job_id": TEXT,
    "source": TEXT,
    "provider": TEXT,
    "id_space": TEXT,
    "project_id": TEXT,
    "status": TEXT,
    "base_model": TEXT,
    "method_type": TEXT,
    "spent_at": MOMENT,
    "unit": TEXT,
    "quantity": INTEGER,
    "price_usd": DOLLARS,
    "per_quantity": INTEGER,
    "price_confidence": TEXT,
    "cost_microusd": INTEGER,
    "certainty": TEXT,
    "reason": TEXT,
}


class _Job(NamedTuple):
    """A job, what it cost, and what its row is named by."""

    job_id: str
    source: str
    provider: str
    id_space: str
    project_id: str | None
    status: str
    base_model: str
    method_type: str | None
    spent_at: datetime
    unit: str
    quantity: int | None
    price_usd: Decimal | None
    per_quantity: int | None
    price_confidence: str | None
    cost_microusd: int | None
    certainty: str
    reason: str | None
    organization_id: str | None
    fine_tuned_model: str | None
    user_provided_suffix: str | None
    project_name: str | None


def rows(
    connection: Connection, since: datetime | None, left_out: Counter[str]
) -> Generator[list[Row], None, None]:
    """The rows in batches, in the order of time, with the time behind each.

    Counts in `left_out` the jobs without a row, by why.
    """
    kinds = dict(enumerate(_READ.values()))
    query, names = _query(since), [*_READ, "name", "value"]
    with closing(streamed(connection, query, "job_costs", kinds, names)) as parts:
        yield from _batches(chain.from_iterable(parts), left_out)


def _batches(read: Iterable[Row], left_out: Counter[str]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    # A line for each pair of metadata, so that it is one query, and jobs come one by one.
    for _, lines in groupby(read, key=lambda line: line[0]):
        job, tags = _gathered(lines)
        why = _why_not(job)
        if why is not None:
            left_out[why] += 1
            continue
        batch.append((*_row(job, tags).values(), job.spent_at))
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _query(since: datetime | None) -> Select[Any]:
    costs = named("job_costs", *(column(name) for name in _READ))
    jobs = named(
        "jobs",
        *(
            column(name)
            for name in ("id", "organization_id", "fine_tuned_model", "user_provided_suffix")
        ),
    )
    projects = named("projects", column("id"), column("name"))
    metadata = named("job_metadata", column("job_id"), column("name"), column("value"))
    query = (
        select(
            *costs.c,
            jobs.c.organization_id,
            jobs.c.fine_tuned_model,
            jobs.c.user_provided_suffix,
            projects.c.name.label("project_name"),
            metadata.c.name,
            metadata.c.value,
        )
        .select_from(costs)
        .join(jobs, jobs.c.id == costs.c.job_id)
        .outerjoin(projects, projects.c.id == costs.c.project_id)
        .outerjoin(metadata, metadata.c.job_id == costs.c.job_id)
        .order_by(costs.c.spent_at, costs.c.job_id, metadata.c.name)
    )
    if since is not None:
        query = query.where(type_coerce(costs.c.spent_at, UtcDateTime()) >= since)
    return query


def _gathered(lines: Iterable[Row]) -> tuple[_Job, dict[str, str]]:
    tags: dict[str, str] = {}
    for line in lines:
        job, name, value = line[:-2], line[-2], line[-1]
        if name is not None:
            tags[name] = value
    return _Job(*job), tags


def _why_not(job: _Job) -> str | None:
    """Why this job has no row, in the words of `job_costs`; None where it has one."""
    if job.cost_microusd is None:
        return job.reason or job.certainty
    if not job.quantity:
        return "nothing_used"
    # What is free is so without a price; that would be no list price.
    return None if job.price_usd is not None else job.reason or "no_price"


def _row(job: _Job, tags: dict[str, str]) -> dict[str, Any]:
    cost = Decimal(job.cost_microusd or 0).scaleb(-6, context=_EXACT)
    month, day = _month(job.spent_at), job.spent_at.replace(hour=0, minute=0, second=0)
    day = day.replace(microsecond=0)
    provider, service = _names(job)
    consumed_unit, pricing_unit, meter = _WORDS[job.unit]
    quantity = _priced(job)
    list_cost = _EXACT.multiply(quantity, job.price_usd or Decimal(0))
    sku = "/".join([job.id_space, job.base_model, job.method_type or "supervised", job.unit])
    made: dict[str, Any] = {
        "BilledCost": cost,
        "BillingAccountId": job.organization_id or job.source,
        "BillingAccountType": "Organization" if job.organization_id else "Source",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _month(month + timedelta(days=31)),
        "BillingPeriodStart": month,
        "ChargeCategory": "Usage",
        "ChargeDescription": (
            f"Fine-tuning of {job.base_model}, {job.method_type or 'supervised'}: "
            "an estimate by list price"
        ),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": day + timedelta(days=1),
        "ChargePeriodStart": day,
        "ConsumedQuantity": job.quantity,
        "ConsumedUnit": consumed_unit,
        "ContractedCost": list_cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": provider,
        "ListCost": list_cost,
        "ListUnitPrice": job.price_usd,
        "PricingCategory": "Standard",
        "PricingQuantity": quantity,
        "PricingUnit": pricing_unit,
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": job.job_id,
        "ResourceName": job.fine_tuned_model or job.user_provided_suffix,
        "ResourceType": "Fine-Tuning Job",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": service,
        "ServiceSubcategory": "Machine Learning",
        "SkuId": sku,
        "SkuMeter": meter,
        "SkuPriceId": sku,
        "SubAccountId": job.project_id,
        "SubAccountName": job.project_name if job.project_id else None,
        "SubAccountType": "Project" if job.project_id else None,
        "Tags": json.dumps(tags, ensure_ascii=False, sort_keys=True) if tags else None,
        "x_Certainty": job.certainty,
        "x_Reason": job.reason,
        "x_PriceConfidence": job.price_confidence,
        "x_JobStatus": job.status,
        "x_Model": job.base_model,
        "x_Source": job.source,
    }
    return {
        name: None if (value := made.get(name)) is None else reads(value)
        for name, reads in _READS.items()
    }


def _month(moment: datetime) -> datetime:
    """The beginning of its UTC month."""
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _names(job: _Job) -> tuple[str, str]:
    """Who provides and bills it, and the service."""
    if job.provider == "azure":
        return "Microsoft", "Azure OpenAI Fine-Tuning"
    name = "OpenAI" if "openai" in (job.provider, job.id_space) else job.id_space
    return name, f"{name} Fine-Tuning"


def _priced(job: _Job) -> Decimal:
    """The quantity by which the price is multiplied: rounded as `job_costs` does, none if free."""
    if job.reason == "free":
        return Decimal(0)
    step = _STEPS[job.unit]
    quantity = ((job.quantity or 0) * 2 + step) // (2 * step) * step
    return _EXACT.divide(Decimal(quantity), Decimal(job.per_quantity or 1))
