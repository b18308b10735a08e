"""Read ahead: the next pages are fetched while the last ones are written."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks at whether anybody still listens.
_PATIENCE = 0.2
#: Seconds to let the reader end by itself; it may be in the middle of a long answer.
_FAREWELL = 1.0


class _End:
    """The reader is through, by itself or by an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def ahead(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """The same items, read by a thread of their own, never more than `depth` ahead of the taker.

    An error of the reader is raised to the taker, after the items that came before it. Where the
    taker leaves early, the reader stops at its next item.
    """
    waiting: Queue[T | _End] = Queue(maxsize=depth)
    is_over = threading.Event()
    reader = threading.Thread(
        target=_read, args=(items, waiting, is_over), name="ahead", daemon=True
    )
    reader.start()
    try:
        yield _take(waiting)
    finally:
        is_over.set()
        while True:
            try:
                waiting.get_nowait()
            except Empty:
                break
        reader.join(_FAREWELL)


def _read(items: Iterable[T], waiting: Queue[T | _End], is_over: threading.Event) -> None:
    end: _End = _End()
    try:
        for item in items:
            if not _put(waiting, item, is_over):
                return
    except BaseException as error:  # noqa: BLE001 - it is raised again where the items are taken
        end = _End(error)
    _put(waiting, end, is_over)


def _put(waiting: Queue[T | _End], item: T | _End, is_over: threading.Event) -> bool:
    while not is_over.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False


def _take(waiting: Queue[T | _End]) -> Iterator[T]:
    while True:
        item = waiting.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
