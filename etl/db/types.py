"""Column types that mean the same on SQLite, PostgreSQL, MariaDB and MySQL.

Migrations import this module and nothing else of ours, so a type that has shipped never changes
its meaning: a new need gets a new type.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Double, Integer, Numeric, String, Text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

#: Byte by byte, and a trailing space counts: ids that differ in letter case are two ids.
MARIADB_COLLATION = "utf8mb4_nopad_bin"
MYSQL_COLLATION = "utf8mb4_0900_bin"
POSTGRESQL_COLLATION = "C"

BigInt = BigInteger().with_variant(Integer(), "sqlite")
Float: Double[float] = Double()


def _collation(dialect: Dialect) -> str | None:
    """What to ask of databases that fold letter case unless told; the others compare bytes."""
    if dialect.name == "mariadb" or getattr(dialect, "is_mariadb", False):
        return MARIADB_COLLATION
    return MYSQL_COLLATION if dialect.name == "mysql" else None


class Name(TypeDecorator[str]):
    """Short text, in keys and in what people group by: VARCHAR, 255 characters unless told."""

    impl = String
    cache_ok = True

    def __init__(self, length: int = 255) -> None:
        self.length = length
        super().__init__(length)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """A VARCHAR that compares byte by byte, trailing spaces included."""
        if collation := _collation(dialect):
            return dialect.type_descriptor(mysql.VARCHAR(self.length, collation=collation))
        # On PostgreSQL also faster, and the same order whatever the database's locale.
        collation = POSTGRESQL_COLLATION if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(self.length, collation=collation))


class LongText(TypeDecorator[str]):
    """Text of any length: payloads, messages, graders. MariaDB's own TEXT ends at 64 kB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """LONGTEXT on MariaDB and MySQL, TEXT elsewhere."""
        if collation := _collation(dialect):
            return dialect.type_descriptor(mysql.LONGTEXT(collation=collation))
        return dialect.type_descriptor(Text())


class _PostgresJson(UserDefinedType[str]):
    """PostgreSQL's `json`, written as text: SQLAlchemy's own type would encode it once more."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in DDL."""
        return "JSON"


class Json(TypeDecorator[Any]):
    """A JSON value: bound as JSON text (or None for SQL NULL), read back as a Python value."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """JSON on PostgreSQL, LONGTEXT on MariaDB and MySQL, TEXT on SQLite."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(_PostgresJson())
        if dialect.name in ("mariadb", "mysql"):
            return dialect.type_descriptor(mysql.LONGTEXT(collation="utf8mb4_bin"))
        return dialect.type_descriptor(Text())

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """PostgreSQL's driver has decoded the text already."""
        if value is None or dialect.name == "postgresql":
            return value
        return json.loads(value)


def utc_text(value: datetime) -> str:
    """An aware datetime as `UtcDateTime` is written in text, on every database.

    Raises ValueError for one without a zone.
    """
    return str(_naive(value))


def _naive(value: datetime) -> datetime:
    if value.tzinfo is None:
        message = f"a time without a zone reached the database: {value!r}"
        raise ValueError(message)
    in_utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return in_utc.replace(tzinfo=None)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, stored without a zone, so that no reader's session zone moves a day.

    TIMESTAMP on PostgreSQL, DATETIME(6) on MariaDB and MySQL, on SQLite the text
    `YYYY-MM-DD HH:MM:SS` (with a fraction only where there is one). Takes and gives aware
    datetimes; one without a zone is refused with ValueError.
    """

    impl = postgresql.TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type without a zone."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sqlite.VARCHAR(26))
        if dialect.name in ("mariadb", "mysql"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(postgresql.TIMESTAMP())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Aware to UTC without a zone."""
        if value is None:
            return None
        return utc_text(value) if dialect.name == "sqlite" else _naive(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """UTC, aware."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC)


class Exact(TypeDecorator[Decimal]):
    """A decimal number with 20 digits behind the point, never a float.

    NUMERIC(38, 20) on servers, on SQLite the digits as text. What has more digits than that is for
    the writer to round; a text is bound as it is.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC(38, 20), or text."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(40))
        return dialect.type_descriptor(Numeric(38, 20))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """As text on SQLite."""
        return None if value is None else f"{value:f}" if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Always a Decimal."""
        return None if value is None else Decimal(value)
