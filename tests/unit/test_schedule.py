"""When turns come: at once, by the clock, late by chance, never twice; and what ends them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import ConfigError, LeaseHeld, StoreError, TimeIsUp, UsageError
from etl.schedule import Cron, Every, repeat


def at(text: str) -> float:
    """Unix seconds of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M:%S")


class Clock:
    """A clock that goes on only while somebody waits, or where a test says so."""

    def __init__(self, now: float, *, until: float) -> None:
        self.now = now
        self.until = until
        self.waits: list[float] = []
        #: By the time that has passed: how far the clock is set then.
        self.set_at: dict[float, float] = {}
        self._passed = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """True once the time of the test is over."""
        self.waits.append(seconds)
        self._passed += seconds
        self.now += seconds
        for moment in [one for one in self.set_at if one <= self._passed]:
            self.now += self.set_at.pop(moment)
        return self.now >= self.until


class Turns:
    """Notes when its turns come, and takes some time over each."""

    def __init__(self, clock: Clock, *, takes: float = 0.0) -> None:
        self.clock = clock
        self.takes = takes
        self.at: list[float] = []

    def __call__(self) -> None:
        self.at.append(self.clock.now)
        self.clock.now += self.takes


def cron(expression: str, start: str, end: str, takes: float = 0.0, **options: float) -> list[str]:
    """The times at which turns come, by a clock that runs from start to end."""
    clock = Clock(at(start), until=at(end))
    turns = Turns(clock, takes=takes)
    share = options.pop("share", 0.0)
    table = Cron(expression, clock=clock)
    repeat(table, turns, clock.wait, random=lambda: share, wall=clock, jitter=options.get("jitter"))
    return [shown(one) for one in turns.at]


def every(seconds: float, end: float, takes: float = 0.0, **options: float) -> list[float]:
    """The seconds since the start at which turns come."""
    clock = Clock(0.0, until=end)
    turns = Turns(clock, takes=takes)
    share = options.pop("share", 0.0)
    table = Every(seconds, clock=clock)
    repeat(table, turns, clock.wait, random=lambda: share, wall=clock, jitter=options.get("jitter"))
    return turns.at


def test_every_begins_at_once_and_keeps_to_its_start() -> None:
    assert every(600, 2000, takes=90) == [0, 600, 1200, 1800]


def test_cron_begins_at_its_time() -> None:
    assert cron("17 * * * *", "2026-03-01T08:20", "2026-03-01T11:00", takes=60) == [
        "01 09:17:00",
        "01 10:17:00",
    ]
    assert cron("*/15 9-10 * * MON-FRI", "2026-03-01T00:00", "2026-03-02T09:20") == [
        "02 09:00:00",
        "02 09:15:00",
    ]


def test_a_tick_of_this_very_second_has_passed() -> None:
    assert cron("* * * * *", "2026-03-01T08:20", "2026-03-01T08:21:30") == ["01 08:21:00"]


def test_turns_that_come_while_one_is_under_way_are_skipped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "etl")
    assert every(60, 600, takes=200) == [0, 240, 480]
    assert caplog.messages == [
        "skipped 3 turns that came while a run was at work",
        "next run at 1970-01-01 00:04:00 UTC",
        "skipped 3 turns that came while a run was at work",
        "next run at 1970-01-01 00:08:00 UTC",
    ]
    caplog.clear()
    assert cron("*/5 * * * *", "2026-03-01T08:00", "2026-03-01T08:20", takes=301) == [
        "01 08:05:00",
        "01 08:15:00",
    ]
    assert "skipped 1 turn that came while a run was at work" in caplog.messages


def test_a_turn_begins_later_by_a_tenth_of_the_time_to_the_next_and_a_minute_at_most() -> None:
    assert every(100, 350, share=0.5) == [0, 105, 205, 305]
    assert every(3600, 10_000, share=0.5) == [0, 3630, 7230]
    assert cron("0 4 * * *", "2026-03-01T00:00", "2026-03-03T00:00", share=0.25) == [
        "01 04:00:15",
        "02 04:00:15",
    ]


def test_no_jitter_makes_a_turn_as_late_as_the_next() -> None:
    assert every(60, 200, jitter=600, share=0.5) == [0, 90, 150]
    assert every(60, 200, jitter=0, share=0.99) == [0, 60, 120, 180]
    assert cron("*/5 * * * *", "2026-03-01T08:00", "2026-03-01T08:18", jitter=6e5, share=0.9) == [
        "01 08:09:30",
        "01 08:14:30",
    ]


def test_a_long_wait_is_taken_in_slices_of_a_minute() -> None:
    clock = Clock(0.0, until=7000)
    repeat(Every(3600, clock=clock), lambda: None, clock.wait, random=lambda: 0.0, wall=clock)
    assert max(clock.waits) == 60.0
    assert len(clock.waits) < 125


def test_a_clock_set_back_a_little_repeats_no_turn() -> None:
    clock = Clock(at("2026-03-01T08:00"), until=at("2026-03-01T10:00"))
    clock.set_at = {3600.0 + 30: -120.0}
    turns = Turns(clock, takes=1)
    table = Cron("0 * * * *", clock=clock)
    repeat(table, turns, clock.wait, random=lambda: 0.0, wall=clock)
    assert [shown(one) for one in turns.at] == ["01 09:00:00"]


