"""The time limit of a run, and how long ago is long enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from etl.errors import TimeIsUp


class Deadline:
    """When a run is to come to its end; never, where there is no limit.

    `clock` (seconds that only grow) is passed in, so that tests need not wait.
    """

    def __init__(
        self, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._at = None if seconds is None else clock() + seconds

    @property
    def is_set(self) -> bool:
        """Is there a limit?"""
        return self._at is not None

    def check(self) -> None:
        """Raise TimeIsUp once the limit is reached."""
        if self._at is not None and self._clock() >= self._at:
            raise TimeIsUp


#: Runs of a timer are never exactly so far apart: what is due daily is due a little earlier, not
#: every second day.
_EARLY = 0.02


def ago(now: datetime, seconds: float) -> datetime:
    """The moment since which so many seconds have passed, or as good as."""
    try:
        return now - timedelta(seconds=seconds * (1 - _EARLY))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
