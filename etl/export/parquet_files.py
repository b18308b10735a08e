"""Parquet: parted by month where rows have a time, and with a log of its own a Delta table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

from etl.errors import UsageError
from etl.export.kinds import Kind
from etl.export.reading import Row
from etl.export.text_files import Written

#: As Hive calls the part of rows whose month is not known; readers take it for NULL.
NO_MONTH = "__HIVE_DEFAULT_PARTITION__"
#: The column that the names of the parts stand for.
MONTH = "month"
#: Rows that readers skip or take together: a few megabytes, all that is held of a file.
_GROUP = 20_000


def require(*names: str) -> None:
    """Raise UsageError where one of these packages of the extra `lake` is not installed."""
    for name in names:
        _module(name)


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"this format needs {error.name}: pip install 'ftmirror[lake]'") from None


def _arrow() -> Any:
    _module("pyarrow.parquet")
    return _module("pyarrow")


def parquet(
    folder: Path,
    name: str,
    columns: Mapping[str, Kind],
    batches: Iterable[list[Row]],
    *,
    is_parted: bool,
) -> list[Written]:
    """Write `name.parquet`, or with a time behind each row `name/month=2026-03/part-0.parquet`.

    The rows come in the order of their time, so that one file is open at once.
    """
    if not is_parted:
        return [_file(folder, f"{name}.parquet", columns, _groups(batches))]
    found: list[Written] = []
    parts = groupby(_by_month(batches), key=lambda one: one[0])
    for month, same in parts:
        path = f"{name}/{MONTH}={month}/part-0.parquet"
        found.append(_file(folder, path, columns, _groups(rows for _, rows in same)))
    # Without a single row there is still a schema to be read.
    return found or [_file(folder, f"{name}/{MONTH}={NO_MONTH}/part-0.parquet", columns, [])]


def delta(
    folder: Path,
    name: str,
    columns: Mapping[str, Kind],
    batches: Iterable[list[Row]],
    *,
    is_parted: bool,
) -> list[Written]:
    """Write the same files, and beside them the log that makes a Delta table of them."""
    transaction = _module("deltalake.transaction")
    table = folder / name
    if is_parted:
        files = parquet(folder, name, columns, batches, is_parted=True)
        # An empty one would be a part in which nothing is.
        kept = [one for one in files if one.rows]
        for path in {one.path for one in files} - {one.path for one in kept}:
            (folder / path).unlink()
            (folder / path).parent.rmdir()
        files = kept
    else:
        files = [_file(folder, f"{name}/part-0.parquet", columns, _groups(batches))]
    pa = _arrow()
    fields = list(_schema(columns))
    if is_parted:
        fields.append(pa.field(MONTH, pa.string()))
    actions = [
        transaction.AddAction(
            path=one.path.removeprefix(f"{name}/"),
            size=(folder / one.path).stat().st_size,
            partition_values=_part_of(one.path) if is_parted else {},
            modification_time=int((folder / one.path).stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": one.rows}),
        )
        for one in files
    ]
    table.mkdir(exist_ok=True)
    transaction.create_table_with_add_actions(
        str(table),
        _module("deltalake").Schema.from_arrow(pa.schema(fields)),
        actions,
        partition_by=[MONTH] if is_parted else None,
    )
    log = sorted((table / "_delta_log").rglob("*"))
    return [*files, *(Written(path.relative_to(folder).as_posix(), 0) for path in log)]


def _part_of(path: str) -> dict[str, str | None]:
    month = path.split("/")[1].removeprefix(f"{MONTH}=")
    return {MONTH: None if month == NO_MONTH else month}


# Files


def _schema(columns: Mapping[str, Kind]) -> Any:
    pa = _arrow()
    types = {
        "text": pa.string(),
        "json": pa.string(),
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(
        [
            pa.field(
                name,
                pa.decimal128(kind.precision, kind.scale) if kind.precision else types[kind.name],
            )
            for name, kind in columns.items()
        ]
    )


def _file(
    folder: Path, path: str, columns: Mapping[str, Kind], groups: Iterable[list[Row]]
) -> Written:
    pa, schema, count = _arrow(), _schema(columns), 0
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    # A file of Python's, so that what goes wrong with it is an OSError with its number.
    with (
        (folder / path).open("wb") as file,
        pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for rows in groups:
            values = list(zip(*rows, strict=True))[: len(schema)]
            arrays = [pa.array(one, field.type) for one, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return Written(path, count)


def _by_month(batches: Iterable[list[Row]]) -> Iterator[tuple[str, list[Row]]]:
    """Batches cut where a month ends; behind each row stands its time."""
    for batch in batches:
        for month, rows in groupby(batch, key=lambda row: _month(row[-1])):
            yield month, list(rows)


def _month(time: datetime | None) -> str:
    return NO_MONTH if time is None else f"{time.year:04}-{time.month:02}"


def _groups(batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
    """The same rows, as many at once as a group of a file has."""
    held: list[Row] = []
    for batch in batches:
        held += batch
        if len(held) >= _GROUP:
            yield held
            held = []
    if held:
        yield held
