"""A mirror made again from the files that `etl.moving.files` wrote."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from sqlalchemy import Engine

from etl.db import migrate
from etl.errors import UsageError
from etl.folder import MANIFEST
from etl.moving import reading
from etl.moving.copying import Moved, receive
from etl.moving.files import (
    FORMAT,
    FORMAT_VERSION,
    LINE_DIGEST,
    digest_of,
    file_of,
)
from etl.moving.reading import Progress
from etl.moving.values import Key, Row, Shape, Sum, row_digest, shapes


class _Line(msgspec.Struct):
    digest: str
    row: dict[str, Any]


class _Head(msgspec.Struct):
    """What a manifest says in every version."""

    version: str
    schema_revision: str
    format_version: int


class _Table(msgspec.Struct):
    name: str
    rows: Annotated[int, msgspec.Meta(ge=0)]
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class _Body(msgspec.Struct):
    """What this version's manifests say of the mirror."""

    mirror: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    tables: list[_Table]


_decode = msgspec.json.Decoder(_Line).decode


def take(engine: Engine, directory: Path, progress: Progress, *, wait: float = 0.0) -> Moved:
    """Make the mirror that is written in a directory, in a database that holds none yet.

    Every line is read and held against the manifest before the first is believed. An import that
    was cut goes on where it stood.
    Raises UsageError for files that are not as they were written, naming file and line, and for a
    database that holds another mirror; LeaseHeld; StoreError.
    """
    export = Export(directory)
    export.check(progress)
    return receive(engine, export, "import", progress, wait=wait)


class Export:
    """A directory of files, as `etl.moving.copying` takes a mirror from it.

    Raises UsageError for one without a manifest that this version reads, or without a table's file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = _manifest(directory)
        self.identity: str = self._manifest["mirror"]
        self._tables = {one["name"]: one for one in self._manifest["tables"]}
        #: Files that are the same hold the same.
        self.state: str = self._manifest["digest"]
        for shape in shapes():
            _require_file(directory / file_of(shape))

    def is_as(self, state: str) -> bool:
        """Are these the files that were read then?"""
        return state == self.state

    def rows(self, shape: Shape) -> int | None:
        """How many rows a table has."""
        return int(self._table(shape)["rows"])

    def sums(self, progress: Progress) -> dict[str, Sum]:  # noqa: ARG002 - nothing is read here
        """Rows and digest of each table, to which every file was held."""
        return {
            shape.name: Sum(self._table(shape)["rows"], int(self._table(shape)["digest"], 16))
            for shape in shapes()
        }

    def pages(self, shape: Shape, after: Key | None) -> Iterator[list[Row]]:
        """A table's rows behind a key, in the order of their keys."""
        rows: list[Row] = []
        size = 0
        for row, length in self._lines(shape):
            if after is not None and shape.key(row) <= after:
                continue
            rows.append(row)
            size += length
            if len(rows) >= reading.MOST_ROWS or size >= reading.MOST_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def check(self, progress: Progress) -> None:
        """Read all of it. Raises UsageError for the first thing that is not as it was written."""
        for shape in shapes():
            total = Sum()
            for rows in self.pages(shape, None):
                total.add(rows)
                progress(f"checking the files, {shape.name}", total.rows, self.rows(shape))
            path, said = self._directory / file_of(shape), self._table(shape)
            if total.rows != said["rows"]:
                raise UsageError(
                    f"{path} ends after line {total.rows}; the manifest says {said['rows']} rows: "
                    "it was cut. Take the whole of it from where the export was made"
                )
            if total.digest != said["digest"]:
                raise UsageError(f"{path} is not what was written there: its digest is another")

    def _table(self, shape: Shape) -> dict[str, Any]:
        found: dict[str, Any] = self._tables[shape.name]
        return found

    def _lines(self, shape: Shape) -> Iterator[tuple[Row, int]]:
        """Each row, and the bytes of its line."""
        path = self._directory / file_of(shape)
        number = 0
        before: Key | None = None
        try:
            with gzip.open(path) as lines:
                for number, line in enumerate(lines, 1):
                    row = _row(shape, line, f"{path}, line {number}")
                    key = shape.key(row)
                    if before is not None and key <= before:
                        raise UsageError(f"{path}, line {number}: it is out of order")
                    before = key
                    yield row, len(line)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UsageError(
                f"{path}, after line {number}: it is cut or damaged ({error}). Take the whole of "
                "it from where the export was made"
            ) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None


def _require_file(path: Path) -> None:
    try:
        path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _row(shape: Shape, line: bytes, place: str) -> Row:
    try:
        said = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{place}: it is not what was written there: {error}") from None
    if tuple(said.row) != shape.names:
        raise UsageError(f"{place}: its columns are not those of {shape.name}")
    row = list(said.row.values())
    try:
        digest = row_digest(row).hex()[:LINE_DIGEST]
    except (TypeError, ValueError, OverflowError):
        digest = ""
    if digest != said.digest:
        raise UsageError(f"{place}: it is not what was written there; somebody edited it")
    return row


def _manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{directory} holds no {MANIFEST}, so it is no ledger export; to import other files, "
            "name them one by one"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"{path} is no manifest of a ledger export")
    if found.get("digest") != digest_of(found):
        raise UsageError(f"{path} is not what was written there: its digest is another")
    _require_readable(path, found)
    return found


def _require_readable(path: Path, found: dict[str, Any]) -> None:
    try:
        head = msgspec.convert(found, _Head)
        _require_this_version(path, head)
        body = msgspec.convert(found, _Body)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is no manifest of a ledger export: {error}") from None
    names = {one.name for one in body.tables}
    lacking = [shape.name for shape in shapes() if shape.name not in names]
    if lacking:
        raise UsageError(f"{path} does not name the tables {', '.join(lacking)}")


def _require_this_version(path: Path, head: _Head) -> None:
    if head.format_version != FORMAT_VERSION or head.schema_revision != migrate.head():
        raise UsageError(
            f"{path} is of ftmirror {head.version}, schema {head.schema_revision}; this version "
            f"reads schema {migrate.head()}. Import it with that version, then run "
            "`ftmirror db upgrade` with the newer one"
        )
