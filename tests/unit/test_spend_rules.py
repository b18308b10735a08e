"""What a job is charged for."""

from __future__ import annotations

from typing import Any

import pytest

from etl.spend.rules import Usage, billed_tokens, job_usage


@pytest.mark.parametrize(
    ("method", "tokens", "expected"),
    [
        ("supervised", 1700, [Usage("trained_token", "trained_tokens", 1700)]),
        ("dpo", 1700, [Usage("trained_token", "trained_tokens", 1700)]),
        (None, 1700, [Usage("trained_token", "trained_tokens", 1700)]),
        ("something new", 1700, [Usage("trained_token", "trained_tokens", 1700)]),
        ("supervised", 0, [Usage("trained_token", "trained_tokens", 0)]),
        ("supervised", None, []),
        ("supervised", -1, []),
        # Billed by the hour: tokens say nothing about its price.
        ("reinforcement", 1700, []),
        ("reinforcement", None, []),
    ],
)
def test_job_usage(method: str | None, tokens: int | None, expected: list[Usage]) -> None:
    assert job_usage(method, tokens) == expected


@pytest.mark.parametrize(
    ("metrics", "seconds"),
    [
        ({"training_seconds": 3600}, 3600),
        ({"training_seconds": 3599.5, "model_graders": {"gpt-4o": 5}}, 3600),
        ({"train_seconds": 0}, 0),
        ({"seconds": 5}, None),
        ({"training_seconds": "3600"}, None),
        ({"training_seconds": True}, None),
        ({"training_seconds": -1}, None),
        ({"training_seconds": 1e300}, None),
        ({"training_seconds": float("nan")}, None),
        # Two names for it: nobody knows which one is billed.
        ({"training_seconds": 3600, "train_seconds": 3000}, None),
        ([3600], None),
        (None, None),
    ],
)
def test_reinforcement_is_billed_by_the_time_that_the_job_tells(
    metrics: Any, seconds: int | None
) -> None:
    expected = [] if seconds is None else [Usage("training_second", "usage_metrics", seconds)]
    assert job_usage("reinforcement", 1700, metrics) == expected
    tokens = [Usage("trained_token", "trained_tokens", 1700)]
    assert job_usage("supervised", 1700, metrics) == tokens


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ("Training tokens billed: 5000", 5000),
        ("Training tokens billed: 0", 0),
        ("Training tokens billed: -1", None),
        ("Training tokens billed: 5000 of 6720", None),
        ("Training tokens billed: 1000000000000000", None),
        ("The job has ended", None),
        (None, None),
    ],
)
def test_azure_says_in_an_event_what_it_billed(message: str | None, tokens: int | None) -> None:
    assert billed_tokens(message) == tokens
