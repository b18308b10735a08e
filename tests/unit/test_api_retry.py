"""What is retried, how long it waits, when it gives up: decisions without a network."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from etl.api import retry
from etl.errors import (
    ApiContractError,
    ApiRefused,
    Exchange,
    LongWait,
    SpoiltAnswer,
    TransientApiError,
)

JOBS = Exchange("/fine_tuning/jobs", 503)
NOW = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC


def failing(failures: list[Exception]) -> object:
    """A call that raises these, one a try, and then answers `done`."""

    def call() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    return call


def run(failures: list[Exception], *, max_attempts: int = 8, budget: float = 300.0) -> list[float]:
    """The waits between the tries of a call that fails like this; random is 0."""
    waits: list[float] = []
    policy = retry.policy(
        max_attempts=max_attempts, budget=budget, sleep=waits.append, random=lambda: 0.0
    )
    assert policy(failing(failures)) == "done"  # type: ignore[arg-type]
    return waits


def broken(**changes: object) -> TransientApiError:
    return TransientApiError("The server failed.", JOBS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (422, False),
        (408, True),
        (409, True),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (529, True),
    ],
)
def test_statuses_that_usually_pass(status: int, expected: bool) -> None:
    """408, 409, 429 and everything from 500 on; nothing else."""
    assert retry.is_transient(status, {}) is expected


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [(400, "true", True), (503, "false", False), (503, "False ", False), (503, "maybe", True)],
)
def test_the_server_decides_before_its_status(status: int, told: str, expected: bool) -> None:
    """`x-should-retry` overrides the list; anything but true and false says nothing."""
    assert retry.is_transient(status, {"x-should-retry": told}) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, -3.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "7"}, 7.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, -30.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:05 -0000"}, 5.0),
        ({"retry-after": "Thu, 01 Jan 2026 01:00:05 +0100"}, 5.0),
        ({"retry-after": "Thu, 99 Jan 2026 00:00:05 GMT"}, None),
    ],
)
def test_every_form_of_the_asked_wait(headers: dict[str, str], expected: float | None) -> None:
    """Milliseconds first, then seconds as a number, then an HTTP date."""
    assert retry.asked_wait(headers, NOW) == expected


@pytest.mark.parametrize(
    ("tries", "random", "expected"),
    [
        (1, 0.0, 0.5),
        (2, 0.0, 1.0),
        (3, 0.0, 2.0),
        (4, 0.0, 4.0),
        (5, 0.0, 8.0),
        (6, 0.0, 8.0),
        (1, 1.0, 0.375),
        (5, 0.5, 7.0),
        (10_000, 0.0, 8.0),
    ],
)
def test_backoff(tries: int, random: float, expected: float) -> None:
    """Doubling from half a second to eight, up to a quarter less by chance."""
    assert retry.backoff(tries, lambda: random) == expected


def test_backs_off_when_the_server_names_no_wait() -> None:
    """Seven failures are seven waits, then the answer."""
    assert run([broken() for _ in range(7)]) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_waits_as_long_as_the_server_asks() -> None:
    """Up to and including two minutes; a moment that has passed means the usual backoff."""
    failures: list[Exception] = [broken(retry_after=wait) for wait in (7.0, 120.0, 0.0, -5.0)]
    assert run(failures) == [7.0, 120.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "failure",
    [
        LongWait("Later.", JOBS, retry_after=121.0),
        ApiRefused("No.", JOBS),
        ApiContractError("Odd.", JOBS),
        broken(retry=False),
        KeyError("a bug"),
    ],
)
def test_nothing_else_is_retried(failure: Exception) -> None:
    """Long waits, refusals, what the server forbids to retry, and bugs come out at once."""
    with pytest.raises(type(failure)) as caught:
        run([failure])
    assert caught.value is failure


def test_gives_up_after_the_last_try() -> None:
    """The error says how often and how long it tried, and keeps what the request was."""
    with pytest.raises(TransientApiError) as caught:
        run([broken(retry_after=2.0) for _ in range(9)], max_attempts=3)
    assert str(caught.value) == (
        "The server failed. Gave up after 3 tries and 4.0 s of waiting. "
        "(GET /fine_tuning/jobs, HTTP 503)"
    )
    assert caught.value.retry_after == 2.0
    assert caught.value.exchange == JOBS


def test_gives_up_before_the_wait_that_would_exceed_the_budget() -> None:
    """Waits that just fill the budget are waited."""
    assert run([broken(retry_after=5.0), broken(retry_after=5.0)], budget=10.0) == [5.0, 5.0]
    with pytest.raises(TransientApiError, match=r"after 2 tries and 5\.0 s of waiting"):
        run([broken(retry_after=5.0), broken(retry_after=5.1)], budget=10.0)


def test_one_attempt_means_no_wait() -> None:
    """A client may be told to try only once."""
    with pytest.raises(TransientApiError, match=r"Gave up after 1 try and 0\.0 s"):
        run([broken()], max_attempts=1)


def spoilt(number: int = 1) -> SpoiltAnswer:
    return SpoiltAnswer(f"This is no page, number {number}.", JOBS)


def test_a_spoilt_answer_is_tried_twice_more() -> None:
    """With the waits of a server that fails."""
    assert run([spoilt(), spoilt()]) == [0.5, 1.0]


@pytest.mark.parametrize(("max_attempts", "tries"), [(1, 1), (2, 2), (3, 3), (8, 3)])
def test_a_spoilt_answer_is_tried_three_times_at_most(max_attempts: int, tries: int) -> None:
    """Or fewer, if the settings say so. What comes out is the last failure itself."""
    failures: list[Exception] = [spoilt(number) for number in (1, 2, 3, 4)]
    last = failures[tries - 1]
    with pytest.raises(SpoiltAnswer) as caught:
        run(failures, max_attempts=max_attempts)
    assert caught.value is last
    assert len(failures) == 4 - tries


def test_a_spoilt_answer_is_not_waited_for_beyond_the_budget() -> None:
    failures: list[Exception] = [spoilt(1), spoilt(2)]
    with pytest.raises(SpoiltAnswer, match="number 2"):
        run(failures, budget=0.5)
    assert failures == []


def test_a_spoilt_answer_takes_no_tries_from_a_server_that_fails() -> None:
    failures: list[Exception] = [spoilt(), *[broken(retry_after=2.0) for _ in range(6)]]
    assert run(failures) == [0.5, *[2.0] * 6]


def test_a_server_that_fails_takes_no_tries_from_a_spoilt_answer() -> None:
    failures: list[Exception] = [broken(), broken(), broken(), spoilt(), broken(), spoilt()]
    assert len(run(failures)) == 6
    with pytest.raises(SpoiltAnswer, match="number 3"):
        run([broken(), spoilt(1), broken(), spoilt(2), broken(), spoilt(3), spoilt(4)])
