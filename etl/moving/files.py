"""A mirror written as files, from which `etl.moving.taking` makes the same mirror again.

A directory with `manifest.json` and, for each table, its rows as JSON Lines, packed with gzip. A
line is `{"digest": …, "row": {column: value, …}}`, in the order of the keys; values are those of
`etl.moving.values`.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

import etl
from etl.db import copies, migrate
from etl.errors import UsageError
from etl.moving.reading import Progress, Snapshot, identity, snapshot
from etl.moving.values import Row, Shape, Sum, row_digest, shapes

MANIFEST = "manifest.json"
#: What a manifest says of itself, and which shape of files this version writes and reads.
FORMAT, FORMAT_VERSION = "ftmirror ledger", 1
#: Hexadecimal digits of a row's digest that stand in its line: enough to find one that was edited.
LINE_DIGEST = 16
#: More makes the files a tenth smaller, and takes twice as long.
_LEVEL = 4

_encode = msgspec.json.Encoder().encode


def write(engine: Engine, directory: Path, *, progress: Progress) -> dict[str, Any]:
    """Write the whole mirror, as it is at this moment, into a new directory; its manifest.

    Nobody has to wait meanwhile, and the right to look is enough. The directory is there when all
    of it is written, and not before. `progress` is called with a table's name, how many of its rows
    are written, and how many it has.

    Raises UsageError for a directory that is there and not empty, SchemaOutOfDate, StoreError, and
    OSError where the disk does not take it.
    """
    migrate.require_current(engine)
    copies.require_whole(engine)
    with _appearing(directory) as hidden, snapshot(engine) as mirror:
        tables = {}
        for shape in shapes():
            rows = _write_table(mirror, shape, hidden / file_of(shape), progress)
            tables[shape.name] = {
                "file": file_of(shape),
                "rows": rows.rows,
                "digest": rows.digest,
            }
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "ftmirror": etl.__version__,
            "schema": migrate.head(),
            "mirror": identity(mirror),
            "written_at": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
            "tables": tables,
        }
        manifest["digest"] = digest_of(manifest)
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        with _private(hidden / MANIFEST) as file:
            file.write(f"{text}\n".encode())
    return manifest


def file_of(shape: Shape) -> str:
    """The name of a table's file."""
    return f"{shape.name}.jsonl.gz"


def digest_of(manifest: dict[str, Any]) -> str:
    """32 hexadecimal digits over all that a manifest says but them."""
    said = {name: value for name, value in manifest.items() if name != "digest"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _write_table(mirror: Snapshot, shape: Shape, path: Path, progress: Progress) -> Sum:
    total, of = Sum(), mirror.rows(shape)
    with (
        _private(path) as file,
        gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
    ):
        for rows in mirror.pages(shape, None):
            total.add(rows)
            packed.write(b"".join([_line(shape, row) for row in rows]))
            progress(shape.name, total.rows, of)
    return total


def _line(shape: Shape, row: Row) -> bytes:
    digest = row_digest(row).hex()[:LINE_DIGEST]
    return _encode({"digest": digest, "row": dict(zip(shape.names, row, strict=True))}) + b"\n"


@contextmanager
def _private(path: Path) -> Iterator[Any]:
    """A new file for its owner alone, on the disk when the block ends."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    with open(path, "xb", opener=opener) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _appearing(directory: Path) -> Iterator[Path]:
    """A hidden directory beside it that takes its name when the block ends well."""
    _require_new(directory)
    parent = directory.absolute().parent
    hidden = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=parent))
    try:
        yield hidden
        _require_new(directory)
        hidden.rename(directory)
        _sync(parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _sync(directory: Path) -> None:
    """The name, too, is on the disk."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _require_new(directory: Path) -> None:
    if not directory.absolute().parent.is_dir():
        raise UsageError(f"{directory}: there is no directory {directory.absolute().parent}")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise UsageError(f"{directory} is there already; name a new directory")
