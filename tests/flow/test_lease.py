"""One writer a database: real processes, real kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl.db import lease, store
from etl.db.tables import leases
from etl.errors import LeaseHeld, LeaseLost
from etl.simulator import Simulator, World
from tests.mirror import counts, rows, source_of, sync

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `ftmirror` as a process of its own; none outlives the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "etl.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def until(true: Callable[[], object]) -> None:
    """Wait for something that another process brings about."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "nothing happened for 30 s"
        time.sleep(0.02)


def slow_sync(start: Start, engine: Engine, simulator: Simulator) -> subprocess.Popen[str]:
    """A sync that has begun and waits for its first page."""
    process = start(
        "sync",
        "--database-url",
        url_of(engine),
        OPENAI_API_KEY="sk-test-key",
        OPENAI_BASE_URL=simulator.url,
    )
    until(lambda: any(run["status"] == "running" for run in rows(engine, "sync_runs")))
    return process


def test_a_second_sync_is_refused_and_told_who_works(engine: Engine, start: Start) -> None:
    with Simulator(World(1, 10), latency=30.0) as simulator:
        first = slow_sync(start, engine, simulator)
        second = start(
            "sync",
            "--json",
            "--database-url",
            url_of(engine),
            OPENAI_API_KEY="sk-test-key",
            OPENAI_BASE_URL=simulator.url,
        )
        out, err = second.communicate(timeout=30)
        assert second.returncode == 4
        assert f"`ftmirror sync` on {socket.gethostname()}, pid {first.pid}, since " in err
        assert '"status": "locked"' in out
        first.kill()


def test_a_killed_writer_is_noticed_at_once_on_its_own_host(engine: Engine, start: Start) -> None:
    with Simulator(World(1, 10), latency=30.0) as simulator:
        first = slow_sync(start, engine, simulator)
        first.send_signal(signal.SIGKILL)
        first.wait(30)
    with Simulator(World(1, 10)) as simulator:
        result = sync(engine, source_of(simulator))
    assert counts(result) == {"created": 10}
    killed, after = rows(engine, "sync_runs")
    assert (killed["status"], killed["error"]) == ("failed", "the run was cut off")
    assert after["status"] == "success"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_stop_says_so_and_frees_the_lease(
    engine: Engine, start: Start, number: signal.Signals, code: int
) -> None:
    with Simulator(World(1, 10), latency=30.0) as simulator:
        process = slow_sync(start, engine, simulator)
        time.sleep(0.2)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == code
    (run,) = rows(engine, "sync_runs")
    assert (run["status"], run["error"]) == ("failed", "interrupted")
    with lease.hold(engine, "test"):
        pass


def test_the_lease_of_a_living_process_is_not_taken(engine: Engine) -> None:
    with (
        lease.hold(engine, "first"),
        pytest.raises(LeaseHeld, match=f"`ftmirror first` on .*, pid {os.getpid()}, since 20"),
        lease.hold(engine, "second"),
    ):
        pass


def test_a_holder_that_lost_the_lease_writes_nothing_more(engine: Engine) -> None:
    with lease.hold(engine, "first") as held:
        writer = store.Store(engine, held.fence)
        writer.begin("full")
        with engine.begin() as connection:  # as if this host had slept for a minute
            connection.execute(update(leases).values(renewed_at=LONG_AGO, host="elsewhere", pid=1))
        with lease.hold(engine, "second") as second:
            assert second.token == held.token + 1
            before = rows(engine, "sync_runs")
            with pytest.raises(LeaseLost):
                writer.end("success", None, {}, "full")
            assert rows(engine, "sync_runs") == before
    assert held.is_lost


def test_a_holder_elsewhere_is_dead_after_thirty_seconds_without_a_beat(engine: Engine) -> None:
    with lease.hold(engine, "first"):
        with engine.begin() as connection:
            connection.execute(update(leases).values(host="elsewhere", pid=1))
        with pytest.raises(LeaseHeld, match="on elsewhere, pid 1"), lease.hold(engine, "second"):
            pass


def test_a_beat_keeps_the_lease_fresh_between_transactions(engine: Engine) -> None:
    with lease.hold(engine, "first") as held:
        (before,) = _lines(engine)
        time.sleep(0.01)
        held.beat()
        (after,) = _lines(engine)
        assert after["renewed_at"] > before["renewed_at"]
        assert not held.is_lost
    (released,) = _lines(engine)
    assert released["released_at"] is not None


def test_a_beat_that_finds_its_own_batch_at_work_is_skipped(engine: Engine) -> None:
    with lease.hold(engine, "first") as held:
        writer = store.Store(engine, held.fence)
        if engine.dialect.name == "sqlite":
            with writer.transaction():
                held.beat()
        assert not held.is_lost


def _lines(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(line._mapping) for line in connection.execute(leases.select())]


def test_a_second_sync_that_waits_works_after_the_first(engine: Engine, start: Start) -> None:
    with Simulator(World(1, 10), latency=0.25) as simulator:
        first = slow_sync(start, engine, simulator)
        second = start(
            "sync",
            "--wait",
            "1m",
            "--database-url",
            url_of(engine),
            OPENAI_API_KEY="sk-test-key",
            OPENAI_BASE_URL=simulator.url,
        )
        out, err = second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert f"waiting for `ftmirror sync` on {socket.gethostname()}, pid {first.pid}, since " in err
    assert (first.returncode, second.returncode) == (0, 0)
    assert "run 2: success" in out
