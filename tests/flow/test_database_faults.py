"""The database fails in the middle: what passes is tried again, what does not is explained."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text, update
from sqlalchemy.exc import OperationalError

from etl.batch import read
from etl.db import engine as engines
from etl.db import lease, store
from etl.db.engine import open_engine
from etl.db.tables import leases
from etl.errors import StoreError
from etl.simulator import Simulator, World
from tests.conftest import make_schema
from tests.mirror import EVERYTHING, counts, rows, source_of, statements, sync, typed
from tests.parts import Api, run, told

JOBS = 60
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


#: For tests of what only a database has that is reached by a connection.
servers = pytest.mark.parametrize("empty_database", ["postgresql", "mariadb"], indirect=True)


@contextmanager
def at_statement(
    engine: Engine, wanted: str, do: Callable[[Any], None], *, number: int = 1
) -> Iterator[list[str]]:
    """Do something once, before the first statement that begins so, or another; all of them."""
    struck: list[str] = []

    def strike(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if " ".join(statement.split()).startswith(wanted):
            struck.append(statement)
            if len(struck) == number:
                do(connection)

    event.listen(engine, "before_cursor_execute", strike)
    try:
        yield struck
    finally:
        event.remove(engine, "before_cursor_execute", strike)


def hang_up(connection: Any) -> None:
    """Have the server itself end a connection."""
    name = connection.dialect.name
    query = "SELECT pg_backend_pid()" if name == "postgresql" else "SELECT CONNECTION_ID()"
    cursor = connection.connection.driver_connection.cursor()
    cursor.execute(query)
    (number,) = cursor.fetchone()
    url = connection.engine.url
    other = create_engine(url, isolation_level="AUTOCOMMIT")
    with other.connect() as killer:
        kill = "SELECT pg_terminate_backend(:n)" if name == "postgresql" else f"KILL {number}"
        killer.execute(text(kill), {"n": number} if name == "postgresql" else {})
    other.dispose()


@servers
@pytest.mark.parametrize(
    "wanted",
    [
        "UPDATE leases",  # the first statement of a transaction
        "SELECT id, digest",  # the look-up, or COPY's neighbour
        "INSERT INTO sync_resource_runs",  # the last one before the commit
        "SELECT jobs.id AS asked",  # the reader's own look at what is due
    ],
)
def test_a_lost_connection_costs_a_try_and_nothing_else(
    engine: Engine, wanted: str, tmp_path: Path
) -> None:
    api = Api()
    for number in range(3):
        api.add(f"ftjob-{number}", events=told(f"ftjob-{number}", 3))
    with api.served() as source:
        with at_statement(engine, wanted, hang_up) as struck:
            result = run(engine, source)
        assert struck
        assert (result.status, counts(result)["created"]) == ("success", 3 + 9 + 3 + 6 + 3)
        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        run(fresh, source)
    assert typed(engine) == typed(fresh)
    (line,) = rows(engine, "sync_runs")
    assert line["status"] == "success"
    fresh.dispose()


def test_a_commit_that_nobody_heard_of_is_counted_once(engine: Engine) -> None:
    lost: list[str] = []

    def lose(connection: Any) -> None:
        """Commit the batch, and lose the connection before the answer."""
        if not lost and "INSERT INTO sync_resource_runs" in seen[-2]:
            lost.append(seen[-2])
            connection.connection.driver_connection.commit()
            connection.invalidate()
            raise OperationalError("COMMIT", None, Exception(), connection_invalidated=True)

    with Simulator(World(1, JOBS)) as simulator, statements(engine) as seen:
        event.listen(engine, "commit", lose)
        result = sync(engine, source_of(simulator))
        event.remove(engine, "commit", lose)
    assert lost
    assert (result.status, counts(result)) == ("success", {"created": JOBS})
    assert len(rows(engine, "sync_runs")) == 1
    (line,) = rows(engine, "sync_resource_runs")
    assert (line["created"], line["unchanged"], line["records"]) == (JOBS, 0, JOBS)


@servers
def test_a_deadlock_is_tried_again(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Another program holds what this one wants next, and wants what this one holds."""
    other = engine.connect()
    if engine.dialect.name == "postgresql":  # let it be this one that the database ends
        other.execute(text("SET deadlock_timeout = '30s'"))
    want = threading.Thread(target=_want_leases, args=(other,), daemon=True)

    def hold(_: Any) -> None:
        other.execute(text("UPDATE sync_runs SET requests = requests + 1"))
        other.execute(text("UPDATE jobs SET seed = 7"))  # MariaDB ends who did less
        want.start()

    with Simulator(World(1, JOBS)) as simulator:
        with at_statement(engine, "UPDATE sync_runs", hold, number=2) as struck:
            result = sync(engine, source_of(simulator))
        want.join(30)
        other.close()
    assert len(struck) > 2  # of the run's begin, of its end, and of its end once more
    assert "kept changing the same rows (deadlock)" in caplog.text
    assert (result.status, counts(result)) == ("success", {"created": JOBS})


