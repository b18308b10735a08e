"""A mirror written as files, from which `etl.moving.taking` makes the same mirror again.

A directory with `manifest.json` and, for each table, its rows as JSON Lines, packed with gzip. A
line is `{"digest": …, "row": {column: value, …}}`, in the order of the keys; values are those of
`etl.moving.values`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from etl import folder
from etl.db import copies, migrate
from etl.moving.reading import Progress, Snapshot, identity, snapshot
from etl.moving.values import Row, Shape, Sum, row_digest, shapes

#: What a manifest says of itself, and which shape of files this version writes and reads.
FORMAT, FORMAT_VERSION = folder.LEDGER, 1
#: Hexadecimal digits of a row's digest that stand in its line: enough to find one that was edited.
LINE_DIGEST = 16
#: More makes the files a tenth smaller, and takes twice as long.
_LEVEL = 4

_encode = msgspec.json.Encoder().encode


def write(engine: Engine, directory: Path, *, progress: Progress) -> dict[str, Any]:
    """Write the whole mirror, as it is at this moment, into a directory; its manifest.

    Nobody has to wait meanwhile, and the right to look is enough. The directory is there when all
    of it is written, and not before. `progress` is called with a table's name, how many of its rows
    are written, and how many it has.

    Raises UsageError where anything is in the directory, SchemaOutOfDate, StoreError, and EtlError
    where the disk does not take it.
    """
    migrate.require_current(engine)
    copies.require_whole(engine)
    with folder.made(directory, FORMAT) as into, snapshot(engine) as mirror:
        manifest: dict[str, Any] = {
            **folder.head(FORMAT, migrate.head()),
            "format_version": FORMAT_VERSION,
            "mirror": identity(mirror),
            "tables": [_write_table(mirror, shape, into, progress) for shape in shapes()],
        }
        manifest["digest"] = digest_of(manifest)
        folder.save(into, manifest)
    return manifest


def file_of(shape: Shape) -> str:
    """The name of a table's file."""
    return f"{shape.name}.jsonl.gz"


def digest_of(manifest: dict[str, Any]) -> str:
    """32 hexadecimal digits over all that a manifest says but them."""
    said = {name: value for name, value in manifest.items() if name != "digest"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _write_table(mirror: Snapshot, shape: Shape, into: Path, progress: Progress) -> dict[str, Any]:
    """Write a table's file; what the manifest says of it."""
    total, of = Sum(), mirror.rows(shape)
    with (
        _private(into / file_of(shape)) as file,
        gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
    ):
        for rows in mirror.pages(shape, None):
            total.add(rows)
            packed.write(b"".join([_line(shape, row) for row in rows]))
            progress(shape.name, total.rows, of)
    written = folder.described(into, file_of(shape), total.rows)
    return {
        "name": shape.name,
        "rows": total.rows,
        "bytes": written["bytes"],
        "digest": total.digest,
        "files": [written],
    }


def _line(shape: Shape, row: Row) -> bytes:
    digest = row_digest(row).hex()[:LINE_DIGEST]
    return _encode({"digest": digest, "row": dict(zip(shape.names, row, strict=True))}) + b"\n"


@contextmanager
def _private(path: Path) -> Iterator[Any]:
    """A new file for its owner alone."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    with open(path, "xb", opener=opener) as file:
        yield file
