"""The same work again and again: when the next turn is due, and what becomes of one that fails.

Clocks, waits and chance are passed in.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from cronsim import CronSim, CronSimError

from etl.errors import ConfigError, EtlError, LeaseHeld, TimeIsUp, UsageError

log = logging.getLogger(__name__)

#: A turn begins later by as much of the time to the next one, at most, and by so many seconds.
JITTER_SHARE = 0.1
LONGEST_JITTER = 60.0
#: Seconds of one wait: who looks at the clock so often notices soon that it was set.
SLICE = 60.0
#: Seconds by which a clock may be set back without a turn coming twice. Set back by more, it was
#: wrong before.
SET_RIGHT = 300.0
#: Of a turn: what is so near to the next one has reached it.
_NEARLY = 1e-6
#: Turns in a row that are counted one by one.
MOST_COUNTED = 10_000


class Timetable(Protocol):
    """When turns are due, in seconds of a clock of its own."""

    #: Is the first turn at once? Else it is the first that comes.
    begins_at_once: bool

    def now(self) -> float:
        """The time by its clock."""

    def after(self, moment: float) -> float:
        """When the first turn after this moment is due."""


class Every:
    """A turn every so many seconds from now on, by a clock that nobody sets."""

    begins_at_once = True

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._begin = clock()

    def now(self) -> float:
        """The time by its clock."""
        return self._clock()

    def after(self, moment: float) -> float:
        """When the first turn after this moment is due."""
        turns = (moment - self._begin) / self._seconds
        # A division may come out a little low, and a turn would come after itself.
        return self._begin + (math.floor(turns + _NEARLY) + 1) * self._seconds


class Cron:
    """A turn whenever the line of a crontab says so, in UTC.

    Raises UsageError for an expression that is none, or whose time never comes.
    """

    begins_at_once = False

    def __init__(self, expression: str, *, clock: Callable[[], float] = time.time) -> None:
        fields = expression.split()
        if len(fields) != 5:
            raise _no_cron(expression, f"it has {len(fields)} of 5 fields")
        self._expression = " ".join(fields)
        self._clock = clock
        try:
            self.after(clock())
        except CronSimError as error:
            raise _no_cron(expression, str(error).lower()) from None
        except ValueError:
            raise _no_cron(expression, "a number in it is too large") from None
        except StopIteration:
            raise _no_cron(expression, "that day never comes") from None

    def now(self) -> float:
        """The time by its clock, in unix seconds."""
        return self._clock()

    def after(self, moment: float) -> float:
        """When the first turn after this moment is due."""
        return next(CronSim(self._expression, datetime.fromtimestamp(moment, UTC))).timestamp()


def _no_cron(expression: str, why: str) -> UsageError:
    return UsageError(
        f"--cron {expression!r}: {why}; write minute, hour, day of the month, month and day of the "
        "week (UTC), as '17 * * * *' for hourly or '30 4 * * MON-FRI'"
    )


def repeat(
    timetable: Timetable,
    turn: Callable[[], None],
    wait: Callable[[float], bool],
    *,
    random: Callable[[], float],
    jitter: float | None = None,
    wall: Callable[[], float] = time.time,
) -> int:
    """Take every turn until told to stop. How many there were.

    A turn that fails is logged, and the next one tries again; turns that come while one is under
    way are skipped and counted in the log. `wait` (seconds) ends early, and says True, once told to
    stop. `jitter`: the most seconds that a turn may begin late, `random` (0 to 1) of them; never as
    late as the next turn. By default a tenth of the time to the next turn, a minute at most. The
    first turn of a timetable that begins at once is not late. `wall`: unix seconds, for the log.
    """
    turns = 0
    last = timetable.now()
    is_now = timetable.begins_at_once
    while is_now or _comes(timetable, last, wait, random, jitter, wall):
        is_now = False
        last = timetable.now()
        _take(turn)
        turns += 1
        if wait(0):
            break
        now = timetable.now()
        skipped = _between(timetable, last, now)
        if skipped:
            log.warning("skipped %s that came while a run was at work", _counted(skipped))
        last = max(last, now)
    return turns


def _comes(
    timetable: Timetable,
    last: float,
    wait: Callable[[float], bool],
    random: Callable[[], float],
    jitter: float | None,
    wall: Callable[[], float],
) -> bool:
    """Wait for the turn after the last. False once told to stop."""
    share = random()
    tick: float | None = None
    due = 0.0
    while True:
        now = timetable.now()
        coming = timetable.after(last if 0 < last - now <= SET_RIGHT else now)
        if tick is None or coming < tick:  # the first look, or somebody set the clock back
            tick = coming
            apart = timetable.after(tick) - tick
            late = min(JITTER_SHARE * apart, LONGEST_JITTER) if jitter is None else jitter
            due = tick + share * min(late, apart)
            log.info("next run at %s", _shown(wall() + due - now))
        if now >= due:
            break
        if wait(min(due - now, SLICE)):
            return False
    passed = _between(timetable, tick, now)
    if passed:  # this process or its machine slept, or somebody set the clock forward
        log.warning("%s passed unnoticed; this run makes up for it", _counted(passed))
    return True


def _take(turn: Callable[[], None]) -> None:
    try:
        turn()
    except BrokenPipeError:  # nobody reads what is printed any more
        raise
    except LeaseHeld as error:
        log.warning("this turn is skipped: %s", error)
    except TimeIsUp as error:  # told to stop before it had begun
        log.info("%s", error)
    except (EtlError, OSError) as error:
        for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
            log.error("%s", problem)  # noqa: TRY400 - it is expected, and no bug
        log.error("this turn failed; the next one tries again")  # noqa: TRY400
    except Exception:
        # Nobody may be there to start it again, and the next turn may fare better.
        log.exception("this turn failed by a bug in ftmirror; the next one tries again")


def _between(timetable: Timetable, start: float, end: float) -> int:
    """How many turns were due after the start, until the end."""
    found = 0
    while found < MOST_COUNTED and (start := timetable.after(start)) <= end:
        found += 1
    return found


def _counted(turns: int) -> str:
    if turns == MOST_COUNTED:
        return f"{turns:,} turns or more"
    return "1 turn" if turns == 1 else f"{turns:,} turns"


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
