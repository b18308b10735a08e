"""One day of billed costs becomes a row for each project, line item, currency and unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from etl.errors import RecordError
from etl.resources import costs
from etl.simulator import World
from tests.arbitrary import texts
from tests.children import Noted, made, record
from tests.jobs import text

#: The beginning of 2026-05-04, UTC.
DAY = 1777852800


def result(value: Any = "1.50", **changes: Any) -> dict[str, Any]:
    """What was billed for one line item; a field of `...` is left out."""
    found = {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": "gpt-4o-2024-08-06, fine-tuning training",
        "project_id": "proj_1",
        "api_key_id": None,
        "organization_id": "org-1",
        "quantity": 60000.0,
        "quantity_unit": "tokens",
        **changes,
    }
    return {name: one for name, one in found.items() if one is not ...}


def bucket(*results: Any, **changes: Any) -> dict[str, Any]:
    found = {
        "object": "bucket",
        "start_time": DAY,
        "end_time": DAY + 86400,
        "results": list(results),
        **changes,
    }
    return {name: one for name, one in found.items() if one is not ...}


def read(value: Any) -> tuple[list[dict[str, Any]], Noted]:
    one = record(costs.RESOURCE, value, "org-1/2026-05-04")
    rows, noted = made(costs.RESOURCE, one)
    assert rows.keys() <= {"billed_costs"}
    return rows.get("billed_costs", []), noted


def amounts(*results: Any) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    """The exact amounts with their billionths, and what was noted."""
    rows, noted = read(bucket(*results))
    return [(row["amount"], row["amount_nano"]) for row in rows], [one[:2] for one in noted]


def test_a_day_with_a_charge_for_training() -> None:
    assert read(bucket(result())) == (
        [
            {
                "organization_id": "org-1",
                "start_time": "2026-05-04 00:00:00",
                "project_id": "proj_1",
                "line_item": "gpt-4o-2024-08-06, fine-tuning training",
                "currency": "usd",
                "quantity_unit": "tokens",
                "bucket_id": "org-1/2026-05-04",
                "end_time": "2026-05-05 00:00:00",
                "amount": "1.50000000000000000000",
                "amount_nano": 1_500_000_000,
                "quantity": 60000.0,
            }
        ],
        [],
    )


def test_a_day_without_spend_has_no_rows() -> None:
    assert read(bucket()) == ([], [])


def test_what_the_api_leaves_null_is_empty_in_the_key() -> None:
    ungrouped = result(
        line_item=None, project_id=None, quantity=None, quantity_unit=None, organization_id=...
    )
    ((row,), noted) = read(bucket(ungrouped))
    assert (row["project_id"], row["line_item"], row["quantity_unit"]) == ("", "", "")
    assert (row["organization_id"], row["quantity"], noted) == ("org-1", None, [])


@pytest.mark.parametrize(
    ("value", "amount", "nano"),
    [
        (b'"0.8958740000000000"', "0.89587400000000000000", 895_874_000),
        (b"0.1", "0.10000000000000000000", 100_000_000),
        (b"0.10000000000000000001", "0.10000000000000000001", 100_000_000),
        (b"12", "12.00000000000000000000", 12_000_000_000),
        (b"1.5e-7", "0.00000015000000000000", 150),
        (b'"2E+3"', "2000.00000000000000000000", 2_000_000_000_000),
        (b'"-3.25"', "-3.25000000000000000000", -3_250_000_000),
        (b'"-0.0"', "0.00000000000000000000", 0),
        (b"0", "0.00000000000000000000", 0),
        (b'"0.0000000005"', "0.00000000050000000000", 1),
        (b'"0.0000000004999999999"', "0.00000000049999999990", 0),
        (b'"-0.0000000005"', "-0.00000000050000000000", -1),
        (b'"99999999.999999999"', "99999999.99999999900000000000", 99_999_999_999_999_999),
    ],
)
def test_an_amount_is_exact_as_text_and_as_number(value: bytes, amount: str, nano: int) -> None:
    """The number's own digits, never those of the nearest float."""
    payload = text(bucket(result("AMOUNT"))).replace(b'"AMOUNT"', value)
    ((row,), noted) = read(payload)
    assert (row["amount"], row["amount_nano"], noted) == (amount, nano, [])


@pytest.mark.parametrize(
    ("value", "amount", "nano"),
    [
        ("0.123456789012345678905", "0.12345678901234567891", 123_456_789),
        ("0.123456789012345678904", "0.12345678901234567890", 123_456_789),
        # Rounded from what came, not from what was rounded already.
        ("0.000000000499999999999999", "0.00000000050000000000", 0),
        ("-0.000000000000000000005", "-0.00000000000000000001", 0),
        ("1e-900", "0.00000000000000000000", 0),
    ],
)
def test_more_than_twenty_decimals_are_rounded_and_noted(
    value: str, amount: str, nano: int
) -> None:
    assert amounts(result(value)) == ([(amount, nano)], [("results[].amount.value", "rounded")])


