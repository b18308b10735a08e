"""One export: what was asked for, as files in a directory with a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from etl import folder
from etl.db import migrate
from etl.errors import UsageError
from etl.export import choosing, focus, parquet_files, reading, relations, text_files
from etl.export.kinds import Kind
from etl.export.reading import Row
from etl.export.text_files import Written

#: What can be asked for.
FORMATS = ("parquet", "delta", "csv", "jsonl", "focus", "focus-parquet")
#: What of the extra `lake` a format needs.
_NEEDS = {"parquet": ("pyarrow",), "delta": ("pyarrow", "deltalake"), "focus-parquet": ("pyarrow",)}

#: Called with a table's name, its rows so far, and of how many: None, which nobody counts.
Step = Callable[[str, int, int | None], None]
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
    step: Step = lambda _name, _rows, _of: None,
) -> dict[str, Any]:
    """Write the files, all or none of them; the manifest, which is in the directory too.

    Raises UsageError for what cannot be asked for, EtlError where it cannot be written, StoreError
    where it cannot be read.
    """
    parquet_files.require(*_NEEDS.get(wanted.format, ()))
    write = _focus if wanted.format.startswith("focus") else partial(_tables, directory=directory)
    with folder.made(directory, wanted.format) as into:
        head = folder.head(wanted.format, migrate.head(), wanted.since)
        manifest = {**head, **write(engine, into, wanted, step)}
        folder.save(into, manifest)
    return manifest


# What is in it


def _tables(
    engine: Engine, into: Path, wanted: Wanted, step: Step, *, directory: Path
) -> dict[str, Any]:
    found = []
    with reading.snapshot(engine) as connection:
        chosen = choosing.chosen(relations.known(connection), wanted.tables)
        folder.require_tables(directory, {one.name for one in chosen})
        for one in chosen:
            relation = one.relation
            write = _writer(wanted, is_parted=relation.time is not None)
            # Closed before the connection is, whatever becomes of the files.
            with closing(reading.rows(connection, one, wanted.since)) as batches:
                of = reading.count(connection, one, wanted.since)
                files = write(into, one.name, one.columns, _told(batches, one.name, step, of))
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


def _told(
    batches: Iterator[list[Row]], name: str, step: Step, of: int | None = None
) -> Iterator[list[Row]]:
    count = 0
    for batch in batches:
        yield batch
        count += len(batch)
        step(name, count, of)


# The manifest


def _entry(
    into: Path, name: str, kind: str, columns: Mapping[str, Kind], files: Sequence[Written]
) -> dict[str, Any]:
    described = [
        folder.described(into, one.path, one.rows) for one in files if (into / one.path).is_file()
    ]
    return {
        "name": name,
        "kind": kind,
        "rows": sum(one.rows for one in files),
        "bytes": sum(one["bytes"] for one in described),
        "columns": [{"name": column, "type": str(of)} for column, of in columns.items()],
        "files": described,
    }
