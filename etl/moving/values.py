"""Rows in one form for every database and for files: what is equal here is equal everywhere.

A value is text, a whole number, a float, a bool or None. Times are ISO 8601 in UTC with a `Z`,
exact decimals are text with all their digits, JSON is the text as it was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Double, Table
from sqlalchemy.types import TypeEngine

from etl.db.tables import copies, line_item_patterns, metadata, prices, reader_roles
from etl.db.types import Exact, UtcDateTime
from etl.resources import discover

#: A row's values in the order of the table's columns.
Row = list[Any]
#: The values of the primary key. Compared as tuples they have the order that each database gives
#: them: text byte by byte, which is by code point, and times as text of one form.
Key = tuple[Any, ...]

#: What stays with its database: who may read the views there, and how far a copy into it came.
#: (Leases are in no metadata of ours that moves.)
STAYS = frozenset({copies.name, reader_roles.name})
#: The price book, which `db upgrade` writes: it moves, but makes no mirror.
BOOK = frozenset({prices.name, line_item_patterns.name})

_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Shape:
    """A table and how its rows are read and written."""

    table: Table
    names: tuple[str, ...]
    #: Where in a row the parts of its key stand.
    key_at: tuple[int, ...]

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    def key(self, row: Row) -> Key:
        """The key of a row."""
        return tuple([row[at] for at in self.key_at])

    def bound(self, key: Key) -> tuple[Any, ...]:
        """A key as SQLAlchemy's types take it."""
        columns = self.table.primary_key.columns
        return tuple(
            datetime.fromisoformat(value) if isinstance(column.type, UtcDateTime) else value
            for column, value in zip(columns, key, strict=True)
        )

    def read(self, rows: Iterable[Sequence[Any]]) -> list[Row]:
        """Rows as a driver gave them, in the one form."""
        found = [list(row) for row in rows]
        for at, reader in _readers(self.table):
            for row in found:
                if row[at] is not None:
                    row[at] = reader(row[at])
        return found

    def written(self, rows: Iterable[Row]) -> list[tuple[Any, ...]]:
        """Rows as `etl.db.bulk` takes them."""
        times = [at for at, column in enumerate(self.table.columns) if _is_time(column)]
        found = []
        for row in rows:
            values = list(row)
            for at in times:
                value = values[at]
                if value is not None:
                    values[at] = f"{value[:10]} {value[11:-1]}"
            found.append(tuple(values))
        return found


@dataclass
class Sum:
    """How many rows, and a digest of them all in which their order does not count."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Count these rows too."""
        for row in rows:
            self.rows += 1
            self.total += int.from_bytes(row_digest(row), "big")
        self.total %= _MODULUS

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.total:0{2 * _DIGEST_BYTES}x}"


def row_digest(row: Row) -> bytes:
    """16 bytes that say what a row holds: BLAKE2b of its values as a JSON array."""
    return blake2b(_encode(row), digest_size=_DIGEST_BYTES).digest()


@lru_cache(maxsize=1)
def shapes() -> tuple[Shape, ...]:
    """The tables of a mirror that move with it, each of them."""
    discover()
    return tuple(_shape(table) for table in metadata.sorted_tables if table.name not in STAYS)


def shape(name: str) -> Shape:
    """One of them. Raises KeyError for a table that does not move."""
    return {one.name: one for one in shapes()}[name]


def _shape(table: Table) -> Shape:
    names = tuple(table.columns.keys())
    return Shape(table, names, tuple(names.index(one.name) for one in table.primary_key.columns))


@lru_cache(maxsize=64)
def _readers(table: Table) -> list[tuple[int, Callable[[Any], Any]]]:
    found = []
    for at, column in enumerate(table.columns):
        reader = _reader(column.type)
        if reader is not None:
            found.append((at, reader))
    return found


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, UtcDateTime):
        return _time
    if isinstance(kind, Exact):
        return _decimal
    if isinstance(kind, Boolean):
        return bool
    return _float if isinstance(kind, Double) else None


def _is_time(column: Column[Any]) -> bool:
    return isinstance(column.type, UtcDateTime)


def _time(value: str | datetime) -> str:
    if isinstance(value, str) and len(value) == 19:  # SQLite's, as almost all of them are
        return f"{value[:10]}T{value[11:]}Z"
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment.isoformat()}Z"


def _decimal(value: str | Decimal) -> str:
    # As `Exact` keeps them: the same digits whichever database said so, and a zero without a sign.
    return f"{Decimal(value) or Decimal(0):.20f}"


def _float(value: float) -> float:
    return float(value) + 0.0  # of the two zeros MariaDB knows one