def test_the_same_key_twice_is_added_up_and_noted() -> None:
    """Ten times a tenth is one: no float is in between."""
    rows, noted = read(bucket(*[result("0.1", quantity=1)] * 10))
    assert [(row["amount"], row["amount_nano"], row["quantity"]) for row in rows] == [
        ("1.00000000000000000000", 1_000_000_000, 10.0)
    ]
    assert [one[:2] for one in noted] == [("results[].line_item", "repeated")] * 9


def test_halves_of_a_billionth_are_added_before_they_are_rounded() -> None:
    found, _ = amounts(result("0.0000000005"), result("0.0000000005"))
    assert found == [("0.00000000100000000000", 1)]


def test_a_quantity_that_only_one_of_two_has_is_kept() -> None:
    ((row,), _) = read(bucket(result(quantity=None), result(quantity=2)))
    assert row["quantity"] == 2.0


def test_another_currency_another_unit_another_project_are_other_rows() -> None:
    rows, noted = read(
        bucket(
            result("1"),
            result(amount={"value": "2", "currency": "EUR"}),
            result("3", quantity_unit="1000_tokens"),
            result("4", project_id="PROJ_1"),
            result("5", amount={"value": "5", "currency": "USD"}, line_item="Text tokens"),
        )
    )
    key = ("project_id", "line_item", "currency", "quantity_unit", "amount_nano")
    training = "gpt-4o-2024-08-06, fine-tuning training"
    assert [tuple(row[name] for name in key) for row in rows] == [
        ("proj_1", training, "usd", "tokens", 1_000_000_000),
        ("proj_1", training, "eur", "tokens", 2_000_000_000),
        ("proj_1", training, "usd", "1000_tokens", 3_000_000_000),
        ("PROJ_1", training, "usd", "tokens", 4_000_000_000),
        ("proj_1", "Text tokens", "usd", "tokens", 5_000_000_000),
    ]
    assert noted == []


def test_an_amount_without_a_currency_is_a_row_of_its_own_and_noted() -> None:
    rows, noted = read(bucket(result(), result(amount={"value": "2"})))
    assert [(row["currency"], row["amount_nano"]) for row in rows] == [
        ("usd", 1_500_000_000),
        ("", 2_000_000_000),
    ]
    assert noted == [("results[].amount.currency", "missing", "null")]


def test_what_is_new_is_noted() -> None:
    odd = result(
        amount={"value": "1", "currency": "usd", "tax": "0.19"},
        object="result",
        organization_name="Acme",
        region="eu",
        api_key_id="key_1",
    )
    rows, noted = read(bucket(odd, object="costs", interval="1d"))
    assert len(rows) == 1
    assert noted == [
        ("object", "unknown_value", "costs"),
        ("results[].object", "unknown_value", "result"),
        ("results[].amount.tax", "unknown_field", "0.19"),
        ("results[].region", "unknown_field", "eu"),
        ("interval", "unknown_field", "1d"),
    ]


@pytest.mark.parametrize(
    ("quantity", "found", "kind"),
    [
        ("12.5", 12.5, "wrong_type"),
        ("many", None, "wrong_type"),
        (True, None, "wrong_type"),
        ([1], None, "wrong_type"),
        ("1e999", None, "wrong_type"),
    ],
)
def test_an_odd_quantity_is_noted_and_hides_no_money(
    quantity: Any, found: float | None, kind: str
) -> None:
    ((row,), noted) = read(bucket(result(quantity=quantity)))
    assert (row["quantity"], row["amount_nano"]) == (found, 1_500_000_000)
    assert noted[0][:2] == ("results[].quantity", kind)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": ...}, "`results[1].amount.value` is missing"),
        ({"amount": None}, "`results[1].amount.value` is missing"),
        ({"amount": "1.50"}, "`results[1].amount.value` is missing"),
        ({"amount": {"currency": "usd"}}, "`results[1].amount.value` is missing"),
        ({"amount": {"value": None}}, "`results[1].amount.value` is missing"),
        ({"amount": {"value": ""}}, "`results[1].amount.value` is no amount: "),
        ({"amount": {"value": "NaN"}}, "`results[1].amount.value` is no amount: NaN"),
        ({"amount": {"value": "1,5"}}, "`results[1].amount.value` is no amount: 1,5"),
        ({"amount": {"value": "$1"}}, "`results[1].amount.value` is no amount: $1"),
        ({"amount": {"value": True}}, "`results[1].amount.value` is no amount: true"),
        ({"amount": {"value": "٣"}}, "`results[1].amount.value` is no amount: ٣"),
        ({"amount": {"value": "1e8"}}, "`results[1].amount.value` is too large: 1e8"),
        (
            {"amount": {"value": "-100000000.01", "currency": "eur"}},
            "`results[1].amount.value` is too large: -100000000.01",
        ),
        (
            {"amount": {"value": "99999998.6", "currency": "usd"}},
            "`results[0].amount.value` is too large: 100000000.10",
        ),
        ({"organization_id": "org-2"}, "`results[1].organization_id` is org-2, the day is org-1's"),
        ({"line_item": "x" * 256}, "`results[1].line_item` has 256 characters, 255 fit"),
        ({"line_item": 7}, "`results[1].line_item` is no text: 7"),
        (
            {"project_id": "proj\x00"},
            "`results[1].project_id` holds U+0000 or a lone surrogate: proj\ufffd",
        ),
        ({"quantity_unit": "u" * 65}, "`results[1].quantity_unit` has 65 characters, 64 fit"),
    ],
)
def test_a_day_of_which_an_amount_is_unsure_is_refused_whole(
    changes: dict[str, Any], reason: str
) -> None:
    """Without that result the sum of its day would be wrong, and nobody would see it."""
    with pytest.raises(RecordError) as refused:
        read(bucket(result(), result(**changes)))
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "a bucket of costs is a JSON object, this is not"),
        (bucket(results=...), "`results` is missing"),
        (bucket(results=None), "`results` is missing"),
        (bucket(results={}), "`results` is no list: {}"),
        (bucket(None), "`results[0]` is no object: null"),
        (bucket(start_time=None), "`start_time` is no time: null"),
        (
            bucket(start_time=DAY + 3600),
            "`start_time` is 2026-05-04 01:00:00, which is not where a UTC day begins",
        ),
        (
            bucket(end_time=DAY + 7 * 86400),
            "a bucket from 2026-05-04 00:00:00 to 2026-05-11 00:00:00 is no UTC day",
        ),
        (
            bucket(end_time=DAY),
            "a bucket from 2026-05-04 00:00:00 to 2026-05-04 00:00:00 is no UTC day",
        ),
    ],
)
def test_what_is_no_day_of_costs_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(RecordError) as refused:
        read(text(value))
    assert str(refused.value) == reason


