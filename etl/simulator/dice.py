"""Randomness and ids that are the same on every machine and in every Python version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MASK = (1 << 64) - 1
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = {letter: value for value, letter in enumerate(LETTERS)}
_PAIRS = [high + low for high in LETTERS for low in LETTERS]


def mix(*numbers: int) -> int:
    """A 64-bit number that looks random and depends on every argument and on their order."""
    h = 0x9E3779B97F4A7C15
    for number in numbers:
        h = ((h ^ (number & MASK)) * 0xBF58476D1CE4E5B9) & MASK
        h ^= h >> 29
        h = (h * 0x94D049BB133111EB) & MASK
        h ^= h >> 32
    return h


def mix_text(key: int, text: str) -> int:
    """`mix` for a text."""
    return mix(key, *text.encode())


def base62(number: int, width: int) -> str:
    """The last `width` base62 digits of a number."""
    parts = []
    for _ in range(width // 2):
        number, pair = divmod(number, 3844)
        parts.append(_PAIRS[pair])
    if width % 2:
        parts.append(LETTERS[number % 62])
    parts.reverse()
    return "".join(parts)


class Dice:
    """A stream of believable choices, fixed by its key."""

    __slots__ = ("_state",)

    def __init__(self, *key: int) -> None:
        self._state = mix(*key)

    def roll(self) -> int:
        """The next 64-bit number (splitmix64)."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        return state ^ (state >> 31)

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.roll() % (high - low + 1)

    def share(self) -> float:
        """A number from 0 up to, not including, 1."""
        return (self.roll() >> 11) / (1 << 53)

    def percent(self, chance: int) -> bool:
        """True in `chance` of 100 cases."""
        return self.roll() % 100 < chance

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.roll() % len(choices)]

    def sample(self, size: int, count: int) -> list[int]:
        """`count` different numbers below `size`, in no order."""
        count = min(count, size)
        chosen: dict[int, None] = {}
        # Floyd's way: no list of all the numbers is needed.
        for top in range(size - count, size):
            number = self.between(0, top)
            chosen[top if number in chosen else number] = None
        return list(chosen)


class IdCode:
    """Ids that look random, yet tell the number they were made from.

    So an id is found again without a table of all ids: a world of a million jobs costs nothing
    until somebody asks for one of them.
    """

    def __init__(self, key: int, *, bits: int = 64, hexadecimal: bool = False) -> None:
        self._key = key
        self._half = bits // 2
        self._low = (1 << self._half) - 1
        self._hex = hexadecimal
        self._width = bits // 4 if hexadecimal else _digits(bits)

    def encode(self, number: int, length: int) -> str:
        """The id body of `length` characters for a number."""
        code = self._scramble(number)
        rest = length - self._width
        filling = mix(self._key, number, 1)
        if self._hex:
            return f"{filling:016x}"[:rest] + f"{code:0{self._width}x}"
        if rest > 10:
            filling = filling << 64 | mix(filling)
        return base62(filling, rest) + base62(code, self._width)

    def decode(self, text: str) -> int | None:
        """The number an id body was made from, or None when it is no id of this code."""
        digits = text[-self._width :]
        if len(digits) < self._width or not text.isascii():
            return None
        code = 0
        for letter in digits:
            value = _VALUE.get(letter)
            if value is None:
                return None
            if self._hex:
                value = int(letter, 16) if letter in "0123456789abcdef" else -1
                if value < 0:
                    return None
            code = code * (16 if self._hex else 62) + value
        if code >> (2 * self._half):
            return None
        number = self._unscramble(code)
        return number if self.encode(number, len(text)) == text else None

    def _scramble(self, number: int) -> int:
        left, right = number >> self._half, number & self._low
        for turn in range(4):
            left, right = right, left ^ (mix(self._key, turn, right) & self._low)
        return left << self._half | right

    def _unscramble(self, code: int) -> int:
        left, right = code >> self._half, code & self._low
        for turn in (3, 2, 1, 0):
            left, right = right ^ (mix(self._key, turn, left) & self._low), left
        return left << self._half | right


def _digits(bits: int) -> int:
    width = 1
    while 62**width < 1 << bits:
        width += 1
    return width
