"""Many small reads at once: in order, never too many, and no thread left behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from etl.api.client import Client
from etl.api.clients import Clients
from etl.deadline import Deadline
from etl.errors import TimeIsUp
from etl.gather import TASKS_EACH, gather
from etl.settings import Secret, Source
from tests.evolving import ticking


def clients(workers: int) -> Clients:
    """Clients that nobody lets ask anything."""
    source = Source(
        base_url="http://127.0.0.1:9/v1", api_key=Secret("KEY", "sk-1"), workers=workers
    )
    return Clients(source)


def askers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("asker")]


@contextmanager
def begun(
    some: Clients, tasks: Iterable[int], read: Callable[[Client, int], int]
) -> Iterator[Iterator[tuple[int, int]]]:
    """Results that are taken or not."""
    found = gather(some, tasks, read)
    try:
        yield found
    finally:
        found.close()  # type: ignore[attr-defined]


def put(found: list[int], results: Iterator[tuple[int, int]]) -> None:
    """Keep the tasks that came, also where an error comes after them."""
    for task, _ in results:
        found.append(task)


class Reader:
    """Reads by sleeping, and notes who was at it when."""

    def __init__(self, seconds: float = 0.001, wanted_at_once: int = 1) -> None:
        self.seconds = seconds
        #: All wait until so many are at it.
        self.wanted_at_once = wanted_at_once
        self.begun: list[int] = []
        self.most_at_once = 0
        self.is_shared = False
        self._busy: list[Client] = []
        self._changed = threading.Condition()

    def __call__(self, client: Client, task: int) -> int:
        with self._changed:
            self.begun.append(task)
            self.is_shared = self.is_shared or client in self._busy
            self._busy.append(client)
            self.most_at_once = max(self.most_at_once, len(self._busy))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most_at_once >= self.wanted_at_once, 5)
        # The later ones are often quicker.
        time.sleep(self.seconds * (1 + task * 7 % 5))
        with self._changed:
            self._busy.remove(client)
        if task < 0:
            raise ValueError(f"task {task}")
        return task * 10


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_results_come_in_the_order_of_their_tasks(workers: int) -> None:
    with clients(workers) as some:
        assert list(gather(some, range(100), Reader())) == [(one, one * 10) for one in range(100)]
    assert askers() == []


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_no_more_are_under_way_than_there_are_readers_each_with_its_own_client(
    workers: int,
) -> None:
    read = Reader(wanted_at_once=workers)
    with clients(workers) as some:
        list(gather(some, range(100), read))
    assert (read.most_at_once, read.is_shared) == (workers, False)


def test_nothing_to_do_takes_no_thread() -> None:
    with clients(4) as some:
        assert list(gather(some, [], Reader())) == []


def test_no_more_threads_than_tasks() -> None:
    with clients(8) as some, begun(some, [1, 2], Reader()) as found:
        next(found)
        assert set(askers()) <= {"asker-0", "asker-1"}


def test_one_reader_reads_in_the_callers_thread_and_nothing_ahead() -> None:
    taken: list[int] = []
    names: set[str] = set()

    def tasks() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    def read(_: Client, task: int) -> int:
        names.add(threading.current_thread().name)
        return task

    with clients(1) as some:
        found = gather(some, tasks(), read)
        next(found)
        assert taken == [0]
        assert list(found) == [(one, one) for one in range(1, 5)]
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_is_raised_where_its_result_would_stand(workers: int) -> None:
    read = Reader()
    found: list[int] = []
    with clients(workers) as some, pytest.raises(ValueError, match="task -1"):
        put(found, gather(some, [*range(10), -1, *range(10, 1000)], read))
    assert found == list(range(10))
    assert askers() == []
    begun = len(read.begun)
    assert begun <= 11 + workers * TASKS_EACH
    time.sleep(0.05)
    assert len(read.begun) == begun


@pytest.mark.parametrize("workers", [2, 8])
def test_tasks_are_taken_a_few_ahead(workers: int) -> None:
    """Also of a list without end."""
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    with clients(workers) as some, begun(some, tasks(), Reader(0)) as found:
        for number in range(200):
            assert next(found) == (number, number * 10)
            assert len(taken) <= number + workers * TASKS_EACH
    assert askers() == []


def test_tasks_are_taken_from_the_callers_thread() -> None:
    names: set[str] = set()

    def tasks() -> Iterator[int]:
        for number in range(50):
            names.add(threading.current_thread().name)
            yield number

    with clients(4) as some:
        list(gather(some, tasks(), Reader(0)))
    assert names == {threading.current_thread().name}


def test_leaving_early_ends_the_threads_and_begins_nothing_more() -> None:
    read = Reader()
    with clients(4) as some:
        with begun(some, range(1000), read) as found:
            next(found)
        assert askers() == []
    assert len(read.begun) <= 4 * TASKS_EACH


def test_leaving_does_not_wait_long_for_a_reader_that_hangs() -> None:
    free = threading.Event()

    def read(_: Client, task: int) -> int:
        if task:
            free.wait(10)
        return task

    with clients(2) as some:
        with begun(some, range(1000), read) as found:
            next(found)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        free.set()
    for _ in range(200):
        if not askers():
            break
        time.sleep(0.01)
    assert askers() == []


def limited(limit: int, read: Reader, workers: int) -> list[int]:
    """The tasks done until a time limit, which is a number of looks at the clock."""
    deadline = Deadline(limit, clock=ticking())

    def tasks() -> Iterator[int]:
        for number in range(1000):
            deadline.check()
            yield number

    found: list[int] = []
    with clients(workers) as some, pytest.raises(TimeIsUp):
        put(found, gather(some, tasks(), read))
    return found


@pytest.mark.parametrize("workers", [1, 4])
def test_a_deadline_among_the_tasks_stops_more_from_being_begun(workers: int) -> None:
    read = Reader()
    found = limited(100, read, workers)
    assert set(read.begun) <= set(range(99))
    assert found == list(range(len(found)))
    assert askers() == []


@pytest.mark.parametrize("limit", [3, 20, 100])
def test_what_was_begun_before_a_deadline_is_not_lost(limit: int) -> None:
    """Its answers came, so they are given out before the deadline is heard of."""
    read = Reader()
    found = limited(limit, read, 4)
    assert sorted(read.begun) == found
