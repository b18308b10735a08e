"""What the body of a failed answer says, in whichever of the common forms it says it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from etl.jsontext import NotJson, decode, literal

# Deeper nesting of errors in errors is nobody's message.
_DEEPEST = 5


@dataclass(frozen=True)
class Problem:
    """The parts of a failed answer that people can use. Not yet masked: made by a server."""

    #: What the server says; the title of an HTML page; empty where nothing is said.
    message: str = ""
    #: `error.code`, as text also where it came as a number.
    code: str | None = None
    #: `error.type`.
    type: str | None = None
    #: True for an HTML page, which no API sends: it comes from something in between.
    is_page: bool = False


def read_problem(body: bytes) -> Problem:
    """Read an error body: OpenAI's `error`, a plain `error`, `detail`, problem+json, HTML, text."""
    try:
        return _said(decode(body))
    except NotJson:
        text = body.decode(errors="replace").strip()
    if text.startswith("<"):
        title = re.search(r"<(title|h1)\b[^>]*>(.*?)</\1", text, re.DOTALL | re.IGNORECASE)
        return Problem(html.unescape(title[2]) if title else "", is_page=True)
    return Problem(text)


def _said(value: Any, depth: int = 0) -> Problem:
    if isinstance(value, str):
        return Problem(value)
    if isinstance(value, list):
        return _said(value[0], depth + 1) if value and depth < _DEEPEST else Problem()
    if not isinstance(value, dict) or depth > _DEEPEST:
        return Problem()
    code, kind = _code(value.get("code")), _code(value.get("type"))
    # An object says more than a text beside it: {"error": {…}, "message": "failed"}.
    for name in ("error", "errors", "detail"):
        if isinstance(value.get(name), dict | list):
            inner = _said(value[name], depth + 1)
            if inner.message or inner.code:
                return Problem(inner.message, inner.code or code, inner.type or kind)
    for name in ("message", "error_description", "detail", "msg", "title", "error"):
        if isinstance(value.get(name), str) and value[name]:
            return Problem(value[name], code, kind)
    return Problem("", code, kind)


def _code(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return literal(value)
    return None
