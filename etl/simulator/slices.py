"""Cut JSON text into its parts without re-writing a single character of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

_decode = json.JSONDecoder(strict=False).raw_decode
_BLANK = " \t\n\r"


class Slice(NamedTuple):
    """One value, the text it was written as, and where that text begins."""

    value: Any
    text: str
    start: int


def skip_blank(text: str, at: int) -> int:
    """The position of the next character that is not JSON white space."""
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def values(text: str) -> Iterator[Slice]:
    """The JSON values of a text one after another: one document, or one a line."""
    at = skip_blank(text, 0)
    while at < len(text):
        value, end = _decode(text, at)
        yield Slice(value, text[at:end], at)
        at = skip_blank(text, end)


def elements(text: str, start: int = 0) -> Iterator[Slice]:
    """The elements of the JSON array that begins at `start`."""
    at = skip_blank(text, start + 1)
    while text[at] != "]":
        value, end = _decode(text, at)
        yield Slice(value, text[at:end], at)
        at = skip_blank(text, end)
        if text[at] == ",":
            at = skip_blank(text, at + 1)


def members(text: str, start: int = 0) -> dict[str, Slice]:
    """The members of the JSON object that begins at `start`, in the order written."""
    found: dict[str, Slice] = {}
    at = skip_blank(text, start + 1)
    while text[at] != "}":
        name, at = _decode(text, at)
        at = skip_blank(text, skip_blank(text, at) + 1)
        value, end = _decode(text, at)
        found[name] = Slice(value, text[at:end], at)
        at = skip_blank(text, end)
        if text[at] == ",":
            at = skip_blank(text, at + 1)
    return found


def dump(value: object) -> str:
    """A value as the API writes it: in one line and without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def edited(text: str, changes: dict[str, object], drop: str | None = None) -> str:
    """An object's text with some members set or dropped; all others stay as written."""
    parts = {name: part.text for name, part in members(text).items() if name != drop}
    parts.update((name, dump(value)) for name, value in changes.items())
    return "{" + ",".join(f"{dump(name)}:{part}" for name, part in parts.items()) + "}"
