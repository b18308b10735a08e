"""When a request is tried again, and after which wait. Decisions only: `sleep` is passed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NoReturn

import tenacity
from tenacity import RetryCallState, Retrying

from etl.errors import LongWait, SpoiltAnswer, TransientApiError

#: Seconds; a server that asks for more ends the run, to be taken up later.
LONGEST_WAIT = 120.0

#: Tries of an answer that is not what it should be: it may have been spoilt on its way.
SPOILT_TRIES = 3

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_JITTER = 0.25


def is_transient(status: int, headers: Mapping[str, str]) -> bool:
    """Is another try worth it? The server's `x-should-retry` decides before its status does."""
    told = told_to_retry(headers)
    return is_transient_status(status) if told is None else told


def is_transient_status(status: int) -> bool:
    """Does this status usually pass?"""
    return status in {408, 409, 429} or status >= 500


def told_to_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says; None where it is absent or neither true nor false."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait, or None. `now`: unix seconds, for an HTTP date.

    `retry-after-ms` goes before `Retry-After`, which may be a whole number, a float or a date. Not
    positive means that the moment has passed.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    return seconds if seconds is not None else _until(text, now)


def backoff(tries: int, random: Callable[[], float]) -> float:
    """Seconds to wait after so many failed tries when the server names no wait of its own."""
    # The exponent is bounded so that no number of tries can overflow.
    wait = min(_FIRST_BACKOFF * 2.0 ** min(tries - 1, 10), _LONGEST_BACKOFF)
    return wait * (1 - _JITTER * random())


def policy(
    *,
    max_attempts: int,
    budget: float,
    sleep: Callable[[float], None],
    random: Callable[[], float],
    before_sleep: Callable[[RetryCallState], None] | None = None,
) -> Retrying:
    """The whole policy: what is retried, how long it waits, when it gives up.

    `budget`: seconds of waiting that one request may add up to. The error of the last try comes
    out, with how often and how long was tried.
    """
    return Retrying(
        retry=tenacity.retry_if_exception(is_worth_another_try),
        wait=as_long_as_the_server_asks(random),
        stop=when_spent(max_attempts, budget),
        sleep=sleep,
        before_sleep=before_sleep,
        retry_error_callback=give_up,
    )


def is_worth_another_try(error: BaseException) -> bool:
    """Is this a failure that may pass soon, and that the server lets us try again?"""
    if isinstance(error, SpoiltAnswer):
        return True
    return isinstance(error, TransientApiError) and error.retry and not isinstance(error, LongWait)


def as_long_as_the_server_asks(random: Callable[[], float]) -> Callable[[RetryCallState], float]:
    """Wait as long as the server asks, else back off with jitter."""

    def wait(state: RetryCallState) -> float:
        failure = _failure(state)
        asked = failure.retry_after if isinstance(failure, TransientApiError) else None
        if asked is not None and 0 < asked <= LONGEST_WAIT:
            return asked
        return backoff(state.attempt_number, random)

    return wait


def when_spent(max_attempts: int, budget: float) -> Callable[[RetryCallState], bool]:
    """Stop after so many tries, or before the wait that would make all waits exceed the budget.

    An answer that came spoilt SPOILT_TRIES times is believed; other failures between are no such
    tries. For one thread, as a client is.
    """
    spoilt = 0

    def stop(state: RetryCallState) -> bool:
        nonlocal spoilt
        if state.attempt_number == 1:
            spoilt = 0
        if isinstance(_failure(state), SpoiltAnswer):
            spoilt += 1
            if spoilt >= SPOILT_TRIES:
                return True
        waits = state.idle_for + state.upcoming_sleep
        return state.attempt_number >= max_attempts or waits > budget

    return stop


def most_tries(failure: BaseException | None, max_attempts: int) -> int:
    """How often to try, of `max_attempts` at most."""
    is_spoilt = isinstance(failure, SpoiltAnswer)
    return min(SPOILT_TRIES, max_attempts) if is_spoilt else max_attempts


def give_up(state: RetryCallState) -> NoReturn:
    """Raise the last failure again, with how often and how long was tried."""
    failure = _failure(state)
    if isinstance(failure, SpoiltAnswer):
        raise failure
    sentence = str(failure).removesuffix(f" ({failure.exchange})")
    tries = "1 try" if state.attempt_number == 1 else f"{state.attempt_number} tries"
    tried = TransientApiError(
        f"{sentence} Gave up after {tries} and {state.idle_for:.1f} s of waiting.",
        failure.exchange,
        retry_after=failure.retry_after,
    )
    raise tried


def _failure(state: RetryCallState) -> TransientApiError | SpoiltAnswer:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, TransientApiError | SpoiltAnswer):  # nothing else is retried
        raise TypeError(f"nothing to retry after {error!r}")
    return error


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str | None, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    # A date without a zone is GMT by HTTP's rules.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp() - now
