"""Small rules about text: durations, names that nearly match, URLs and controls made safe."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")

#: C0, DEL, C1, line separators, the marks that turn writing direction, lone surrogates:
#: what could move a cursor, fake a line or break an encoder.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_QUERY_SECRET = re.compile(
    r"((?:^|&)[^=&]*(?:password|passwd|secret|token|key)=)[^&]*", re.IGNORECASE
)


def duration(text: str) -> float:
    """Seconds of a duration such as `90s`, `15m`, `2h`, `1d`. ValueError says what would fit."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else math.inf
    if not math.isfinite(seconds):
        raise ValueError("a duration is a number and a unit, as 90s, 15m, 2h or 1d")
    return seconds


def escaped(text: str, *, keep: str = "") -> str:
    r"""Text with every control character but those in `keep` written out, as `\x1b`."""

    def written(found: re.Match[str]) -> str:
        char = found[0]
        if char in keep:
            return char
        code = ord(char)
        return _SHORT.get(char) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return _CONTROLS.sub(written, text)


def has_controls(text: str) -> bool:
    """Whether the text holds a character that `escaped` would write out."""
    return _CONTROLS.search(text) is not None


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` for the known name most like this word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def mask_url(url: str) -> str:
    """The URL with its password, and what looks like one in its query, as `***`."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    head, question, query = rest.partition("?")
    if "@" not in head and "@" in query:
        # An unescaped `?` inside the password: better too much hidden than a part shown.
        head, question, query = rest, "", ""
    login, at, place = head.rpartition("@")
    user, colon, _ = login.partition(":")
    if colon:
        head = f"{user}:***{at}{place}"
    query = _QUERY_SECRET.sub(r"\1***", query)
    return f"{scheme}://{head}{question}{query}"
