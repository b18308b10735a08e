"""The time limit of a run, and how long ago is long enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from etl.errors import TimeIsUp


def _never() -> bool:
    return False


class Deadline:
    """When a run is to come to its end: at a time, or once somebody asks for it.

    `clock` (seconds that only grow) is passed in, so that tests need not wait. `stopped` is asked
    whether the run is to end as soon as what was begun is written.
    """

    def __init__(
        self,
        seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[], bool] = _never,
    ) -> None:
        self._clock = clock
        self._at = None if seconds is None else clock() + seconds
        self._stopped = stopped

    @property
    def is_set(self) -> bool:
        """Is there a limit?"""
        return self._at is not None

    def check(self) -> None:
        """Raise TimeIsUp once the limit is reached, or somebody asked for the end."""
        self.check_stopped()
        if self._at is not None and self._clock() >= self._at:
            raise TimeIsUp

    def check_stopped(self) -> None:
        """Raise TimeIsUp once somebody asked for the end."""
        if self._stopped():
            raise TimeIsUp(STOPPED)


STOPPED = "The run was told to stop; the next run goes on from here."

#: Runs of a timer are never exactly so far apart: what is due daily is due a little earlier, not
#: every second day.
_EARLY = 0.02


def ago(now: datetime, seconds: float) -> datetime:
    """The moment since which so many seconds have passed, or as good as."""
    try:
        return now - timedelta(seconds=seconds * (1 - _EARLY))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
