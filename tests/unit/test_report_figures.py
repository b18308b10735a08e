"""Small sums of the report."""

from __future__ import annotations

import pytest

from etl.report.figures import middle_and_most, months_between, outcome, thinned
from etl.report.pieces import amount, length, money


@pytest.mark.parametrize(
    ("microusd", "said"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (4_999, "$0.004999"),
        (4_500, "$0.0045"),
        (5_000, "$0.01"),
        (14_999, "$0.01"),
        (15_000, "$0.02"),
        (1_234_565_000, "$1,234.57"),
        (-2_500_000, "-$2.50"),
    ],
)
def test_money_is_shown_in_cents_and_small_money_as_it_is(microusd: int, said: str) -> None:
    assert money(microusd) == said


@pytest.mark.parametrize(
    ("nano", "said"),
    [(0, "0.00"), (-1, "0.00"), (5_000_000, "0.01"), (-1_234_560_000_000, "-1,234.56")],
)
def test_a_billed_amount_is_shown_in_cents(nano: int, said: str) -> None:
    assert amount(nano) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")],
)
def test_a_length_of_time_is_shown_in_its_unit(seconds: int, said: str) -> None:
    assert length(seconds) == said


def test_the_median_and_what_nine_of_ten_stay_within_are_values_that_are_there() -> None:
    assert middle_and_most([]) is None
    assert middle_and_most([7]) == (7, 7)
    assert middle_and_most([4, 1, 3, 2]) == (2, 4)
    assert middle_and_most(range(1, 101)) == (50, 90)


def test_months_without_jobs_are_between_those_with_jobs() -> None:
    assert months_between([], 60) == []
    assert months_between(["2025-11", "2026-02"], 60) == [
        "2025-11",
        "2025-12",
        "2026-01",
        "2026-02",
    ]


def test_one_odd_date_does_not_fill_the_page_with_empty_months() -> None:
    assert months_between(["1970-01", "2026-02", "9999-12"], 60) == [
        "1970-01",
        "2026-02",
        "9999-12",
    ]
    assert months_between(["1970-01", "2026-01", "2026-02"], 2) == ["2026-01", "2026-02"]


def test_a_curve_of_many_points_is_thinned_and_keeps_its_ends() -> None:
    points = [(step, float(step)) for step in range(1000)]
    assert thinned(points, 3) == [(0, 0.0), (500, 500.0), (999, 999.0)]
    assert thinned(points[:3], 3) == points[:3]
    assert len(thinned(points, 120)) == 120


@pytest.mark.parametrize("status", ["running", "paused", "JOB_STATE_DONE", None])
def test_a_status_that_is_not_final_or_not_known_is_open(status: str | None) -> None:
    assert outcome(status) == "open"
    assert outcome("cancelled") == "cancelled"
