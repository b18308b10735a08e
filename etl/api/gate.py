"""The gate that all readers of one source pass: how fast they may go, and when they must rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Gate:
    """Says when the next request of a source may be sent. For any number of threads.

    `sleep` and `now` (unix seconds) are passed in, so that tests neither wait nor guess.
    """

    def __init__(
        self,
        requests_per_minute: int = 0,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._apart = 60 / requests_per_minute if requests_per_minute else 0.0
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        #: When the next request may be sent by the pace, and when by the server's wish.
        self._next_at = 0.0
        self._open_at = 0.0

    def close(self, seconds: float) -> float:
        """Let nobody pass for so long, as the server asked; the moment when that is over."""
        with self._lock:
            until = self._now() + seconds
            self._open_at = max(self._open_at, until)
            return until

    def wait(self, rested_until: float = 0.0) -> None:
        """Sleep until the caller may send a request.

        `rested_until`: the moment to which it slept already, so that it does not do so twice.
        """
        at = self._turn(rested_until)
        while True:
            wait = at - self._now()
            if wait > 0:
                self._sleep(wait)
            with self._lock:
                # Somebody may have closed the gate meanwhile.
                if self._open_at <= max(at, rested_until):
                    return
            at = self._turn(rested_until)

    def _turn(self, rested_until: float) -> float:
        with self._lock:
            closed_until = self._open_at if self._open_at > rested_until else 0.0
            at = max(self._now(), self._next_at, closed_until)
            self._next_at = at + self._apart
            return at
