"""A world that goes on while it is mirrored, and runs that are cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from etl.api import paths
from etl.simulator import Simulator, World


@contextmanager
def small_pages(size: int, path: str = "/fine_tuning/jobs") -> Iterator[None]:
    """A list in pages of so many items, so that a small world has many."""
    endpoint = paths.ENDPOINTS[path]
    kept = endpoint.page_size
    object.__setattr__(endpoint, "page_size", size)
    try:
        yield
    finally:
        object.__setattr__(endpoint, "page_size", kept)


class Evolving:
    """A world whose jobs queue, run, pause, fail, finish, gain fields, vanish and come back."""

    def __init__(self, seed: int, jobs: int, provider: str = "openai") -> None:
        self.world = World(seed, jobs, provider)
        self.dice = random.Random(seed)
        self.removed: list[str] = []
        #: How often the world may still go on because it is asked something.
        self.restless = 0

    @contextmanager
    def served(self) -> Iterator[Simulator]:
        """The API of this world; what happens while pages are read happens before an answer."""
        with Simulator(self.world, log=lambda _: self._asked()) as simulator:
            yield simulator

    def now(self) -> datetime:
        """The world's time, as a clock for a run."""
        return datetime.fromtimestamp(self.world.now, UTC)

    def wait(self, span: timedelta) -> None:
        """Let time pass in which nothing happens."""
        with self.world.lock:
            self.world.now += int(span.total_seconds())

    def go_on(self) -> None:
        """Something happens, or several things."""
        with self.world.lock:
            self.world.advance(self.dice.randint(0, 6), self.dice.randint(0, 2))
            if self.dice.random() < 0.3:
                self._pause()
            if self.dice.random() < 0.4:
                self._remove()
            if self.removed and self.dice.random() < 0.3:
                self.world.restore([self.removed.pop(self.dice.randrange(len(self.removed)))])

    def _asked(self) -> None:
        with self.world.lock:
            if self.restless and self.dice.random() < 0.3:
                self.restless -= 1
                self.world.advance(self.dice.randint(0, 2), self.dice.randint(0, 2))

    def _remove(self) -> None:
        ids = list(self.world.job_ids())
        # Often the newest, of which a frontier is made.
        place = self.dice.randrange(3 if self.dice.random() < 0.5 else len(ids))
        self.world.remove([ids[place]])
        self.removed.append(ids[place])

    def _pause(self) -> None:
        for one in self.world.job_ids():
            try:
                self.world.pause([one])
            except ValueError:  # it does not run
                continue
            return


def ticking(step: float = 1.0) -> Callable[[], float]:
    """A clock that a look at it moves on, so that a time limit is a number of looks."""
    seconds = 0.0

    def look() -> float:
        nonlocal seconds
        seconds += step
        return seconds

    return look
