"""One form of a row, whichever database or file it comes from."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from etl.db.tables import metadata
from etl.moving import values
from etl.moving.values import Sum, row_digest, shape, shapes


@pytest.mark.parametrize(
    ("table", "column", "said", "form"),
    [
        ("jobs", "created_at", "2024-02-29 23:59:59", "2024-02-29T23:59:59Z"),
        ("jobs", "created_at", "2024-02-29 23:59:59.000120", "2024-02-29T23:59:59.000120Z"),
        ("jobs", "created_at", datetime(2024, 2, 29, 23, 59, 59), "2024-02-29T23:59:59Z"),  # noqa: DTZ001
        (
            "jobs",
            "created_at",
            datetime(2024, 2, 29, 23, 59, 59, 120),  # noqa: DTZ001
            "2024-02-29T23:59:59.000120Z",
        ),
        ("jobs", "shared_with_openai", 1, True),
        ("jobs", "shared_with_openai", False, False),
        ("jobs", "trained_tokens", 2**63 - 1, 2**63 - 1),
        ("jobs", "finished_at", None, None),
        ("training_metrics", "value", 2, 2.0),
        ("training_metrics", "value", -0.0, 0.0),
        ("billed_costs", "amount", "1.5", "1.50000000000000000000"),
        ("billed_costs", "amount", Decimal("-0E-20"), "0.00000000000000000000"),
        (
            "billed_costs",
            "amount",
            Decimal("123456789012345678.12345678901234567891"),
            "123456789012345678.12345678901234567891",
        ),
    ],
)
def test_a_value_has_one_form(table: str, column: str, said: Any, form: Any) -> None:
    one = shape(table)
    at = one.names.index(column)
    row: list[Any] = [None] * len(one.names)
    row[at] = said
    found = one.read([row])[0][at]
    assert (type(found), repr(found)) == (type(form), repr(form))


def test_times_are_written_as_every_database_takes_them() -> None:
    one = shape("sent_alerts")
    row = ["failed", "ftjob-1", None, "2024-02-29T23:59:59.000120Z"]
    assert one.written([row]) == [("failed", "ftjob-1", None, "2024-02-29 23:59:59.000120")]


def test_a_digest_is_what_it_was_when_the_first_files_were_written() -> None:
    """Files that people kept are held against it: it may never change."""
    row = ["é\n\u2028", None, True, 0, 1e16, 1e-7, 0.1, 5e-324, 1.7976931348623157e308, 2**63 - 1]
    text = (
        '["é\\n\u2028",null,true,0,1e16,1e-7,0.1,5e-324,1.7976931348623157e308,9223372036854775807]'
    )
    assert values._encode(row) == text.encode()
    assert row_digest(["a", 1]).hex() == "484c670ce4753ed75a3cc908af49224a"


def test_a_sum_knows_no_order_and_every_row() -> None:
    rows: list[list[Any]] = [["a", 1], ["b", None], ["b", 0]]
    one, other, less, twice = Sum(), Sum(), Sum(), Sum()
    one.add(rows)
    other.add(rows[2:])
    other.add(rows[:2])
    less.add(rows[:2])
    twice.add([*rows[:2], rows[1]])
    assert one == other
    assert len({one.digest, less.digest, twice.digest, Sum().digest}) == 4
    assert Sum().digest == "0" * 32


def test_all_tables_move_but_those_that_belong_to_their_database() -> None:
    assert set(metadata.tables) - {one.name for one in shapes()} == {"copies"}
