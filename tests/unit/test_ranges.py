"""Ranges of a list, without a network: whatever vanishes between two pages, nothing is left out.

Here the readers are moved one page at a time, in any order that Hypothesis thinks of.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from etl.ranges import Range, Ranges


def taken(ranges: Ranges) -> list[Range]:
    """As many as there are to take without waiting."""
    found = []
    while ranges._waiting:
        one = ranges.take()
        assert one is not None
        found.append(one)
    return found


def test_the_ranges_begin_at_the_head_and_behind_each_cut() -> None:
    assert [one.start for one in taken(Ranges(["c", "f", "c"]))] == [None, "c", "f"]


def test_a_range_ends_with_the_item_at_the_next_cut() -> None:
    ranges = Ranges(["c"])
    head, behind = taken(ranges)
    assert ranges.own(head, ["a"], is_first=True) is None
    assert ranges.own(head, ["b", "c", "d"], is_first=False) == 2
    ranges.done()
    assert ranges.own(behind, ["d", "e"], is_first=True) is None
    ranges.done()
    assert ranges.take() is None


def test_a_cut_that_is_gone_is_passed_to_where_its_range_began() -> None:
    ranges = Ranges(["c"])
    head, behind = taken(ranges)
    assert ranges.own(behind, ["d", "e"], is_first=True) is None
    assert ranges.own(head, ["a", "b", "d", "e"], is_first=True) == 2
    assert behind.met_by == [head]


def test_who_ended_at_a_lost_range_goes_over_it_again() -> None:
    ranges = Ranges(["c"])
    head, behind = taken(ranges)
    assert ranges.own(head, ["a", "b", "c"], is_first=True) == 3
    ranges.done()
    ranges.lost(behind)
    assert ranges.take() is head
    assert head.readings == 2
    assert ranges.own(head, ["a", "b", "d"], is_first=True) is None
    ranges.done()
    assert ranges.take() is None


def test_a_first_page_that_another_brought_already_is_no_beginning() -> None:
    """What servers send that take an unknown cursor for none: the head."""
    ranges = Ranges(["gone"])
    head, behind = taken(ranges)
    assert ranges.own(head, ["a", "b"], is_first=True) is None
    assert ranges.own(behind, ["a", "b"], is_first=True) == 0
    assert head.met_by == []
    ranges.lost(behind)
    ranges.done()
    assert ranges.take() is None


def test_where_nobody_met_a_range_the_whole_is_read_in_one_go() -> None:
    ranges = Ranges(["c"])
    head, behind = taken(ranges)
    ranges.own(head, ["a"], is_first=True)
    ranges.own(behind, ["d"], is_first=True)
    ranges.done()
    ranges.done()
    whole = ranges.take()
    assert whole is not None
    assert (whole.start, whole.is_cut) == (None, False)
    assert ranges.own(whole, ["a", "b", "c", "d"], is_first=True) is None
    ranges.done()
    assert ranges.take() is None


def test_one_waits_for_what_another_may_leave_over() -> None:
    ranges = Ranges(["c"])
    head, behind = taken(ranges)
    got: list[Range | None] = []
    waiting = threading.Thread(target=lambda: got.append(ranges.take()))
    ranges.own(head, ["a", "c"], is_first=True)
    ranges.done()
    waiting.start()
    ranges.lost(behind)
    waiting.join(5)
    assert got == [head]


def test_who_is_stopped_takes_nothing_more() -> None:
    ranges = Ranges(["c"])
    head = ranges.take()
    ranges.take()
    ended = threading.Thread(target=ranges.take)
    ended.start()
    ranges.stop()
    ended.join(5)
    assert head is not None
    assert not ended.is_alive()
    assert ranges.is_over
    assert ranges.take() is None


PAGE = 3


def page(items: Sequence[str], after: str | None) -> tuple[list[str], bool] | None:
    """A page and whether more follow; None for a cursor that is not known."""
    if after is not None and after not in items:
        return None
    start = 0 if after is None else list(items).index(after) + 1
    return list(items[start : start + PAGE]), start + PAGE < len(items)


class Reader:
    """As a thread does it: one page at a step."""

    def __init__(self, ranges: Ranges, one: Range, delivered: list[str]) -> None:
        self.ranges, self.one, self.delivered = ranges, one, delivered
        self.at = one.start
        self.is_first = True

    def step(self, items: Sequence[str]) -> bool:
        """Read a page; False where the range is left."""
        found = page(items, self.at)
        if found is None or (self.is_first and self.at is not None and not found[0]):
            if self.is_first:
                self.ranges.lost(self.one)
            else:
                self.ranges.again(self.one)
            return False
        ids, has_more = found
        end = self.ranges.own(self.one, ids, is_first=self.is_first)
        self.delivered += ids[:end]
        if self.is_first and end == 0 and self.one.start is not None:
            self.ranges.lost(self.one)
            return False
        if end is not None or not has_more:
            self.ranges.done()
            return False
        self.is_first = False
        self.at = ids[-1]
        return True


ITEMS = [f"job-{number:02}" for number in range(30)]


@given(
    cuts=st.lists(st.sampled_from([*ITEMS, "never-there"]), max_size=8),
    turns=st.lists(st.integers(0, 5), max_size=200),
    gone=st.dictionaries(st.integers(0, 40), st.sampled_from(ITEMS), max_size=10),
)
@example(cuts=ITEMS[20:5:-5], turns=[], gone={})  # the list is ordered the other way round
@example(cuts=ITEMS, turns=[5] * 99, gone={3: "job-07"})
def test_whatever_vanishes_between_two_pages_nothing_else_is_left_out(
    cuts: list[str], turns: list[int], gone: dict[int, str]
) -> None:
    items = list(ITEMS)
    ranges = Ranges(cuts)
    delivered: list[str] = []
    readers: list[Reader] = []
    for step in range(2000):
        if gone.get(step) in items:
            items.remove(gone[step])
        while len(readers) < 4 and ranges._waiting:
            one = ranges.take()
            assert one is not None
            readers.append(Reader(ranges, one, delivered))
        if not readers:
            last = ranges.take()
            if last is None:
                break
            readers.append(Reader(ranges, last, delivered))
        turn = turns[step] if step < len(turns) else 0
        reader = readers[turn % len(readers)]
        if not reader.step(items):
            readers.remove(reader)
    else:
        raise AssertionError("it never ends")
    assert set(items) <= set(delivered)
    if not gone and not {"never-there", ITEMS[-1]} & set(cuts):
        assert sorted(delivered) == items
