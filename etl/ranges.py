"""Which part of a list is whose, when several read it at once. Bookkeeping only; thread-safe.

A list is cut at ids: each range begins behind one of them, the first at the list's head, and ends
where it meets the beginning of any other. So all are joined, in whatever order the list is. Where
that does not come true because ids vanished, more is read, never less:

- A range that brings nothing is lost: whoever ended where it should begin goes over it again.
- A range that breaks off is read once more.
- Where in the end nobody met the beginning of a range, the whole list is read in one go.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Ids = Sequence[str | None]


@dataclass(eq=False)
class Range:
    """A part of a list, from behind an id to wherever another begins."""

    #: None for the list's head.
    start: str | None = None
    #: False for one that reads on to the list's end, whatever it meets.
    is_cut: bool = True
    #: How often it was begun.
    readings: int = 0
    #: Those that ended where this one begins.
    met_by: list[Range] = field(default_factory=list)


class Ranges:
    """The ranges of one list, handed out to its readers."""

    def __init__(self, cuts: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._alive = [Range(), *map(Range, dict.fromkeys(cuts))]
        self._waiting = deque(self._alive)
        #: By what a beginning is known: the id of the cut, and those on the first page behind it.
        self._marks = {one.start: one for one in self._alive if one.start is not None}
        self._under_way = 0
        self._is_over = False

    def take(self) -> Range | None:
        """The next range to read; None when all is read. Waits for what others may leave over."""
        with self._changed:
            while self._under_way and not self._waiting and not self._is_over:
                self._changed.wait()
            if not self._waiting and not self._is_joined():
                self._alive = []
                self._waiting.append(Range(is_cut=False))
            if self._is_over or not self._waiting:
                return None
            self._under_way += 1
            one = self._waiting.popleft()
            one.readings += 1
            return one

    def own(self, one: Range, ids: Ids, *, is_first: bool) -> int | None:
        """How many items of this page are its own, as another range begins there; None: all.

        0 on a first page: the range brings nothing, and is to be called lost.
        """
        with self._changed:
            if not one.is_cut:
                return None
            end, other = self._meeting(one, ids)
            if other is not None and (end or not is_first):
                other.met_by.append(one)
            if is_first:
                self._marks |= {name: one for name in ids[:end] if name and name not in self._marks}
            return end

    def done(self) -> None:
        """One is read: to another range, or to the list's end."""
        with self._changed:
            self._leave()

    def lost(self, one: Range) -> None:
        """Nothing came from behind its beginning."""
        with self._changed:
            self._alive.remove(one)
            self._marks = {name: whose for name, whose in self._marks.items() if whose is not one}
            self._waiting.extend(one.met_by)
            self._leave()

    def again(self, one: Range) -> None:
        """It broke off: somebody shall read it once more."""
        with self._changed:
            self._waiting.append(one)
            self._leave()

    @property
    def is_over(self) -> bool:
        """Was it stopped?"""
        return self._is_over

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _meeting(self, one: Range, ids: Ids) -> tuple[int | None, Range | None]:
        for number, name in enumerate(ids):
            other = self._marks.get(name) if name else None
            if other is not None and other is not one:
                # The item at a cut belongs to the range that ends with it.
                return number + (name == other.start), other
        return None, None

    def _is_joined(self) -> bool:
        return all(one.met_by for one in self._alive if one.start is not None)

    def _leave(self) -> None:
        self._under_way -= 1
        self._changed.notify_all()
