"""What a secret looks like: the forms in which a known one turns up again, the shapes of others."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

#: What stands where a secret was.
MASK = "***"

#: Characters of base64 below which a piece of a secret could be found in ordinary text.
_SHORTEST_BASE64 = 8

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


def unshaped(text: str) -> str:
    """The text without whatever has the shape of a key or of a password."""
    for shape, safe in _SHAPES:
        text = shape.sub(safe, text)
    return text


def finder(words: Iterable[str], shortest: int) -> re.Pattern[str]:
    """What finds these secrets in a text, in every form; those below `shortest` letters nowhere.

    The longest first: one secret may begin with another.
    """
    found = {form for word in words if len(word) >= shortest for form in forms(word)}
    return re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))) or r"(?!)")


@lru_cache(maxsize=256)
def forms(secret: str) -> frozenset[str]:
    """The secret as it is, and as URLs, JSON, HTML, Python and base64 spell it."""
    # A variable that is not UTF-8 comes with lone surrogates.
    given: dict[str, Any] = {"errors": "surrogatepass"}
    quoted = {quote(secret, **given), quote(secret, safe="", **given), quote_plus(secret, **given)}
    quoted |= {re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), one) for one in quoted}
    spelled = {json.dumps(secret)[1:-1], html.escape(secret), repr(secret)[1:-1]}
    return frozenset({secret} | quoted | spelled | _in_base64(secret))


def _in_base64(secret: str) -> set[str]:
    """What the base64 of every text that holds the secret must hold: it may begin at any byte."""
    found = set()
    raw = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        whole = b64encode(bytes(offset) + raw).decode()
        # A letter is six bits; those at the ends belong to the neighbours too.
        piece = whole[-(-8 * offset // 6) : 8 * (offset + len(raw)) // 6]
        if len(piece) >= _SHORTEST_BASE64:
            found |= {piece, piece.translate(_FOR_URLS)}
    return found


_FOR_URLS = str.maketrans("+/", "-_")