def test_the_largest_amounts_of_three_months_can_be_added_up() -> None:
    """What is taken in must have a sum in whole numbers of 64 bits, whatever day it is."""
    ((row,), _) = read(bucket(result("99999999.99999999999")))
    assert 92 * row["amount_nano"] < 2**63


def test_a_day_that_moved_has_no_rows_and_says_where_to() -> None:
    text_of_it = costs.moved("org-2/2026-05-04")
    assert text_of_it == (
        b'{"object": "bucket", "start_time": 1777852800, "end_time": 1777939200, "results": [], '
        b'"replaced_by": "org-2/2026-05-04"}'
    )
    one = record(costs.RESOURCE, text_of_it, "org-1/2026-05-04")
    assert made(costs.RESOURCE, one) == ({}, [])


def test_a_day_that_is_not_over_ends_early() -> None:
    rows, _ = read(bucket(result(), end_time=DAY + 3600))
    assert rows[0]["end_time"] == "2026-05-04 01:00:00"


def test_a_day_is_named_by_its_organization_and_date() -> None:
    of_two = bucket(result(), result(organization_id="org-2"))
    assert [
        costs.name(text(value), "org-fallback")
        for value in (bucket(result()), bucket(), bucket(result(organization_id=...)), of_two)
    ] == [
        "org-1/2026-05-04",
        "org-fallback/2026-05-04",
        "org-fallback/2026-05-04",
        "org-fallback/2026-05-04",
    ]


def test_a_day_that_cannot_be_named_says_why() -> None:
    for payload, reason in [
        (b'{"start_time": NaN}', "not JSON: NaN is not JSON"),
        (b"7", "a bucket of costs is a JSON object, this is not"),
        (b'{"start_time": "soon"}', "`start_time` is no time: soon"),
        (text(bucket(result(organization_id="o" * 65))), "`organization_id` has 65 characters"),
    ]:
        with pytest.raises(RecordError, match=reason):
            costs.name(payload, "openai")


@given(texts(bucket(result(), result("0.25", line_item="Text tokens")), "org-"))
def test_any_day_becomes_rows_or_is_refused_with_a_reason(payload: bytes) -> None:
    try:
        one = record(costs.RESOURCE, payload, costs.name(payload, "openai"))
        tables, _ = made(costs.RESOURCE, one)
    except RecordError:
        return
    for row in tables.get("billed_costs", []):
        assert Decimal(row["amount"]).as_tuple().exponent == -20
        assert abs(Decimal(row["amount"]).scaleb(9) - row["amount_nano"]) <= Decimal("0.5")


def test_every_day_of_the_simulator_comes_to_its_sum() -> None:
    world = World(7, 60)
    kinds = set()
    for day in range(world.now - 90 * 86400, world.now, 86400):
        payload = world.cost_bucket(day, ("project_id", "line_item"), (), ()).encode()
        one = record(costs.RESOURCE, payload, costs.name(payload, "openai"))
        tables, noted = made(costs.RESOURCE, one)
        found = tables.get("billed_costs", [])
        said = [Decimal(given["amount"]["value"]) for given in one.value["results"]]
        assert sum(Decimal(row["amount"]) for row in found) == sum(said)
        assert noted == []
        kinds |= {row["line_item"].rpartition(", ")[2] for row in found}
        kinds |= {"nothing"} if not found else set()
    assert kinds >= {"nothing", "fine-tuning training", "input", "cached input", "Text tokens"}
