"""Migrations in processes of their own: killed, told to end, and two at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

import etl.cli
from etl.db import migrate, views
from etl.db.engine import open_engine
from tests.migrations.cutting import seen, tables

#: `db …`, stopped in the middle of the migration before a step: by a signal of its own, or until a
#: line comes in.
PROGRAM = """
import os, sys
from sqlalchemy import Engine, event
from etl.cli import main

before, what = sys.argv[1:3]

@event.listens_for(Engine, "before_cursor_execute")
def stop(connection, cursor, statement, *_):
    if statement.strip().startswith(before):
        if what == "wait":
            print("there", flush=True)
            sys.stdin.readline()
        else:
            os.kill(os.getpid(), int(what))

sys.exit(main(["db", *sys.argv[3:]]))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a `db` command that stops before a step; none outlives the test."""
    monkeypatch.setenv("FTMIRROR_DATABASE_URL", empty_database)
    monkeypatch.chdir(tmp_path)
    started: list[subprocess.Popen[str]] = []

    def run(before: str, what: str | signal.Signals, *command: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        words = [sys.executable, "-c", PROGRAM, before, str(what), *command]
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def empty(empty_database: str) -> Iterator[Engine]:
    """An empty database of each kind."""
    engine = open_engine(empty_database)
    yield engine
    engine.dispose()


def is_free(engine: Engine) -> bool:
    """Was the lease given back?"""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT released_at FROM leases")) is not None


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]


@pytest.mark.parametrize(("what", "code"), SIGNALS, ids=["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_migration_that_a_signal_ends_is_run_again(
    empty: Engine, start: Start, what: signal.Signals, code: int
) -> None:
    process = start("CREATE TABLE job_usage", what, "upgrade")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert migrate.current(empty) is None
    assert ("jobs" in tables(empty)) == (empty.dialect.name == "mariadb")
    assert is_free(empty) == (what != signal.SIGKILL)
    # At once: that the process is gone shows on the same host.
    assert etl.cli.main(["db", "upgrade"]) == 0
    assert migrate.differences(empty) == []
    if what == signal.SIGTERM:
        assert errors == "error: ended by SIGTERM\n"


def test_a_downgrade_that_is_killed_is_run_again(empty: Engine, start: Start) -> None:
    migrate.upgrade(empty)
    process = start("DROP TABLE job_events", signal.SIGKILL, "downgrade", "base")
    process.communicate(timeout=30)
    assert process.returncode == -9
    assert etl.cli.main(["db", "downgrade", "base"]) == 0
    assert tables(empty) == {"leases", migrate.VERSION_TABLE}


def test_of_two_migrations_at_once_one_works_and_the_other_says_who(
    empty: Engine, start: Start
) -> None:
    first = start("CREATE TABLE job_usage", "wait", "upgrade")
    assert first.stdout is not None
    assert first.stdout.readline() == "there\n"
    for command in (["upgrade"], ["downgrade", "base"]):
        second = start("no step", "wait", *command)
        _, errors = second.communicate(timeout=30)
        assert second.returncode == 4, errors
        assert f", pid {first.pid}, since 20" in errors
        assert "`ftmirror db upgrade` on" in errors
    said, errors = first.communicate("go on\n", timeout=30)
    assert first.returncode == 0, errors
    assert said == f"schema {migrate.head()}\n"
    assert migrate.differences(empty) == []


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("empty_database", ["mariadb"], indirect=True)
def test_a_migration_that_is_ended_while_a_reader_holds_it_up_is_run_again(
    empty: Engine, start: Start, what: signal.Signals
) -> None:
    """The statement is at the server, and waits there, when its client goes."""
    migrate.upgrade(empty)
    migrate.downgrade(empty, "0003")
    with empty.connect() as reader:
        reader.execute(text("SELECT * FROM quarantine")).all()
        process = start("no step", "wait", "upgrade")
        _until_it_waits(empty)
        process.send_signal(what)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == (143 if what == signal.SIGTERM else -9), errors
        assert is_free(empty) == (what == signal.SIGTERM)
    assert etl.cli.main(["db", "upgrade"]) == 0
    assert migrate.differences(empty) == []


def _until_it_waits(engine: Engine) -> None:
    query = text(
        "SELECT COUNT(*) FROM information_schema.processlist "
        "WHERE db = DATABASE() AND state = 'Waiting for table metadata lock'"
    )
    deadline = time.monotonic() + 30
    with engine.connect() as connection:
        while not connection.scalar(query):
            assert time.monotonic() < deadline, "the migration never waited"
            time.sleep(0.05)


JOB = '{"object": "fine_tuning.job", "id": "ftjob-1", "created_at": 1700000000, "status": "queued"}'


@pytest.mark.parametrize("empty_database", ["mariadb"], indirect=True)
def test_a_run_makes_the_views_that_a_cut_upgrade_left_out_or_says_what_does(
    empty: Engine,
    empty_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FTMIRROR_DATABASE_URL", empty_database)
    monkeypatch.chdir(tmp_path)
    Path("job.json").write_text(JOB)
    migrate.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("DROP VIEW job_overview"))
    assert etl.cli.main(["import", "job.json"]) == 0
    said = "the view job_overview is missing. Run `ftmirror db upgrade`."
    assert said in capsys.readouterr().err
    assert "job_overview" not in seen(empty)
    Path("ftmirror.toml").write_text("[database]\nauto_upgrade = true\n")
    assert etl.cli.main(["import", "job.json"]) == 0
    assert "is missing" not in capsys.readouterr().err
    assert seen(empty) == set(views.names())
