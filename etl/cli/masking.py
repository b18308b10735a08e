"""Keep secrets out of everything that is written: the known ones and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

#: Shorter words would be found inside ordinary text.
SHORTEST = 6

_SHAPES = (
    # OpenAI's keys and those modelled on them.
    (re.compile(r"\bsk-[A-Za-z0-9_-]{6,}"), "sk-***"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\1 ***"),
    # Header lines, JSON members and query parameters; not our own `api_key: is missing`.
    (
        re.compile(
            r"((?:\b(?:proxy-)?authorization[\"']?|\bapi-key[\"']?|[\"'](?:api_?key|password)[\"'])"
            r"\s*[:=]\s*[\"']?|\b(?:api_?key|password)=)(?!(?:bearer|basic)\s)[^\s\"',;&]{6,}",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    # A URL's password, up to the last @ of the word: the password itself may hold one.
    (re.compile(r"(://[^\s:/@]*):[^\s]+@"), r"\1:***@"),
)


class Mask:
    """Text in, the same text without secrets out."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._askable: list[Callable[[], Iterable[str]]] = []

    def hide(self, *words: str) -> None:
        """Hide these words from now on."""
        self._words += words

    def ask(self, secrets: Callable[[], Iterable[str]]) -> None:
        """Ask this, each time, which words to hide: a key may be read long after the start."""
        self._askable.append(secrets)

    def __call__(self, text: str) -> str:
        """The text with `***` in the place of every secret."""
        words = {*self._words, *(word for ask in self._askable for word in ask())}
        # The longest first: one secret may begin with another.
        for word in sorted(words, key=len, reverse=True):
            if len(word) >= SHORTEST:
                text = text.replace(word, "***")
        for shape, safe in _SHAPES:
            text = shape.sub(safe, text)
        return text
