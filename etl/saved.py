"""Saved files of JSON and JSONL: the objects in them, and how many of their bytes were read."""

from __future__ import annotations

import gzip
import io
import itertools
import logging
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from etl import jsontext
from etl.errors import UsageError

log = logging.getLogger(__name__)

_GZIP = b"\x1f\x8b"


class Extent:
    """The bytes of some files as they lie on the disk, and how many of them were read."""

    def __init__(self, names: Sequence[str] = ("-",)) -> None:
        #: None where a pipe is among them, of which nobody knows the end.
        self.total: int | None = None
        paths = [Path(name) for name in names]
        if all(name != "-" for name in names) and all(path.is_file() for path in paths):
            self.total = sum(path.stat().st_size for path in paths)
        self._before = 0
        self._stream: IO[bytes] | None = None

    @property
    def done(self) -> int:
        """Bytes that were read so far."""
        return self._before + (0 if self._stream is None else self._stream.tell())

    @contextmanager
    def reading(self, stream: IO[bytes]) -> Iterator[None]:
        """Count what is read of this file."""
        if self.total is None:
            yield
            return
        self._stream = stream
        try:
            yield
        finally:
            self._before, self._stream = self.done, None


def require_file(name: str) -> None:
    """Raise UsageError for what cannot be read as a file; a pipe can."""
    if name == "-":
        return
    if Path(name).is_dir():
        raise UsageError(f"{name}: is a directory")
    if not Path(name).exists():
        raise UsageError(f"{name}: no such file")


def texts(
    name: str, stdin: IO[bytes] | None, extent: Extent | None = None
) -> Iterator[tuple[str, bytes]]:
    """The objects of a file, each as its exact text, with the place a person finds it at.

    Raises UsageError for a file that cannot be read as JSON.
    """
    shown = "standard input" if name == "-" else name
    with _opened(name, stdin, extent or Extent()) as stream:
        began, first = _first_line(stream)
        text = first.removeprefix(jsontext.BOM).strip()
        if not text:
            log.warning("%s: nothing in it", shown)
            return
        if text[:1] not in (b"{", b"["):
            raise UsageError(f"{name}: neither JSON nor JSONL, it begins with {text[:20]!r}")
        if jsontext.value_end(text) == len(text):
            for number, line in enumerate(itertools.chain([text], stream), began):
                if line.strip():
                    for value in _values(line.strip()):
                        yield f"{shown}, line {number}", value
        else:
            whole = (first + stream.read()).removeprefix(jsontext.BOM).strip()
            if jsontext.value_end(whole) != len(whole):
                raise UsageError(
                    f"{name}: neither one JSON value nor JSONL: the first value ends neither with "
                    "its line nor with the file"
                )
            for index, value in enumerate(_values(whole), 1):
                yield f"{shown}, object {index}", value


def _values(text: bytes) -> Iterator[bytes]:
    """The objects in one JSON text: itself, its items, or the items of a list response.

    What cannot be cut up goes on as it is, to be quarantined with its reason.
    """
    try:
        if text.startswith(b"["):
            found = jsontext.split_array(text)
        elif _is_list(text):
            found = jsontext.split_list(text).items
        else:
            found = [text]
    except (jsontext.NotJson, jsontext.WrongShape):
        found = [text]
    yield from found


def _is_list(text: bytes) -> bool:
    """Is this a list response, and no record? Records have an `id`, lists have `data`."""
    try:
        page = jsontext.split_list(text)
    except (jsontext.NotJson, jsontext.WrongShape):
        return False
    return page.has_more is not None or jsontext.item_id(text) is None


def _first_line(stream: IO[bytes]) -> tuple[int, bytes]:
    """The first line with something in it, and its number."""
    for number, line in enumerate(stream, 1):
        if line.removeprefix(jsontext.BOM).strip():
            return number, line
    return 0, b""


def _stdin(stdin: IO[bytes] | None) -> io.BufferedReader:
    return io.BufferedReader(cast("io.RawIOBase", stdin or sys.stdin.buffer))


@contextmanager
def _opened(name: str, stdin: IO[bytes] | None, extent: Extent) -> Iterator[IO[bytes]]:
    """A file as bytes, unpacked where it is gzip."""
    try:
        raw = _stdin(stdin) if name == "-" else Path(name).open("rb")  # noqa: SIM115 - just below
        with raw, extent.reading(raw):
            if raw.peek(2)[:2] == _GZIP:
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name}: {error}") from None
