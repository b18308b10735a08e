"""SIGTERM and SIGINT as a request: the first one lets finish what was begun, a second does not."""

from __future__ import annotations

import logging
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from etl.deadline import STOPPED
from etl.errors import TimeIsUp

log = logging.getLogger(__name__)


class Stop:
    """Whether somebody asked for the end. For any number of threads that wait for it.

    A pair of sockets and no threading.Event: a signal may come while the thread that it stops
    holds the lock of one.
    """

    def __init__(self) -> None:
        self._sent, self._heard = socket.socketpair()
        #: The signal that came, if one did.
        self.signal: signal.Signals | None = None
        #: Is there something to be finished, so that the end may take a while?
        self.is_busy = False
        self._is_over = False

    @property
    def is_asked(self) -> bool:
        """Did somebody ask?"""
        return self._is_over

    def ask(self, number: int | None = None) -> None:
        """Ask for the end, as by this signal."""
        if number is not None:
            self.signal = signal.Signals(number)
        self._is_over = True
        self._sent.send(b".")  # never read, so that everybody who waits sees it

    def wait(self, seconds: float | None) -> bool:
        """Wait so long at most, for ever with None. True once somebody asked."""
        if not self._is_over:
            select.select([self._heard], [], [], seconds)
        return self._is_over

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises TimeIsUp once somebody asked for the end."""
        if self.wait(seconds):
            raise TimeIsUp(STOPPED)

    def close(self) -> None:
        """Give the sockets back; nobody may wait any more."""
        self._sent.close()
        self._heard.close()

    def announce(self) -> None:
        """Wait for the request, and say that it was heard where the end may take a while."""
        self.wait(None)
        if self.signal is not None and self.is_busy:
            log.info("stopping once what was read is written; a second signal ends at once")


@contextmanager
def signals() -> Iterator[Stop]:
    """Take the first SIGTERM or SIGINT as a request; a second does what it did before.

    Only in the main thread, the only one that gets signals. A SIGINT that is ignored, as in the
    background of a script, stays so.
    """
    stop = Stop()
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: FrameType | None) -> None:
        restore()
        stop.ask(number)

    # A thread of its own, as a signal may come in the middle of a line that is being logged.
    speaker = threading.Thread(target=stop.announce, name="stop", daemon=True)
    speaker.start()
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, ask)
        yield stop
    finally:
        restore()
        stop.is_busy = False
        stop.ask()
        speaker.join()
        stop.close()
