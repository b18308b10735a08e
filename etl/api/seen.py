"""Which values came by before, in little memory."""

from __future__ import annotations

from array import array


class Seen:
    """A set of values kept as 8-byte hashes in one array: a million take 16 to 32 MB.

    Two values are taken for one with a chance of about 1 in 10¹³ for a million values.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, value: str | bytes) -> bool:
        """Remember a value. Returns True when it is new."""
        if self._count * 2 >= len(self._slots):
            self._grow()
        # 0 marks an empty slot.
        if not self._put(self._slots, hash(value) & 0xFFFF_FFFF_FFFF_FFFF or 1):
            return False
        self._count += 1
        return True

    @staticmethod
    def _put(slots: array[int], number: int) -> bool:
        last = len(slots) - 1
        place = number & last
        while slots[place]:
            if slots[place] == number:
                return False
            place = (place + 1) & last
        slots[place] = number
        return True

    def _grow(self) -> None:
        larger = array("Q", bytes(2 * 8 * len(self._slots)))
        for number in self._slots:
            if number:
                self._put(larger, number)
        self._slots = larger
