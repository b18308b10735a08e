"""What a result file's bytes are: a table as text, or as a whole in base64, or neither."""

from __future__ import annotations

import base64
import binascii
import csv
from typing import TypedDict

from etl import jsontext
from etl.errors import RecordError
from etl.fields import example


class _Style(TypedDict):
    delimiter: str
    skipinitialspace: bool
    strict: bool


DELIMITERS = (",", ";", "\t")
#: The name of the column that every result file has.
STEP = "step"

#: A first line that is longer, in bytes, is no header.
_LONGEST_HEADER = 1 << 16
#: A tab at the front is no white space here: it ends an empty first cell.
_SPACE = b" \r\n"


def table(payload: bytes) -> tuple[bytes, str]:
    """A result file's table, as UTF-8 from its header on, and its delimiter.

    Since 2024 OpenAI sends the table in base64 as a whole, older files and other servers' as they
    are. Raises RecordError for anything else.
    """
    text = _written(payload)
    delimiter = _delimiter(text)
    if delimiter is None:
        text = _written(_decoded(text))
        delimiter = _delimiter(text)
    if delimiter is None:
        raise RecordError(f"base64 of no table with a column `step`: {_looks(text)}")
    return text, delimiter


def _written(text: bytes) -> bytes:
    """The text from its first sign on. Where there is none, the answer may have been cut."""
    text = text.lstrip(_SPACE).removeprefix(jsontext.BOM).lstrip(_SPACE)
    if not text.strip():
        raise RecordError("the file is empty, without even a header")
    return text


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise RecordError(
            f"neither a table with a column `step` nor base64 of one: {_looks(text)}"
        ) from None


def _delimiter(text: bytes) -> str | None:
    """What stands between the cells of the header; None where the first line is no header."""
    head = text[:_LONGEST_HEADER].splitlines()
    if not head or len(head[0]) == _LONGEST_HEADER or head[0].startswith((b"{", b"[", b"<")):
        return None
    line = head[0].decode(errors="replace")
    for delimiter in DELIMITERS:
        try:
            cells = next(csv.reader([line], **style(delimiter)), [])
        except csv.Error:
            continue
        if any(is_step(cell) for cell in cells):
            return delimiter
    return None


def style(delimiter: str) -> _Style:
    """How the csv module reads a table: a quote out of place is an error, not a guess."""
    return {"delimiter": delimiter, "skipinitialspace": True, "strict": True}


def is_step(name: str) -> bool:
    """Is this the column of steps? However it is capitalised."""
    return name.strip().lower() == STEP


def _looks(text: bytes) -> str:
    if text.startswith((b"{", b"[")):
        return "it looks like JSON"
    if text.startswith(b"<"):
        return "it looks like HTML or XML"
    try:
        start = text[:400].decode()
    except UnicodeDecodeError as error:
        if error.start < 390:  # not just a character that was cut in two
            return "it is not UTF-8"
        start = text[: error.start].decode()
    return f"it begins with {example(start)[:40]!r}"
