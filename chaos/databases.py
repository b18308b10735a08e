"""The databases: empty ones, and copies of those that were left as they are."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from etl.db.engine import open_engine
from tests import servers

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
#: Of databases on servers: of all this process ever makes, no two have one name.
_NUMBERS = itertools.count()
#: Found missing on this machine.
Missing = servers.Missing


class Database(Protocol):
    """One kind of database."""

    name: str

    def empty(self) -> str:
        """The URL of a database with nothing in it; on SQLite the file is not there yet."""

    def copy(self, url: str) -> str:
        """The URL of another database with the same in it. Nobody may be at work on the first."""

    def drop(self, url: str) -> None:
        """Take a database away, whoever may still be connected."""


class Sqlite:
    """Files in a directory."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()

    def empty(self) -> str:
        """A file that is not there yet."""
        return f"sqlite:///{self._directory / f'mirror-{next(self._numbers)}.db'}"

    def copy(self, url: str) -> str:
        """A copy of the file, with what the log holds that belongs to it."""
        made = self.empty()
        source, target = _file(url), _file(made)
        for suffix in ("", "-wal"):
            if Path(f"{source}{suffix}").exists():
                shutil.copyfile(f"{source}{suffix}", f"{target}{suffix}")
        return made

    def drop(self, url: str) -> None:
        """The file and what lies beside it."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{_file(url)}{suffix}").unlink(missing_ok=True)


class Server:
    """A database server."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = make_url(url)
        maintenance = "postgres" if name == "postgresql" else ""
        self._admin = create_engine(
            self._url.set(database=maintenance), isolation_level="AUTOCOMMIT"
        )

    def empty(self) -> str:
        """`CREATE DATABASE`."""
        return self._create("")

    def copy(self, url: str) -> str:
        """PostgreSQL copies a database by itself, MariaDB table by table."""
        kept = make_url(url).database or ""
        if self.name == "postgresql":
            return self._create(f" TEMPLATE {kept}")
        made = self._create("")
        with self._admin.connect() as connection:
            _copy_tables(connection, kept, make_url(made).database or "")
        return made

    def drop(self, url: str) -> None:
        """`DROP DATABASE`."""
        force = " WITH (FORCE)" if self.name == "postgresql" else ""
        self._do(f"DROP DATABASE IF EXISTS {make_url(url).database}{force}")

    def close(self) -> None:
        """Close the connections."""
        self._admin.dispose()

    @property
    def address(self) -> str:
        """The server's URL, without a database."""
        return self._url.render_as_string(hide_password=False)

    def new_name(self) -> str:
        """A name that no database has yet."""
        return f"chaos_{os.getpid()}_{next(_NUMBERS)}"

    def _create(self, how: str) -> str:
        name = self.new_name()
        self._do(f"CREATE DATABASE {name}{how}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _do(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)


def _copy_tables(connection: Connection, kept: str, made: str) -> None:
    """MariaDB: every table with its rows, then every view."""
    found = connection.exec_driver_sql(f"SHOW FULL TABLES FROM {kept}").all()
    for name, kind in found:
        if kind == "BASE TABLE":
            connection.exec_driver_sql(f"CREATE TABLE {made}.{name} LIKE {kept}.{name}")
            connection.exec_driver_sql(f"INSERT INTO {made}.{name} SELECT * FROM {kept}.{name}")
    views = [name for name, kind in found if kind == "VIEW"]
    options = {"no_parameters": True}
    connection.exec_driver_sql(f"USE {made}")
    while views:
        left = []
        for name in views:
            text = connection.exec_driver_sql(f"SHOW CREATE VIEW {kept}.{name}").one()[1]
            try:
                text = re.sub(rf"`{kept}`\.", "", text)
                connection.exec_driver_sql(text, execution_options=options)
            except DBAPIError:  # it reads one that is not there yet
                left.append(name)
        if len(left) == len(views):
            raise AssertionError(f"views that cannot be copied: {left}")
        views = left


def _file(url: str) -> Path:
    return Path(str(make_url(url).database))


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine that leaves no connection behind, which a copy would have to wait for."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def serving(name: str, directory: Path) -> Iterator[Database]:
    """One kind of database, its server running until the end of the block. Raises Missing."""
    if name == "sqlite":
        yield Sqlite(directory)
        return
    with servers.SERVERS[name]() as url:
        server = Server(name, url)
        try:
            yield server
        finally:
            server.close()
