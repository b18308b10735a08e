"""Errors say where they came from, and survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from etl.errors import (
    ApiRefused,
    ConfigError,
    EtlError,
    Exchange,
    LeaseHeld,
    LeaseLost,
    TransientApiError,
)

EXCHANGE = Exchange("/fine_tuning/jobs", 429, "req_1", "rate_limit_exceeded")


def test_an_api_error_names_its_request() -> None:
    said = "slow down (GET /fine_tuning/jobs, HTTP 429, code rate_limit_exceeded, request id req_1)"
    assert str(ApiRefused("slow down", EXCHANGE)) == said


def test_an_error_without_a_message_says_its_docstring() -> None:
    assert str(LeaseLost()).startswith("Another writer took the lease over")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["one", "two"]),
        TransientApiError("slow", EXCHANGE, retry_after=3.0),
        LeaseHeld("busy", holder="host, pid 1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_pickled(error: EtlError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
