"""What was billed on each UTC day: `GET /organization/costs`. A record is one day's bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple

from sqlalchemy import Column, Index, Table

from etl import jsontext
from etl.db.tables import metadata, refers_to
from etl.db.types import BigInt, Exact, Float, Name, UtcDateTime
from etl.errors import RecordError
from etl.fields import Drift, Fields, example, is_empty, key
from etl.record import Record
from etl.resource import Days, Resource, Row, row_of
from etl.resources.jobs.tables import jobs
from etl.resources.reading import opened

billed_costs = Table(
    "billed_costs",
    metadata,
    Column(
        "organization_id", Name(64), primary_key=True, comment="The organization that is billed."
    ),
    Column("start_time", UtcDateTime(), primary_key=True, comment="Where the UTC day begins."),
    Column(
        "project_id",
        Name(),
        primary_key=True,
        comment="The project that it was used in. Empty where the API says null.",
        info=refers_to("projects.id", may_lack=True),
    ),
    Column(
        "line_item",
        Name(),
        primary_key=True,
        comment="What is billed, as the bill calls it. Empty where the API says null.",
    ),
    Column(
        "currency",
        Name(16),
        primary_key=True,
        comment="In small letters, as usd. Empty where the API does not say.",
    ),
    Column(
        "quantity_unit",
        Name(64),
        primary_key=True,
        comment="What quantity counts, as tokens. Empty where the API says null.",
    ),
    Column(
        "bucket_id",
        Name(),
        nullable=False,
        comment="The day's record, with which its rows come and go.",
    ),
    Column("end_time", UtcDateTime(), comment="Where the day ends (UTC). NULL: not said."),
    Column(
        "amount",
        Exact(),
        nullable=False,
        comment="The amount in the currency, to 20 decimals; below 0 for a credit. Text on SQLite.",
    ),
    Column(
        "amount_nano",
        BigInt,
        nullable=False,
        comment="The amount in billionths of the currency, rounded half up: whole numbers, which "
        "every database adds up alike.",
    ),
    Column("quantity", Float, comment="How much was used, in quantity_unit. NULL: not said."),
    Index("billed_costs_by_bucket", "bucket_id"),
    comment="What OpenAI billed on each UTC day, all of it, not training alone. Needs an admin "
    "key; else empty.",
)

CostRow = row_of(billed_costs)

OBJECT = "bucket"
RESULT = "organization.costs.result"
#: Seconds of a bucket.
DAY = 86_400

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,6})?\Z")
#: Digits enough for every amount that fits, whatever is added up.
_EXACT = Context(prec=400, rounding=ROUND_HALF_UP)
_DECIMALS = Decimal("1e-20")
_NANO = Decimal("1e-9")
#: The largest power of ten of an amount: of the largest ones the billionths of ninety can be added
#: up in the whole numbers that databases have.
_LARGEST = 7


class _Key(NamedTuple):
    """What tells one row of a day from the others."""

    project_id: str
    line_item: str
    currency: str
    quantity_unit: str


class _Sum(NamedTuple):
    """What the results of one key come to."""

    amount: Decimal
    quantity: float | None
    #: Where the first of them stands.
    place: str


def rows(record: Record) -> Iterator[Row | Drift]:
    """One day becomes a row for each project, line item, currency and unit.

    A day is taken whole or not at all: with one amount left out its sum would be wrong, and nobody
    would see it. Raises RecordError where a result has no amount, or no key that fits.
    """
    bucket = opened(record, OBJECT, "a bucket of costs")
    start_time = _start(bucket)
    end_time = _end(bucket, start_time)
    organization_id = key(record.id.rpartition("/")[0], "organization_id", 64)
    found = bucket.value.get("results")
    if not isinstance(found, list):
        kind = "missing" if found is None else f"no list: {example(found)}"
        raise RecordError(f"`results` is {kind}")
    bucket.array("results")
    sums: dict[_Key, _Sum] = {}
    for number, value in enumerate(found):
        place = f"results[{number}]"
        if not isinstance(value, dict):
            raise RecordError(f"`{place}` is no object: {example(value)}")
        result = Fields(value, bucket.notes, "results[]")
        said = result.text("organization_id")
        if said is not None and said != organization_id:
            raise RecordError(
                f"`{place}.organization_id` is {example(said)}, the day is {organization_id}'s"
            )
        _add(sums, result, place)
    bucket.raw("replaced_by")  # as `moved` writes it
    bucket.rest()
    for what, total in sums.items():
        yield CostRow(
            organization_id=organization_id,
            start_time=start_time,
            **what._asdict(),
            bucket_id=record.id,
            end_time=end_time,
            amount=_text(_rounded(total.amount)),
            amount_nano=_nano(total.amount, total.place),
            quantity=total.quantity,
        )
    yield from bucket.notes


def name(text: bytes, account: str) -> str:
    """The id of a bucket: whose it is, as its results or `account` say, and its UTC day."""
    try:
        value = jsontext.decode(text)
    except jsontext.NotJson as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RecordError("a bucket of costs is a JSON object, this is not")
    start = _start(Fields(value, []))
    results = value.get("results")
    said = {
        one.get("organization_id")
        for one in (results if isinstance(results, list) else ())
        if isinstance(one, dict) and isinstance(one.get("organization_id"), str)
    }
    organization = said.pop() if len(said) == 1 else account
    return f"{key(organization, 'organization_id', 64)}/{start[:10]}"


def moved(identifier: str) -> bytes:
    """A bucket of that day with nothing in it, but where its amounts are now."""
    day = date.fromisoformat(identifier.rpartition("/")[2])
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    bucket = {
        "object": OBJECT,
        "start_time": start,
        "end_time": start + DAY,
        "results": [],
        "replaced_by": identifier,
    }
    return json.dumps(bucket).encode()


def _start(bucket: Fields) -> str:
    """When the day begins. Another beginning would be another day, or count one twice."""
    start = bucket.moment("start_time")
    if start is None:
        raise RecordError(f"`start_time` is no time: {example(bucket.raw('start_time')):.80}")
    if start[11:] != "00:00:00":
        raise RecordError(f"`start_time` is {start}, which is not where a UTC day begins")
    return start


def _end(bucket: Fields, start: str) -> str | None:
    """When it ends: within its day, or other days would be in it."""
    end = bucket.moment("end_time")
    if end is not None:
        day = date.fromisoformat(start[:10])
        next_day = date.fromordinal(day.toordinal() + 1)
        if not start < end <= f"{next_day} 00:00:00":
            raise RecordError(f"a bucket from {start} to {end} is no UTC day")
    return end


def _add(sums: dict[_Key, _Sum], result: Fields, place: str) -> None:
    """Add a result to what there is of its key."""
    kind = result.text("object")
    if kind is not None and kind != RESULT:
        result.note("object", "unknown_value", kind)
    amount, currency = _amount(result, place)
    what = _Key(
        project_id=_part(result, "project_id", 255, place),
        line_item=_part(result, "line_item", 255, place),
        currency=currency,
        quantity_unit=_part(result, "quantity_unit", 64, place),
    )
    quantity = _quantity(result)
    # It is not asked for by key, and whose it is the day says.
    for known in ("api_key_id", "organization_name"):
        result.raw(known)
    result.rest()
    if what not in sums:
        sums[what] = _Sum(amount, quantity, place)
        return
    result.note("line_item", "repeated", result.value)
    before = sums[what]
    quantities = [one for one in (before.quantity, quantity) if one is not None]
    total = sum(quantities) if quantities else None
    sums[what] = _Sum(_EXACT.add(before.amount, amount), total, before.place)


def _part(fields: Fields, member: str, length: int, place: str) -> str:
    """A part of the key, '' where the API says null."""
    value = fields.raw(member)
    return "" if value in (None, "") else key(value, f"{place}.{member}", length)


def _amount(result: Fields, place: str) -> tuple[Decimal, str]:
    """The exact amount, and its currency in small letters."""
    amount = result.object("amount")
    value = amount.raw("value")
    text = jsontext.literal(value) if _is_number(value) else value
    where = f"{place}.amount.value"
    if is_empty(value):
        raise RecordError(f"`{where}` is missing")
    if not isinstance(text, str) or not _NUMBER.match(text):
        raise RecordError(f"`{where}` is no amount: {example(value):.80}")
    found = _EXACT.create_decimal(text)
    if found and found.adjusted() > _LARGEST:
        raise RecordError(f"`{where}` is too large: {example(value):.80}")
    if found and _rounded(found) != found:
        amount.note("value", "rounded", value)
    currency = _part(amount, "currency", 16, f"{place}.amount").lower()
    if not currency:
        amount.note("currency", "missing", None)
    amount.rest()
    return found, currency


def _rounded(amount: Decimal) -> Decimal:
    """With the decimals that are kept."""
    return amount.quantize(_DECIMALS, context=_EXACT)


def _text(amount: Decimal) -> str:
    """As every database takes it; a zero without a sign."""
    return f"{amount or Decimal(0).quantize(_DECIMALS):f}"


def _nano(amount: Decimal, place: str) -> int:
    """Billionths of the currency, rounded half up."""
    if amount and amount.adjusted() > _LARGEST:  # several of one key came to that
        raise RecordError(f"`{place}.amount.value` is too large: {amount:f}"[:200])
    return int(amount.quantize(_NANO, context=_EXACT).scaleb(9, context=_EXACT))


def _quantity(result: Fields) -> float | None:
    """How much was billed; a number in text is read but noted."""
    value: Any = result.raw("quantity")
    if value is None:
        return None
    if not _is_number(value):
        result.note("quantity", "wrong_type", value)
        if not isinstance(value, str) or not _NUMBER.match(value):
            return None
    try:
        found = float(value)
    except OverflowError:
        found = float("inf")
    if abs(found) == float("inf"):
        result.note("quantity", "out_of_range", value)
        return None
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


RESOURCE = Resource(
    name="costs",
    object=OBJECT,
    path="/organization/costs",
    table=None,
    rows=rows,
    owned={billed_costs: "bucket_id"},
    days=Days(
        params=(("bucket_width", "1d"), ("group_by", "project_id"), ("group_by", "line_item")),
        since=jobs.c.created_at,
        account=jobs.c.organization_id,
        name=name,
        moved=moved,
    ),
)