def test_a_clock_set_back_far_is_believed_within_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "etl")
    clock = Clock(at("2027-01-01T08:00"), until=at("2027-01-01T10:00"))
    clock.set_at = {90.0: -365 * 86400.0}  # at 08:01:30 the year turns out to be wrong
    turns = Turns(clock)

    def wait(seconds: float) -> bool:
        return clock.wait(seconds) or len(turns.at) == 2

    table = Cron("0 * * * *", clock=clock)
    repeat(table, turns, wait, random=lambda: 0.0, wall=clock)
    assert [shown(one) for one in turns.at] == ["01 09:00:00", "01 10:00:00"]
    assert caplog.messages[:2] == [
        "next run at 2027-01-01 09:00:00 UTC",
        "next run at 2026-01-01 09:00:00 UTC",
    ]


def test_what_passed_while_the_machine_slept_is_made_up_for_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(at("2026-03-01T08:00"), until=at("2026-03-01T17:30"))
    clock.set_at = {600.0: 8 * 3600.0 + 100}
    turns = Turns(clock)
    table = Cron("*/30 * * * *", clock=clock)
    repeat(table, turns, clock.wait, random=lambda: 0.0, wall=clock)
    assert [shown(one) for one in turns.at] == ["01 16:11:40", "01 16:30:00", "01 17:00:00"]
    assert caplog.messages == ["15 turns passed unnoticed; this run makes up for it"]


def test_a_clock_that_jumps_by_half_a_century_does_not_stall_the_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock(0.0, until=at("2026-03-01T00:03"))
    clock.set_at = {30.0: at("2026-03-01T00:00")}
    turns = Turns(clock)
    table = Cron("* * * * *", clock=clock)
    repeat(table, turns, clock.wait, random=lambda: 0.0, wall=clock)
    assert [shown(one) for one in turns.at] == ["01 00:01:00", "01 00:02:00"]
    assert caplog.messages == ["10,000 turns or more passed unnoticed; this run makes up for it"]


@given(st.floats(1, 1e6), st.floats(0, 1e9), st.integers(0, 10_000_000))
def test_a_turn_comes_after_itself_never_again(seconds: float, begin: float, number: int) -> None:
    table = Every(seconds, clock=lambda: begin)
    tick = table.after(begin + number * seconds)
    following = table.after(tick)
    assert following > tick
    assert following - tick == pytest.approx(seconds, rel=1e-3)


def held() -> None:
    raise LeaseHeld("another writer is at work: pid 42", holder="pid 42")


def broken() -> None:
    raise StoreError("the database went away")


def unset() -> None:
    raise ConfigError(["no API key: X is not set", "no API key: Y is not set"])


def stopped() -> None:
    raise TimeIsUp("The run was told to stop.")


def full() -> None:
    raise OSError(28, "No space left on device")


def bug() -> None:
    raise ZeroDivisionError("one of ours")


AGAIN = "this turn failed; the next one tries again"


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (held, ["WARNING this turn is skipped: another writer is at work: pid 42"]),
        (broken, ["ERROR the database went away", f"ERROR {AGAIN}"]),
        (
            unset,
            [
                "ERROR no API key: X is not set",
                "ERROR no API key: Y is not set",
                f"ERROR {AGAIN}",
            ],
        ),
        (stopped, ["INFO The run was told to stop."]),
        (full, ["ERROR [Errno 28] No space left on device", f"ERROR {AGAIN}"]),
        (bug, ["ERROR this turn failed by a bug in ftmirror; the next one tries again"]),
    ],
)
def test_a_turn_that_fails_is_logged_and_the_next_one_comes(
    turn: Callable[[], None], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "etl")
    clock = Clock(0.0, until=100)
    assert repeat(Every(60, clock=clock), turn, clock.wait, random=lambda: 0.0, wall=clock) == 2
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    waiting = [line for line in lines if line.startswith("INFO next run at ")]
    assert lines == [*said, waiting[0], *said, waiting[1]]
    assert ("ZeroDivisionError" in caplog.text) == (turn is bug)


def test_an_interrupt_and_a_reader_that_left_end_the_loop() -> None:
    for error in (KeyboardInterrupt(), BrokenPipeError()):

        def turn(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            repeat(Every(60), turn, lambda _: False, random=lambda: 0.0)


def test_who_is_told_to_stop_during_a_run_or_a_wait_begins_no_other() -> None:
    clock = Clock(0.0, until=10)
    assert every(60, 10, takes=30) == [0]
    assert every(60, 50) == [0]
    table = Cron("0 0 1 1 *", clock=clock)
    assert repeat(table, lambda: None, clock.wait, random=lambda: 0.0, wall=clock) == 0


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "it has 0 of 5 fields"),
        ("@hourly", "it has 1 of 5 fields"),
        ("0 0 17 * * *", "it has 6 of 5 fields"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * FOO *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 */30 2 MON#5", "that day never comes"),
        (f"{'9' * 5000} * * * *", "a number in it is too large"),
    ],
)
def test_what_is_no_crontab_line_says_why_and_what_would_be_one(expression: str, why: str) -> None:
    with pytest.raises(UsageError, match=f": {re.escape(why)}; write minute, hour, day of the mo"):
        Cron(expression)


@given(st.text("0123456789*/-,#LWMONFRIJAN ²", min_size=9, max_size=25))
def test_any_expression_is_a_time_or_an_explained_error(expression: str) -> None:
    try:
        table = Cron(expression, clock=lambda: 0.0)
    except UsageError:
        return
    assert table.after(0.0) > 0
