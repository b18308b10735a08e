"""Many small reads at once, their results in the order in which they were asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from etl.api.client import Client
from etl.api.clients import Clients
from etl.errors import TimeIsUp

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Tasks for each reader that may be under way or wait to be taken.
TASKS_EACH = 8
#: Seconds to let the readers end by themselves; they may be in the middle of long answers.
_FAREWELL = 1.0


def gather(
    clients: Clients, tasks: Iterable[Task], read: Callable[[Client, Task], Result]
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, in the order of the tasks, as many at once as there are readers.

    Tasks are taken from the caller's thread, and only a few ahead. An error of `read` is raised
    where its result would stand; then nothing more is begun. TimeIsUp, raised by the tasks, comes
    after the results of those that were begun.
    """
    size = clients.source.workers
    if size == 1:
        for task in tasks:
            yield task, read(clients[0], task)
        return
    askers = _Askers(clients, read)
    waiting: deque[_Slot[Task, Result]] = deque()
    try:
        try:
            for task in tasks:
                waiting.append(askers.begin(task))
                if len(waiting) >= size * TASKS_EACH:
                    yield waiting.popleft().taken()
        except TimeIsUp:
            withdrawn = askers.withdraw()
            for slot in waiting:
                if slot not in withdrawn:
                    yield slot.taken()
            raise
        while waiting:
            yield waiting.popleft().taken()
    finally:
        askers.dismiss()


class _Slot(Generic[Task, Result]):
    """A task, and what came of it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_done = threading.Event()
        self.result: Result
        self.error: BaseException | None = None

    def taken(self) -> tuple[Task, Result]:
        """The task with its result, once there is one; its error is raised."""
        self.is_done.wait()
        if self.error is not None:
            raise self.error
        return self.task, self.result


class _Askers(Generic[Task, Result]):
    """Threads that take tasks, each with a client of its own; made as they are needed."""

    def __init__(self, clients: Clients, read: Callable[[Client, Task], Result]) -> None:
        self._clients = clients
        self._read = read
        self._todo: SimpleQueue[_Slot[Task, Result] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def begin(self, task: Task) -> _Slot[Task, Result]:
        """Have a task done."""
        slot: _Slot[Task, Result] = _Slot(task)
        self._todo.put(slot)
        number = len(self._threads)
        if number < self._clients.source.workers:
            thread = threading.Thread(
                target=self._work,
                args=(self._clients[number],),
                name=f"asker-{number}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()
        return slot

    def withdraw(self) -> set[_Slot[Task, Result]]:
        """Take back the tasks that nobody has begun."""
        withdrawn: set[_Slot[Task, Result]] = set()
        with suppress(Empty):
            while True:
                slot = self._todo.get_nowait()
                if slot is not None:
                    withdrawn.add(slot)
        return withdrawn

    def dismiss(self) -> None:
        """Let the threads end; one that waits for an answer may do so a little later."""
        self.withdraw()
        for _ in self._threads:
            self._todo.put(None)
        until = time.monotonic() + _FAREWELL
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _work(self, client: Client) -> None:
        while (slot := self._todo.get()) is not None:
            try:
                slot.result = self._read(client, slot.task)
            except BaseException as error:  # noqa: BLE001 - it is raised where results are taken
                slot.error = error
            slot.is_done.set()
