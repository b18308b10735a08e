"""The first SIGTERM or SIGINT is a request; whoever waits hears of it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator

import pytest

from etl.cli.failures import Terminated
from etl.cli.stopping import Stop, signals
from etl.db.again import again
from etl.errors import TimeIsUp, TransientStoreError


@pytest.fixture(autouse=True)
def as_in_a_command() -> Iterator[None]:
    """SIGTERM raises, as it does while a command runs."""

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request_and_the_second_interrupts(number: signal.Signals) -> None:
    with signals() as stop:
        assert not stop.wait(0)
        signal.raise_signal(number)
        assert stop.wait(0)
        assert stop.signal is number
        with pytest.raises(KeyboardInterrupt) as raised:
            signal.raise_signal(number)
    assert isinstance(raised.value, Terminated) == (number is signal.SIGTERM)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signals():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        assert signal.getsignal(signal.SIGINT) != before[1]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_sigint_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.is_asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_everybody_who_sleeps_is_woken_and_may_not_sleep_again() -> None:
    ended: list[BaseException] = []

    def sleep(stop: Stop) -> None:
        try:
            stop.sleep(600)
        except TimeIsUp as error:
            ended.append(error)

    with signals() as stop:
        stop.sleep(0)
        sleepers = [threading.Thread(target=sleep, args=(stop,)) for _ in range(4)]
        for one in sleepers:
            one.start()
        signal.raise_signal(signal.SIGTERM)
        for one in sleepers:
            one.join(30)
        sleep(stop)
    assert [str(error) for error in ended] == [
        "The run was told to stop; the next run goes on from here."
    ] * 5


@pytest.mark.parametrize(
    ("is_busy", "said"),
    [(True, ["stopping once what was read is written; a second signal ends at once"]), (False, [])],
)
def test_the_request_is_answered_where_the_end_may_take_a_while(
    is_busy: bool, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "etl")
    with signals() as stop:
        stop.is_busy = is_busy
        signal.raise_signal(signal.SIGTERM)
        for speaker in [one for one in threading.enumerate() if one.name == "stop"]:
            speaker.join(30)
    assert caplog.messages == said


def test_another_thread_than_the_main_one_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look() -> None:
        with signals() as stop:
            seen.extend([signal.getsignal(signal.SIGTERM), stop.is_asked])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(30)
    assert seen == [before, False]


def test_what_the_database_refused_for_a_moment_is_written_though_told_to_stop() -> None:
    tries = 0

    def write() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TransientStoreError("a deadlock")
        return "written"

    with signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert again(write, sleep=stop.sleep) == "written"
