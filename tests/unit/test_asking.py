"""One small read among many: what concerns it alone, and when all the rest is no better."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl.asking import Asked, Patience, ask
from etl.errors import (
    ApiContractError,
    ApiError,
    ApiRefused,
    ConfigError,
    Exchange,
    LongWait,
    StoreError,
    TransientApiError,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATH = "/fine_tuning/jobs/ftjob-1/events"


def refused(status: int | None) -> ApiRefused:
    return ApiRefused("No.", Exchange(PATH, status))


def asked(error: Exception) -> Asked[str]:
    def read() -> str:
        raise error

    return ask(read, lambda: NOON)


def test_what_was_found_comes_with_the_time_at_which_the_read_began() -> None:
    times = iter([NOON, NOON + timedelta(hours=1)])
    assert ask(lambda: str(next(times)), lambda: next(times)) == Asked(
        NOON, "2026-01-01 13:00:00+00:00"
    )


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_no_failure(status: int) -> None:
    assert asked(refused(status)) == Asked(NOON, is_absent=True)


@pytest.mark.parametrize(
    "error",
    [
        refused(400),
        refused(422),
        TransientApiError("Later.", Exchange(PATH, 500)),
        TransientApiError("Cut.", Exchange(PATH)),
        ApiContractError("What?", Exchange(PATH, 200)),
    ],
    ids=["400", "422", "500", "cut", "another shape"],
)
def test_what_concerns_one_read_alone_is_handed_back(error: ApiError) -> None:
    is_lasting = not isinstance(error, TransientApiError)
    assert asked(error) == Asked(NOON, error=error, is_lasting=is_lasting)


@pytest.mark.parametrize(
    "error",
    [
        refused(401),
        refused(307),
        refused(429),
        refused(None),
        LongWait("Later.", Exchange(PATH, 429), retry_after=500),
        ConfigError(["There is no key."]),
        StoreError("It is gone."),
        KeyboardInterrupt(),
    ],
    ids=["401", "307", "quota", "TLS", "long wait", "no key", "database", "Ctrl-C"],
)
def test_what_would_come_with_every_other_read_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        asked(error)
    assert caught.value is error


FAILED: Asked[str] = Asked(NOON, error=TransientApiError("Later.", Exchange(PATH, 500)))
FOUND: Asked[str] = Asked(NOON, "found")
ABSENT: Asked[str] = Asked(NOON, is_absent=True)


def test_the_third_failure_in_a_row_is_raised() -> None:
    patience = Patience()
    patience.note(FAILED)
    patience.note(FAILED)
    last: Asked[str] = Asked(NOON, error=refused(400))
    with pytest.raises(ApiRefused) as caught:
        patience.note(last)
    assert caught.value is last.error
    assert patience.failed == 3


@pytest.mark.parametrize("between", [FOUND, ABSENT], ids=["found", "not there"])
def test_an_answer_between_them_gives_patience_back(between: Asked[str]) -> None:
    patience = Patience()
    for _ in range(100):
        patience.note(FAILED)
        patience.note(FAILED)
        patience.note(between)
    assert patience.failed == 200


def test_nothing_failed() -> None:
    patience = Patience()
    patience.note(FOUND)
    patience.note(ABSENT)
    assert patience.failed == 0