def _want_leases(other: Any) -> None:
    other.execute(text("UPDATE leases SET beats = beats"))
    other.rollback()


def test_a_file_that_is_locked_for_a_while_is_waited_for(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.05)
    engine = open_engine(str(sqlite_engine.url))
    waits: list[float] = []
    with lease.hold(engine, "test") as held:
        other = sqlite3.connect(str(sqlite_engine.url.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                other.execute("COMMIT")

        writer = store.Store(engine, held.fence, sleep=sleep)
        assert writer.begin("full") == 1
        assert waits == [0.5, 1.0]
        other.execute("BEGIN IMMEDIATE")
        writer = store.Store(engine, held.fence, sleep=lambda _: None)
        with pytest.raises(StoreError, match="another program holds the database locked"):
            writer.begin("full")
        other.execute("COMMIT")
        other.close()
    engine.dispose()


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(sqlite_engine: Engine) -> None:
    full = open_engine(str(sqlite_engine.url))

    @event.listens_for(full, "connect")
    def leave_little_room(connection: Any, _: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 6}")

    with Simulator(World(1, 500)) as simulator:
        source = source_of(simulator)
        with pytest.raises(StoreError, match="disk is full; make room there, and run this again"):
            sync(full, source)
        full.dispose()
        (line,) = rows(sqlite_engine, "sync_runs")
        assert line["status"] in ("failed", "running")
        assert rows(sqlite_engine, "jobs") == []
        assert counts(sync(sqlite_engine, source)) == {"created": 500}
    statuses = [run["status"] for run in rows(sqlite_engine, "sync_runs")]
    assert statuses == ["failed", "success"]


READ_ONLY = {
    "sqlite": "PRAGMA query_only=ON",
    "postgresql": "SET default_transaction_read_only=on",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def test_a_database_that_may_only_be_read_says_so_at_once(engine: Engine) -> None:
    reader = open_engine(engine.url.render_as_string(hide_password=False))

    @event.listens_for(reader, "connect")
    def forbid(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(READ_ONLY[engine.dialect.name])
        cursor.close()
        if engine.dialect.name == "postgresql":
            connection.commit()

    with (
        Simulator(World(1, 5)) as simulator,
        pytest.raises(StoreError, match="the database may only be read; name one"),
    ):
        sync(reader, source_of(simulator))
    reader.dispose()


@servers
def test_a_run_whose_database_goes_away_for_good_ends_and_is_closed_by_the_next(
    engine: Engine,
) -> None:
    with Simulator(World(1, JOBS)) as simulator:
        source = source_of(simulator)
        with pytest.MonkeyPatch.context() as patch:
            gone: list[str] = []

            def refuse(*_: Any) -> None:
                if gone:
                    raise OperationalError("", None, Exception("gone"), connection_invalidated=True)

            event.listen(engine, "before_cursor_execute", refuse)
            patch.setattr("etl.lists.read", _then(gone))
            with pytest.raises(StoreError, match="the connection to the database was lost"):
                sync(engine, source)
            event.remove(engine, "before_cursor_execute", refuse)
        assert rows(engine, "jobs") == []
        with engine.begin() as connection:  # as if the process had ended with its run
            connection.execute(update(leases).values(pid=1, host="gone", renewed_at=LONG_AGO))
        result = sync(engine, source, resources=EVERYTHING)
    assert result.status == "success"
    first, second = rows(engine, "sync_runs")
    assert (first["status"], first["error"]) == ("failed", "the run was cut off")
    assert second["started_at"] - first["started_at"] < timedelta(minutes=5)


def _then(gone: list[str]) -> Callable[..., Any]:
    def reading(*args: Any, **kwargs: Any) -> Any:
        gone.append("now")
        return read(*args, **kwargs)

    return reading
