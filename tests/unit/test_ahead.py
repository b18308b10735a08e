"""Items read ahead by a thread: the same items, the same errors, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from etl.ahead import ahead


def test_the_items_come_in_their_order() -> None:
    with ahead(range(100), 3) as items:
        assert list(items) == list(range(100))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    with ahead(failing(), 8) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="the third"):
            next(items)


def test_it_never_reads_more_than_the_depth_ahead() -> None:
    """One is taken, two wait, and the reader holds one more in its hand."""
    read = []
    blocked = threading.Event()

    def counting() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            if number == 3:
                blocked.set()
            yield number

    with ahead(counting(), 2) as items:
        assert next(items) == 0
        assert blocked.wait(5)
        assert len(read) == 4
        assert next(items) == 1
    assert len(read) <= 6


def test_leaving_early_ends_the_reader() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    with ahead(endless(), 2) as items:
        next(items)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]
