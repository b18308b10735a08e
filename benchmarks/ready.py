"""Rows that are ready to be written, for the floor that does nothing but write."""

from __future__ import annotations

import marshal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from benchmarks.databases import engine_of, row_counts
from benchmarks.entrants import FTMIRROR

_BLOCK = 10_000


def upgrade(url: str) -> None:
    """Our tables, empty."""
    command = [str(FTMIRROR), "db", "upgrade", "--database-url", url]
    subprocess.run(command, check=True, capture_output=True)


def export(url: str, empty: str, folder: Path) -> None:
    """Leave in `folder` what our mirror at `url` holds and a new one at `empty` does not."""
    folder.mkdir()
    before = row_counts(empty)
    names = [name for name, rows in row_counts(url).items() if rows and not before.get(name)]
    if url.startswith("sqlite:"):
        _export_sqlite(str(make_url(url).database), names, folder)
    else:
        _export_postgresql(url, names, folder)


def _export_sqlite(path: str, names: list[str], folder: Path) -> None:
    connection = sqlite3.connect(path)
    for name in names:
        rows = connection.execute(f"SELECT * FROM {name}")
        with (folder / name).open("wb") as stream:
            marshal.dump(len(rows.description), stream)
            while block := rows.fetchmany(_BLOCK):
                marshal.dump(block, stream)
            marshal.dump([], stream)
    connection.close()


def _export_postgresql(url: str, names: list[str], folder: Path) -> None:
    engine = engine_of(url)
    connection: Any = engine.raw_connection()
    with connection.cursor() as cursor:
        for name in names:
            with (
                (folder / name).open("wb") as stream,
                cursor.copy(f"COPY {name} TO STDOUT") as copy,
            ):
                for block in copy:
                    stream.write(block)
    connection.close()
    engine.dispose()
