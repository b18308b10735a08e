"""What a job is charged for."""

from __future__ import annotations

import pytest

from etl.spend.rules import Usage, job_usage


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
