"""Where the tap's records go: the SDK's SQL target for SQLite, `target-postgres` for PostgreSQL.

    <the tap> | singer_target.py URL DATABASE first|again

No target for SQLite can be installed beside today's SDK, so this is the SDK's own base class; what
is added is that a record already there is updated.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from singer_sdk import typing as th
from singer_sdk.sql import SQLConnector, SQLSink, SQLTarget
from sqlalchemy import Column, MetaData, Table, types
from sqlalchemy.dialects import sqlite


class SQLiteConnector(SQLConnector):
    """Connects to the file."""

    allow_temp_tables = False
    allow_column_alter = False
    allow_merge_upsert = True

    def get_sqlalchemy_url(self, config: dict[str, Any]) -> str:
        """The file's URL."""
        return str(config["sqlalchemy_url"])


class SQLiteSink(SQLSink[SQLiteConnector]):
    """Writes one stream."""

    connector_class = SQLiteConnector
    max_size = 10_000  # the SDK's default

    def generate_insert_statement(self, full_table_name: Any, schema: dict[str, Any]) -> Any:
        """Insert or update; objects and lists as JSON text."""
        properties = self.conform_schema(schema)["properties"]
        columns = [
            Column(name, types.JSON() if {"object", "array"} & set(one["type"]) else None)
            for name, one in properties.items()
        ]
        name = self.connector.parse_full_table_name(full_table_name)[-1]
        insert = sqlite.insert(Table(name, MetaData(), *columns))
        changes = {column.name: insert.excluded[column.name] for column in columns}
        return insert.on_conflict_do_update(index_elements=list(self.key_properties), set_=changes)


class TargetSQLite(SQLTarget):
    """The target for SQLite."""

    name = "target-sqlite"
    default_sink_class = SQLiteSink
    config_jsonschema = th.PropertiesList(th.Property("sqlalchemy_url", th.StringType)).to_dict()


def main(database: str) -> None:
    """Load what comes on stdin."""
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8")
    if database.startswith("sqlite:"):
        TargetSQLite(config={"sqlalchemy_url": database}).listen(lines)
        return
    from target_postgres.target import TargetPostgres  # noqa: PLC0415 - not for SQLite

    url = database.replace("postgresql:", "postgresql+psycopg:", 1)
    TargetPostgres(config={"sqlalchemy_url": url, "use_copy": True}).listen(lines)


if __name__ == "__main__":
    main(sys.argv[2])
