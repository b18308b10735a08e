"""Keep secrets out of everything that is written: the known ones and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from etl.settings.masking import MASK, finder, unshaped

#: Shorter words would be found inside ordinary text.
SHORTEST = 6


class Mask:
    """Text in, the same text without secrets out."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._askable: list[Callable[[], Iterable[str]]] = []
        #: The words of the last text, and what finds them: they seldom change.
        self._last: tuple[frozenset[str], re.Pattern[str]] = frozenset(), finder((), SHORTEST)

    def hide(self, *words: str) -> None:
        """Hide these words from now on."""
        self._words += words

    def ask(self, secrets: Callable[[], Iterable[str]]) -> None:
        """Ask this, each time, which words to hide: a key may be read long after the start."""
        self._askable.append(secrets)

    def __call__(self, text: str) -> str:
        """The text with `***` in the place of every secret, whichever way it is written."""
        words = frozenset((*self._words, *(word for ask in self._askable for word in ask())))
        if words != self._last[0]:
            self._last = words, finder(words, SHORTEST)
        return unshaped(self._last[1].sub(MASK, text))
