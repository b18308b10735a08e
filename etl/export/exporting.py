"""One export: what was asked for, as files in a directory with a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

import etl
from etl.db import migrate
from etl.errors import EtlError, UsageError
from etl.export import choosing, focus, folder, parquet_files, reading, relations, text_files
from etl.export.kinds import Kind
from etl.export.reading import Row
from etl.export.text_files import Written, moment

#: What can be asked for, with the file formats behind it; the ledger is somebody else's.
FORMATS = ("parquet", "delta", "csv", "jsonl", "focus", "focus-parquet", "ledger")
#: What of the extra `lake` a format needs.
_NEEDS = {"parquet": ("pyarrow",), "delta": ("pyarrow", "deltalake"), "focus-parquet": ("pyarrow",)}

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

#: Called with a table's name and its rows so far.
Step = Callable[[str, int], None]
#: Writes the ledger into a directory, and says what a manifest should.
WritesLedger = Callable[[Engine, Path], dict[str, Any]]
_Writer = Callable[[Path, str, Mapping[str, Kind], Iterable[list[Row]]], list[Written]]


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for."""

    format: str
    #: As `jobs` or `jobs:id,status`; none for all that is usual.
    tables: Sequence[str] = ()
    since: datetime | None = None
    #: CSV without the apostrophe before what looks like a formula.
    raw_text: bool = False


def export(
    engine: Engine,
    directory: Path,
    wanted: Wanted,
    *,
    step: Step = lambda _name, _rows: None,
    write_ledger: WritesLedger | None = None,
) -> dict[str, Any]:
    """Write the files, all or none of them; the manifest, which is in the directory too.

    Raises UsageError for what cannot be asked for, EtlError where it cannot be written, StoreError
    where it cannot be read.
    """
    parquet_files.require(*_NEEDS.get(wanted.format, ()))
    with _plain_errors(directory), folder.made(directory) as into:
        taken_at = datetime.now(UTC)
        if write_ledger is not None:
            found = _ledger(engine, into, write_ledger)
        elif wanted.format.startswith("focus"):
            found = _focus(engine, into, wanted, step)
        else:
            found = _tables(engine, into, wanted, step)
        manifest = {**_head(wanted, taken_at), **found}
        _save(into / folder.MANIFEST, manifest)
    return manifest


def _head(wanted: Wanted, taken_at: datetime) -> dict[str, Any]:
    return {
        "made_by": folder.MADE_BY,
        "version": etl.__version__,
        "schema_revision": migrate.head(),
        "format": wanted.format,
        "taken_at": moment(taken_at.replace(microsecond=0)),
        "since": None if wanted.since is None else moment(wanted.since.replace(microsecond=0)),
    }


# What is in it


def _tables(engine: Engine, into: Path, wanted: Wanted, step: Step) -> dict[str, Any]:
    found = []
    with reading.snapshot(engine) as connection:
        for one in choosing.chosen(relations.known(connection), wanted.tables):
            relation = one.relation
            write = _writer(wanted, is_parted=relation.time is not None)
            # Closed before the connection is, whatever becomes of the files.
            with closing(reading.rows(connection, one, wanted.since)) as batches:
                files = write(into, one.name, one.columns, _told(batches, one.name, step))
            entry = _entry(into, one.name, relation.kind, one.columns, files)
            since = relation.time or ("jobs.created_at" if relation.is_of_a_job else None)
            found.append({**entry, "time": relation.time, "since": wanted.since and since})
    return {"tables": found}


def _focus(engine: Engine, into: Path, wanted: Wanted, step: Step) -> dict[str, Any]:
    if wanted.tables:
        raise UsageError(f"--format {wanted.format} has one table of its own; leave --table out")
    left_out: Counter[str] = Counter()
    with reading.snapshot(engine) as connection:
        write = _writer(wanted, is_parted=True)
        with closing(focus.rows(connection, wanted.since, left_out)) as batches:
            files = write(into, focus.NAME, focus.COLUMNS, _told(batches, focus.NAME, step))
    entry = _entry(into, focus.NAME, "view", focus.COLUMNS, files)
    since = wanted.since and "job_costs.spent_at"
    return {
        "focus_version": "1.2",
        "tables": [{**entry, "time": "ChargePeriodStart", "since": since}],
        "left_out_jobs": dict(sorted(left_out.items())),
    }


def _ledger(engine: Engine, into: Path, write_ledger: WritesLedger) -> dict[str, Any]:
    said = write_ledger(engine, into)
    files = [
        Written(path.relative_to(into).as_posix(), 0)
        for path in sorted(into.rglob("*"))
        if path.is_file() and path.name != folder.MANIFEST
    ]
    return {**said, "tables": [_entry(into, "ledger", "ledger", {}, files)]}


def _writer(wanted: Wanted, *, is_parted: bool) -> _Writer:
    writers: dict[str, _Writer] = {
        "csv": partial(text_files.csv, raw_text=wanted.raw_text),
        "focus": partial(text_files.csv, raw_text=wanted.raw_text),
        "jsonl": text_files.jsonl,
        "parquet": partial(parquet_files.parquet, is_parted=is_parted),
        "focus-parquet": partial(parquet_files.parquet, is_parted=is_parted),
        "delta": partial(parquet_files.delta, is_parted=is_parted),
    }
    return writers[wanted.format]


def _told(batches: Iterator[list[Row]], name: str, step: Step) -> Iterator[list[Row]]:
    count = 0
    for batch in batches:
        yield batch
        count += len(batch)
        step(name, count)


# The manifest


def _entry(
    into: Path, name: str, kind: str, columns: Mapping[str, Kind], files: Sequence[Written]
) -> dict[str, Any]:
    described = [_file(into, one) for one in files if (into / one.path).is_file()]
    return {
        "name": name,
        "kind": kind,
        "rows": sum(one.rows for one in files),
        "bytes": sum(one["bytes"] for one in described),
        "columns": [{"name": column, "type": str(of)} for column, of in columns.items()],
        "files": described,
    }


def _file(into: Path, written: Written) -> dict[str, Any]:
    """A file with its digest, when it is on the disk for good."""
    path = into / written.path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    size = path.stat().st_size
    return {"path": written.path, "rows": written.rows, "bytes": size, "sha256": digest}


def _save(path: Path, manifest: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


# What goes wrong


@contextmanager
def _plain_errors(directory: Path) -> Iterator[None]:
    """What the disk said as one sentence, with what to do."""
    try:
        yield
    except OSError as error:
        # What Delta's own library says comes in colours, and in several lines.
        said = error.strerror or " ".join(_COLOUR.sub("", str(error)).split())
        raise EtlError(
            f"the export to {directory} could not be written: {said}; nothing of it is left there. "
            "Make room or give the right to write there, or name another directory"
        ) from None


def total_rows(manifest: Mapping[str, Any]) -> int:
    """All rows of an export."""
    return sum(one["rows"] for one in manifest["tables"])
