"""A floor: write rows that are ready, by the fastest plain way the database has, and no more.

    writing.py URL DATABASE first|again

The rows lie in `ready/` where it runs: one file a table, as ours stored them. SQLite takes them by
executemany, PostgreSQL by COPY; each in one transaction, into tables that are there.
"""

from __future__ import annotations

import marshal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import psycopg


def main(database: str) -> None:
    """Write every file of `ready/`."""
    files = sorted(Path("ready").iterdir())
    if database.startswith("sqlite:"):
        _insert(database.removeprefix("sqlite:///"), files)
    else:
        _copy(database, files)


def _insert(path: str, files: list[Path]) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=-65536")
    with connection:
        for file in files:
            with file.open("rb") as stream:
                width = marshal.load(stream)
                marks = ",".join("?" * width)
                connection.executemany(f"INSERT INTO {file.name} VALUES ({marks})", _rows(stream))
    connection.close()


def _rows(stream: BinaryIO) -> Iterator[Any]:
    while block := marshal.load(stream):
        yield from block


def _copy(url: str, files: list[Path]) -> None:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for file in files:
            with file.open("rb") as stream, cursor.copy(f"COPY {file.name} FROM STDIN") as copy:
                while block := stream.read(1 << 20):
                    copy.write(block)


if __name__ == "__main__":
    main(sys.argv[2])
