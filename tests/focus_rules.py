"""The column rules of FOCUS 1.2 that concern rows of usage, in our own words.

The official validator that can be installed knows the versions up to 1.0 only, so these stand in
for it. `broken(rows)` says which rule which row breaks; rows are as a CSV file has them, None for
NULL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

Row = Mapping[str, str | None]

#: Columns that every dataset has.
MANDATORY = {
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
}
#: Columns that a provider has who publishes prices, meters usage, and has projects and tags.
CONDITIONAL = {
    "BillingAccountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ListUnitPrice",
    "PricingCategory",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
}
RECOMMENDED = {"ChargeFrequency", "ServiceSubcategory"}
#: What no row of usage may leave out.
NEVER_NULL = MANDATORY - {"BillingAccountName", "ChargeClass"} | {
    "BillingAccountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ListUnitPrice",
    "PricingCategory",
    "SkuId",
    "SkuPriceId",
}
NUMBERS = {
    "BilledCost",
    "ConsumedQuantity",
    "ContractedCost",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
}
MOMENTS = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
ALLOWED: dict[str, set[str | None]] = {
    "BillingCurrency": {"USD"},
    "ChargeCategory": {"Usage"},
    "ChargeClass": {None},
    "ChargeFrequency": {"Usage-Based"},
    "PricingCategory": {"Standard"},
    "ServiceCategory": {"AI and Machine Learning"},
    "ServiceSubcategory": {
        "Bots",
        "Generative AI",
        "Machine Learning",
        "Natural Language Processing",
        "Other (AI and Machine Learning)",
    },
}
#: These are null together.
PAIRS = [
    ("ConsumedQuantity", "ConsumedUnit"),
    ("PricingQuantity", "PricingUnit"),
    ("ResourceId", "ResourceType"),
    ("SkuId", "SkuMeter"),
    ("SubAccountId", "SubAccountType"),
]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_UNIT = re.compile(r"([1-9][0-9]* )?[A-Z][a-z]*s\Z")


def broken(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The rules that are broken, as a sentence each."""
    found = [
        f"{name} is missing" for name in sorted(MANDATORY | CONDITIONAL) if name not in columns
    ]
    known = MANDATORY | CONDITIONAL | RECOMMENDED
    found += [
        f"{name} is neither FOCUS's nor begins with x_"
        for name in columns
        if name not in known and not name.startswith("x_")
    ]
    for row in rows:
        found += [f"{row['ResourceId']}: {said}" for said in _broken(row)]
    return found + _prices_that_differ(rows)


def _broken(row: Row) -> Iterator[str]:
    yield from (f"{name} is null" for name in NEVER_NULL if row[name] is None)
    yield from (f"{name} is empty" for name, value in row.items() if value == "")
    for names, form in ((NUMBERS, _NUMBER), (MOMENTS, _MOMENT)):
        for name in names:
            if not form.match(row[name] or ""):
                yield f"{name} is written {row[name]}"
    for name in ("ConsumedUnit", "PricingUnit"):
        if not _UNIT.match(row[name] or ""):
            yield f"{name} is no unit: {row[name]}"
    for name, values in ALLOWED.items():
        if row[name] not in values:
            yield f"{name} may not be {row[name]}"
    for one, other in PAIRS:
        if (row[one] is None) != (row[other] is None):
            yield f"{one} and {other} are not null together"
    if row["SubAccountId"] is None and row["SubAccountName"] is not None:
        yield "a name of no sub account"
    yield from _broken_amounts(row)
    yield from _broken_periods(row)
    yield from _broken_tags(row)


def _broken_amounts(row: Row) -> Iterator[str]:
    numbers = {name: Decimal(row[name] or "NaN") for name in NUMBERS}
    if numbers["ListUnitPrice"] * numbers["PricingQuantity"] != numbers["ListCost"]:
        yield "ListUnitPrice times PricingQuantity is not ListCost"
    if numbers["ContractedCost"] != numbers["ListCost"]:
        yield "without a contract the contracted cost is the list cost"
    if numbers["ConsumedQuantity"] <= 0 or numbers["ListUnitPrice"] < 0:
        yield "a quantity or price that is not positive"


def _broken_periods(row: Row) -> Iterator[str]:
    at = {name: datetime.fromisoformat(row[name] or "") for name in MOMENTS}
    if not at["ChargePeriodStart"] < at["ChargePeriodEnd"]:
        yield "the charge period ends before it begins"
    if not (
        at["BillingPeriodStart"] <= at["ChargePeriodStart"]
        and at["ChargePeriodEnd"] <= at["BillingPeriodEnd"]
    ):
        yield "the charge period is not within the billing period"
    if at["BillingPeriodStart"].day != 1 or at["BillingPeriodEnd"].day != 1:
        yield "a billing period is a month"


def _broken_tags(row: Row) -> Iterator[str]:
    if row["Tags"] is None:
        return
    tags = json.loads(row["Tags"])
    if not isinstance(tags, dict) or any(isinstance(one, (dict, list)) for one in tags.values()):
        yield "Tags is no object of plain values"


def _prices_that_differ(rows: Sequence[Row]) -> list[str]:
    """A price has one SKU for parent, and a SKU one meter."""
    found = []
    for child, parent in (("SkuPriceId", "SkuId"), ("SkuId", "SkuMeter")):
        parents: dict[str | None, set[str | None]] = {}
        for row in rows:
            parents.setdefault(row[child], set()).add(row[parent])
        found += [f"{name} has several {parent}" for name, of in parents.items() if len(of) > 1]
    return found
