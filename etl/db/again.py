"""Database work tried again: what failed for a reason that passes, and left nothing behind.

A transaction that failed was rolled back, so all of it can be done anew; whoever may have been
committed without our hearing of it looks for itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity
from sqlalchemy import Connection, Engine
from tenacity import RetryCallState

from etl.db.engine import database_errors
from etl.errors import TimeIsUp, TransientStoreError

log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

#: Tries, and seconds before the second, doubled from one to the next: half a minute in all, as long
#: as a server takes to start again.
MOST_TRIES = 7
FIRST_WAIT = 0.5
#: Seconds after which no try begins: a locked file lets each of them wait for a while.
LONGEST = 60.0


def again(
    work: Callable[[], _Found],
    *,
    sleep: Callable[[float], None] = time.sleep,
    tries: int = MOST_TRIES,
) -> _Found:
    """Do some work, and do it again where it failed for a reason that passes.

    Raises the error of the last try.
    """
    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientStoreError),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT),
        stop=tenacity.stop_after_attempt(tries) | tenacity.stop_after_delay(LONGEST),
        sleep=_to_the_end(sleep),
        before_sleep=_tell,
        reraise=True,
    )
    return policy(work)


def _to_the_end(sleep: Callable[[float], None]) -> Callable[[float], None]:
    """The same sleep, which nobody cuts short: a run that is told to stop writes what it has."""

    def slept(seconds: float) -> None:
        try:
            sleep(seconds)
        except TimeIsUp:
            time.sleep(seconds)

    return slept


def read(
    engine: Engine,
    look: Callable[[Connection], _Found],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> _Found:
    """What a look at the database finds, on a connection of its own. Raises StoreError."""

    def once() -> _Found:
        with database_errors(), engine.connect() as connection:
            return look(connection)

    return again(once, sleep=sleep)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(
        "Try %d of %d failed, the next in %.1f s: %s",
        state.attempt_number,
        MOST_TRIES,
        state.upcoming_sleep,
        error,
    )
