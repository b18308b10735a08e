"""Which values came by before, in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class Seen:
    """A set of values kept as 8-byte hashes in one array: a million take 16 to 32 MB.

    Two values are taken for one with a chance of about 1 in 10¹³ for a million values.
    """

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * 1024
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, value: str | bytes) -> bool:
        """Remember a value. Returns True when it is new."""
        return self.add_all((value,))[0]

    def __contains__(self, value: str | bytes) -> bool:
        number = hash(value) & 0xFFFF_FFFF_FFFF_FFFF or 1
        slots = self._slots
        last = len(slots) - 1
        place = number & last
        while slots[place]:
            if slots[place] == number:
                return True
            place = (place + 1) & last
        return False

    def add_all(self, values: Iterable[str | bytes]) -> list[bool]:
        """Remember values. Returns for each whether it is new: the second of two equal is not."""
        new: list[bool] = []
        for value in values:
            if self._count * 2 >= len(self._slots):
                self._grow()
            slots = self._slots
            last = len(slots) - 1
            # 0 marks an empty slot.
            number = hash(value) & 0xFFFF_FFFF_FFFF_FFFF or 1
            place = number & last
            # Written out here: a call for each of a million ids would take longer than the look.
            while (found := slots[place]) and found != number:
                place = (place + 1) & last
            if not found:
                slots[place] = number
                self._count += 1
            new.append(not found)
        return new

    def _grow(self) -> None:
        larger = array("Q", [0]) * (2 * len(self._slots))
        last = len(larger) - 1
        for number in filter(None, self._slots):
            place = number & last
            while larger[place]:
                place = (place + 1) & last
            larger[place] = number
        self._slots = larger
