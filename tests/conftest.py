"""What every test may ask for: a database of each kind, and an environment without surprises."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, String, Table, insert
from sqlalchemy.schema import Column

from etl.db import lease, migrate, views
from etl.db.engine import open_engine
from etl.db.tables import metadata, reader_roles
from etl.resources import discover
from tests import servers

_numbers = itertools.count()


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: a test waits for servers half of its time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick ones first, so that a mistake shows early."""
    items.sort(key=lambda item: "unit" not in item.path.parts)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the keys, proxies or settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_OPENAI_")) or (
            name.startswith("FTMIRROR_") and not name.startswith("FTMIRROR_TEST_")
        ):
            monkeypatch.delenv(name)
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "no_color"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def database_servers() -> Iterator[dict[str, str]]:
    """URLs of the servers started so far in this process; they stop at its end."""
    with ExitStack() as stack:
        yield _Servers(stack)


class _Servers(dict[str, str]):
    """Starts a server when a test first asks for it."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack

    def __missing__(self, name: str) -> str:
        try:
            url = self._stack.enter_context(servers.SERVERS[name]())
        except servers.Missing as error:
            if os.environ.get("CI"):
                pytest.fail(f"{error} (in CI a missing database is a failure)")
            pytest.skip(str(error))
        self[name] = url
        return url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def empty_database(
    request: pytest.FixtureRequest, tmp_path: Path, database_servers: dict[str, str]
) -> str:
    """The URL of a database with nothing in it; a test that asks for it runs on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mirror.db'}"
    name = f"test_{os.getpid()}_{next(_numbers)}"
    return servers.create_database(database_servers[request.param], name)


def make_schema(url: str) -> Engine:
    """An engine on a database at this version's schema.

    Made from the tables, which is quicker than migrating; that both are the same has a test.
    """
    discover()
    engine = open_engine(url)
    lease.ensure(engine)
    # On PostgreSQL a comment is a statement, hundreds of them for a test that reads none.
    engine.dialect.supports_comments, keeps = False, engine.dialect.supports_comments
    metadata.create_all(engine)
    engine.dialect.supports_comments = keeps
    reader_roles.create(engine)
    version = Table(migrate.VERSION_TABLE, MetaData(), Column("version_num", String(32)))
    version.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(version).values(version_num=migrate.head()))
        views.create(connection)
    return engine


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    """A mirror with nothing in it yet, on each kind of database."""
    engine = make_schema(empty_database)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A mirror with nothing in it yet, on SQLite alone."""
    engine = make_schema(f"sqlite:///{tmp_path / 'alone.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def far_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests answer at once; where readers are several, let them count as far."""
    monkeypatch.setattr("etl.listing.NEAR", 0.0)
