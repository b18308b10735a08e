"""One small read among many: what may go wrong with it alone, and when it is no longer alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from etl.api.paths import fill
from etl.errors import ApiContractError, ApiError, ApiRefused, LongWait, TransientApiError

Found = TypeVar("Found")

#: What an API answers where there is no such thing, and where it will not have this one path.
NOT_THERE = (404, 410)
#: 200 and 203 where the answer is longer than it may be.
_UNFIT = (200, 203, 400, 422)
#: A key that may read the others may be kept from this one.
_FORBIDDEN = (403,)

#: Reads that fail one after the other until all the rest is taken to be no better.
MOST_IN_A_ROW = 3


@dataclass(frozen=True)
class Asked(Generic[Found]):
    """What came of one read."""

    #: When it began.
    at: datetime
    #: None where there was no such thing, or it failed.
    found: Found | None = None
    is_absent: bool = False
    error: ApiError | None = None
    #: Is the error this one's own, and will it stay?
    is_lasting: bool = False


def ask(read: Callable[[], Found], now: Callable[[], datetime]) -> Asked[Found]:
    """Read one thing; what concerns it alone is no reason to stop.

    Raises the ApiError that would come with every other read too (a refused key, a long wait).
    """
    began = now()
    try:
        return Asked(began, read())
    except ApiRefused as error:
        if error.exchange.status in NOT_THERE:
            return Asked(began, is_absent=True)
        if error.exchange.status in _UNFIT:
            return Asked(began, error=error, is_lasting=True)
        if error.exchange.status in _FORBIDDEN:
            return Asked(began, error=error)
        raise
    except LongWait:
        raise
    except ApiContractError as error:
        return Asked(began, error=error, is_lasting=True)
    except TransientApiError as error:
        return Asked(began, error=error)


class Patience:
    """Counts the reads that failed and may work another time, until one fails after the other."""

    def __init__(self) -> None:
        self.failed = 0
        self._in_a_row = 0

    def note(self, asked: Asked[Found]) -> None:
        """Raise the error of the last of several that failed in a row."""
        if asked.error is None or asked.is_lasting:
            self._in_a_row = 0
            return
        self.failed += 1
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            raise asked.error


def path_of(template: str, value: str) -> str | None:
    """The path of one thing; None for a value that no path can hold: there is no such thing."""
    try:
        return fill(template, value)
    except ValueError:
        return None
