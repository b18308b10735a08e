"""Import: the same pipe, fed from saved JSON and JSONL."""

from __future__ import annotations

import gzip
import io
import itertools
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from sqlalchemy import Engine

from etl import jsontext
from etl.batch import Refusal, read
from etl.db.runs import Tally
from etl.db.store import utc_now
from etl.errors import UsageError
from etl.pipe import Chunk, Progress, RunResult, SourceResult, run
from etl.record import Origin, Record
from etl.resource import Resource

log = logging.getLogger(__name__)

#: Objects of the same API that are no jobs; this version has no tables for them.
NOT_MIRRORED = frozenset(
    {
        "fine_tuning.job.event",
        "fine_tuning.job.checkpoint",
        "checkpoint.permission",
        "file",
        "bucket",
        "organization.costs.result",
        "organization.project",
    }
)
#: The kind of an object that does not say, or says something unknown.
DEFAULT = "jobs"
CHUNK = 500

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Order:
    """What an import is asked to do."""

    #: `-` is standard input.
    files: Sequence[str]
    origin: Origin
    resources: Mapping[str, Resource]
    #: Take every object for this kind, whatever it says of itself.
    resource: str | None = None
    #: When the API said all this; None where nobody knows.
    observed_at: datetime | None = None


class _Head(msgspec.Struct):
    object: Any = None


_head = msgspec.json.Decoder(_Head)


def import_files(
    engine: Engine,
    order: Order,
    progress: Progress,
    *,
    stdin: IO[bytes] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> RunResult:
    """Mirror what saved files hold; a record is never moved back in time.

    Raises UsageError for a file that cannot be read as JSON (what came before it is imported),
    LeaseHeld where another writer is at work, StoreError where the database fails.
    """
    for name in order.files:
        require_file(name)
    with run(engine, "import", "import", progress, now) as current:
        source = SourceResult(order.origin.source)
        current.result.sources.append(source)
        waiting: dict[str, list[Record | Refusal]] = {}
        tallies: dict[str, Tally] = {}

        def flush(kind: str) -> None:
            if kind not in tallies:
                tallies[kind] = Tally(source.name, kind, now(), is_whole=False)
                source.tallies.append(tallies[kind])
            items = waiting.pop(kind, [])
            current.feed(order.resources[kind], [Chunk(items)], tallies[kind], importing=True)

        try:
            for name in order.files:
                for place, text in _texts(name, stdin):
                    kind, item = _item(text, order)
                    if isinstance(item, Refusal):
                        item = replace(item, reason=f"{place}: {item.reason}")
                    waiting.setdefault(kind, []).append(item)
                    if len(waiting[kind]) >= CHUNK:
                        flush(kind)
        finally:
            for kind in list(waiting) or [order.resource or DEFAULT]:
                flush(kind)
    return current.result


def require_file(name: str) -> None:
    """Raise UsageError for what cannot be read as a file; a pipe can."""
    if name == "-":
        return
    if Path(name).is_dir():
        raise UsageError(f"{name}: is a directory")
    if not Path(name).exists():
        raise UsageError(f"{name}: no such file")


def _item(text: bytes, order: Order) -> tuple[str, Record | Refusal]:
    """The kind of an object, and the record it is."""
    named = {resource.object: name for name, resource in order.resources.items()}
    try:
        said = _head.decode(text).object
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    kind = order.resource or (named.get(said, DEFAULT) if isinstance(said, str) else DEFAULT)
    is_other = isinstance(said, str) and said in NOT_MIRRORED - named.keys()
    if order.resource is None and is_other:
        return kind, Refusal(text, f"a {said} is not mirrored by this version")
    return kind, read(order.resources[kind], text, order.origin, order.observed_at)


def _texts(name: str, stdin: IO[bytes] | None) -> Iterator[tuple[str, bytes]]:
    """The objects of a file, each as its exact text, with the place a person finds it at."""
    shown = "standard input" if name == "-" else name
    with _opened(name, stdin) as stream:
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
def _opened(name: str, stdin: IO[bytes] | None) -> Iterator[IO[bytes]]:
    """A file as bytes, unpacked where it is gzip."""
    try:
        raw = _stdin(stdin) if name == "-" else Path(name).open("rb")  # noqa: SIM115 - just below
        with raw:
            if raw.peek(2)[:2] == _GZIP:
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name}: {error}") from None
