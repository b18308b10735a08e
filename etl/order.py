"""In which order a list came, newest first as a rule, and what stands out of place in it.

Some servers tell something from further down once more at the head of a page. By itself that is
harmless; but it must neither pass for the newest nor for the end of what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from etl.jsontext import item_time

#: Items at either end of a page that say how it is ordered: reading the time of each takes long.
_SAMPLE = 4


def is_rising(items: Sequence[bytes]) -> bool:
    """Does a list begin with the oldest? What stands out of place is outvoted by the others."""
    some = items if len(items) <= 2 * _SAMPLE else [*items[:_SAMPLE], *items[-_SAMPLE:]]
    times = [time for time in map(item_time, some) if time is not None]
    steps = [first < second for first, second in pairwise(times) if first != second]
    return 2 * sum(steps) > len(steps)


def is_out_of_place(items: Sequence[bytes], place: int) -> bool:
    """Is something older than what follows it, in a list that begins with the newest?"""
    if place + 1 >= len(items):
        return False
    this, following = map(item_time, items[place : place + 2])
    return this is not None and following is not None and this < following
