"""`--metrics-file`: every run leaves its word for Prometheus, whatever its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import etl.cli
from etl.db import lease
from etl.db.engine import open_engine
from etl.simulator import Simulator, World, parse_fault
from tests.servers import free_port

Call = Callable[..., tuple[int, str]]

SUCCESS = 'ftmirror_last_success_timestamp_seconds{resource="jobs",source="default"}'


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror`, whose metrics go to m.prom; its exit code and what stderr got."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = etl.cli.main([*arguments, "--metrics-file", "m.prom"])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A fake API that the environment points to."""
    with Simulator(World(5, 20)) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
        yield simulator


def said(path: Path) -> dict[str, float]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[re.sub(r'mirror="m",?', "", name).replace("{}", "")] = float(value)
    return found


def ended(path: Path) -> tuple[str, float]:
    """How the last run ended: its status and its exit code."""
    found = said(path)
    (status,) = re.findall(
        r'status="(\w+)"',
        " ".join(name for name in found if "run_status" in name and found[name]),
    )
    return status, found["ftmirror_last_run_exit_code"]


def test_each_end_of_a_run_is_told_and_the_last_success_survives_them(
    call: Call, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.prom"
    assert call("sync")[0] == 0
    assert ended(path) == ("success", 0)
    first = said(path)
    created = 'ftmirror_last_run_records{outcome="created",resource="jobs",source="default"}'
    assert (first[created], first[SUCCESS] > 1.7e9) == (20, True)
    assert first['ftmirror_records{resource="jobs",source="default"}'] == 20

    def still(status: str, code: int, *, is_up: bool = True, is_held: bool = False) -> None:
        now = said(path)
        assert ended(path) == (status, code)
        assert now[SUCCESS] == first[SUCCESS]
        assert (now["ftmirror_database_up"], now["ftmirror_lease_held_by_other"]) == (
            is_up,
            is_held,
        )

    simulator.faults.replace([parse_fault("status=403@/fine_tuning/jobs$")])
    assert call("sync")[0] == 1
    still("failed", 1)

    engine = open_engine("sqlite:///ftmirror.db")
    with lease.hold(engine, "test"):
        assert call("sync")[0] == 4
    engine.dispose()
    still("locked", 4, is_held=True)

    gone = f"postgresql://nobody@127.0.0.1:{free_port()}/mirror"
    assert call("sync", "--database-url", gone)[0] == 1
    still("failed", 1, is_up=False)
    assert said(path)['ftmirror_records{resource="jobs",source="default"}'] == 20

    with monkeypatch.context() as patch:
        patch.setattr("etl.lists.read", lambda *_: 1 / 0)
        simulator.faults.replace([])
        assert call("sync", "--mode", "full")[0] == 1
    still("failed", 1)

    monkeypatch.delenv("OPENAI_API_KEY")
    code, told = call("sync")
    assert (code, "OPENAI_API_KEY is not set" in told) == (2, True)
    still("failed", 2)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    simulator.faults.replace([parse_fault("missing=created_at@/fine_tuning/jobs$")])
    assert call("sync")[0] == 3
    assert ended(path) == ("partial", 3)
    assert said(path)['ftmirror_quarantine_open{resource="jobs",source="default"}'] == 1
    simulator.faults.replace([])
    assert call("sync")[0] == 0
    assert said(path)[SUCCESS] > first[SUCCESS]
    assert "sk-secret" not in path.read_text(encoding="utf-8")


def test_a_source_that_never_worked_is_there_from_the_first_run(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "good"\nbase_url = "{simulator.url}"\n'
        '[[sources]]\nname = "bad"\napi_key_env = "NOT_SET"\n'
    )
    assert call("sync", "--resource", "jobs")[0] == 3
    found = said(tmp_path / "m.prom")
    jobs = 'ftmirror_last_success_timestamp_seconds{resource="jobs",source="%s"}'
    assert (found[jobs % "good"] > 1.7e9, found[jobs % "bad"]) == (True, 0)


def test_a_file_that_cannot_be_written_ends_nothing_but_itself(
    simulator: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()

    def vanish(*_: object) -> str:
        (tmp_path / "out").rmdir()
        return "x"

    monkeypatch.setattr("etl.reports.totals", vanish)
    code = etl.cli.main(["sync", "--resource", "jobs", "--metrics-file", "out/m.prom"])
    assert code == 0
    assert "error: --metrics-file out/m.prom: not written: " in capsys.readouterr().err


@pytest.mark.parametrize("command", [["sync"], ["schedule", "--every", "1h"]])
def test_what_cannot_work_is_told_before_anything_is_done(
    simulator: Simulator,
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, told in (("no/m.prom", "there is no directory no"), (".", "that is no file")):
        assert etl.cli.main([*command, "--metrics-file", name]) == 2
        assert f"error: --metrics-file {name}: {told}" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_without_the_library_it_says_what_to_install(simulator: Simulator, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; from etl.cli import main; "
        "sys.exit(main(['sync', '--metrics-file', 'm.prom']))"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --metrics-file needs prometheus-client: pip install 'ftmirror[metrics]'\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_writes_nothing_so_no_metrics_either(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    code, told = call("sync", "--dry-run")
    assert (code, "--dry-run writes nothing" in told) == (2, True)
    assert list(tmp_path.iterdir()) == []


# Processes


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "nothing happened for 30 s"
        time.sleep(0.02)


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "etl.cli", *arguments, "--metrics-file", "m.prom"],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": "sk-x-of-this-test", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_told_to_stop_tells_it(tmp_path: Path) -> None:
    with Simulator(World(1, 5), latency=30.0) as simulator:
        process = start(tmp_path, "sync", OPENAI_BASE_URL=simulator.url)
        until(lambda: b"running" in _log(tmp_path / "ftmirror.db"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert ended(tmp_path / "m.prom") == ("failed", 143)
    assert said(tmp_path / "m.prom")[SUCCESS] == 0


def _log(path: Path) -> bytes:
    wal = path.with_name(f"{path.name}-wal")
    return b"".join(one.read_bytes() for one in (path, wal) if one.exists())


def test_schedule_writes_it_after_each_turn(tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    with Simulator(World(1, 5)) as simulator:
        process = start(
            tmp_path, "schedule", "--every", "1s", "--jitter", "0s", OPENAI_BASE_URL=simulator.url
        )
        until(path.exists)
        first = said(path)
        assert ended(path) == ("success", 0)
        simulator.faults.replace([parse_fault("status=403@/fine_tuning/jobs$")])
        until(lambda: ended(path) == ("failed", 1))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    second = said(path)
    name = "ftmirror_last_run_timestamp_seconds"
    assert (second[name] > first[name], second[SUCCESS] >= first[SUCCESS]) == (True, True)
