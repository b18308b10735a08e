"""`ftmirror schedule` as a process of its own: run after run, told to stop, kept out, set wrong."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import etl.cli
from etl.db import lease
from etl.simulator import Simulator, World
from tests.http_server import Reply, Seen, serve
from tests.jobs import job
from tests.mirror import rows

STOPPED = "The run was told to stop; the next run goes on from here."


class Scheduled:
    """A running `ftmirror schedule`, its lines read as they come."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etl.cli", "schedule", "--jitter", "0s", *arguments],
            cwd=directory,
            env={**os.environ, "OPENAI_API_KEY": "sk-test-key", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: queue.Queue[str] = queue.Queue()
        self.err: queue.Queue[str] = queue.Queue()
        self._all = {self.process.stdout: self.out, self.process.stderr: self.err}
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines))
            for stream, lines in self._all.items()
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: queue.Queue[str]) -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, list[str], list[str]]:
        """Exit code, and the lines that nobody asked for yet."""
        code = self.process.wait(30)
        for reader in self._readers:
            reader.join(30)
        return code, list(self.out.queue), list(self.err.queue)

    def kill(self) -> None:
        self.process.kill()
        self.end()
        for stream in self._all:
            assert stream is not None
            stream.close()


def line(lines: queue.Queue[str], words: str) -> str:
    """The next line that holds these words."""
    while True:
        found = lines.get(timeout=30)
        if words in found:
            return found


Start = Callable[..., Scheduled]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `ftmirror schedule`; none outlives the test."""
    running: list[Scheduled] = []

    def begin(*arguments: str, **environment: str) -> Scheduled:
        running.append(Scheduled(tmp_path, *arguments, **environment))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


class TwoPages:
    """A list of jobs whose second page waits for a word, or fails."""

    def __init__(self, second: Reply | None = None) -> None:
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()
        self.second = second

    def __call__(self, seen: Seen) -> Reply:
        assert seen.path == "/v1/fine_tuning/jobs"
        if ("after", "ftjob-1") not in seen.query:
            return Reply({"object": "list", "data": [job("ftjob-1")], "has_more": True})
        self.is_asked.set()
        if self.second is not None:
            return self.second
        self.may_answer.wait(30)
        return Reply({"object": "list", "data": [job("ftjob-2")], "has_more": True})


def test_it_syncs_again_and_again_and_a_signal_ends_the_wait(
    sqlite_engine: Engine, start: Start
) -> None:
    with Simulator(World(1, 10)) as simulator:
        environment = {"OPENAI_BASE_URL": simulator.url}
        scheduled = start("--every", "1s", "--database-url", url_of(sqlite_engine), **environment)
        line(scheduled.out, "run 1: success in ")
        assert line(scheduled.out, "  jobs: ") == "  jobs: 10 created"
        line(scheduled.err, "next run at 20")
        line(scheduled.out, "run 2: success in ")
        assert line(scheduled.out, "  jobs: ") == "  jobs: 10 unchanged"
        line(scheduled.err, "next run at 20")
        scheduled.signal(signal.SIGTERM)
        code, _, said = scheduled.end()
    assert (code, said[-1]) == (0, "stopped by SIGTERM after 2 runs")
    assert [run["status"] for run in rows(sqlite_engine, "sync_runs")] == ["success", "success"]


def test_sigterm_lets_a_run_write_what_it_has_read(engine: Engine, start: Start) -> None:
    pages = TwoPages()
    with serve(pages) as server:
        url = url_of(engine)
        scheduled = start("--every", "1h", "--database-url", url, OPENAI_BASE_URL=server.url)
        assert pages.is_asked.wait(30)
        scheduled.signal(signal.SIGTERM)
        line(scheduled.err, "stopping once what was read is written; a second signal ends at once")
        pages.may_answer.set()
        code, out, said = scheduled.end()
        assert len(server.seen) == 2
    assert code == 0
    assert said == [f"warning: default, jobs: {STOPPED}", "stopped by SIGTERM after 1 run"]
    assert out[0].startswith("run 1: partial in ")
    assert out[1] == "  jobs: 2 created"
    assert [one["id"] for one in rows(engine, "jobs")] == ["ftjob-1", "ftjob-2"]
    (run,) = rows(engine, "sync_runs")
    assert (run["status"], run["error"]) == ("partial", f"default: {STOPPED}")
    with lease.hold(engine, "test"):
        pass


def test_sigint_cuts_the_wait_before_another_try(sqlite_engine: Engine, start: Start) -> None:
    pages = TwoPages(Reply(status=503, headers={"Retry-After": "100"}))
    with serve(pages) as server:
        url = url_of(sqlite_engine)
        scheduled = start("--every", "1h", "--database-url", url, OPENAI_BASE_URL=server.url)
        line(scheduled.err, "Try 1 of 8 failed, the next in 100.0 s")
        scheduled.signal(signal.SIGINT)
        code, out, said = scheduled.end()
        assert len(server.seen) == 2
    assert (code, said[-1]) == (0, "stopped by SIGINT after 1 run")
    assert out[1] == "  jobs: 1 created"
    assert [run["status"] for run in rows(sqlite_engine, "sync_runs")] == ["partial"]


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_interrupts(
    sqlite_engine: Engine, start: Start, second: signal.Signals, code: int
) -> None:
    pages = TwoPages()
    with serve(pages) as server:
        url = url_of(sqlite_engine)
        scheduled = start("--every", "1h", "--database-url", url, OPENAI_BASE_URL=server.url)
        assert pages.is_asked.wait(30)
        scheduled.signal(signal.SIGTERM)
        line(scheduled.err, "a second signal ends at once")
        scheduled.signal(second)
        ended, _, said = scheduled.end()
        pages.may_answer.set()
    assert (ended, said[-1].startswith("error: ")) == (code, True)
    (run,) = rows(sqlite_engine, "sync_runs")
    assert (run["status"], run["error"]) == ("failed", "interrupted")
    with lease.hold(sqlite_engine, "test"):
        pass


def test_a_turn_is_skipped_while_somebody_else_writes(engine: Engine, start: Start) -> None:
    with Simulator(World(1, 10)) as simulator:
        with lease.hold(engine, "import"):
            scheduled = start(
                "--every",
                "1s",
                "--json",
                "--database-url",
                url_of(engine),
                OPENAI_BASE_URL=simulator.url,
            )
            said = line(scheduled.err, "this turn is skipped")
            answer = json.loads(scheduled.out.get(timeout=30))
        assert f"`ftmirror import` on {socket.gethostname()}, pid {os.getpid()}, since 20" in said
        assert (answer["run_id"], answer["status"]) == (None, "locked")
        while (answer := json.loads(scheduled.out.get(timeout=30)))["status"] == "locked":
            pass
        scheduled.signal(signal.SIGTERM)
        code, _, _ = scheduled.end()
    assert code == 0
    assert (answer["run_id"], answer["status"]) == (1, "success")
    assert answer["sources"][0]["resources"]["jobs"]["created"] == 10


def test_who_waits_for_the_lease_hears_a_signal(sqlite_engine: Engine, start: Start) -> None:
    with lease.hold(sqlite_engine, "import"):
        scheduled = start("--every", "1h", "--wait", "1h", "--database-url", url_of(sqlite_engine))
        line(scheduled.err, "waiting for `ftmirror import` on ")
        scheduled.signal(signal.SIGTERM)
        code, _, said = scheduled.end()
    assert (code, said[-2:]) == (0, [STOPPED, "stopped by SIGTERM after 1 run"])


def test_each_turn_sees_the_settings_and_keys_of_its_time(
    sqlite_engine: Engine, start: Start, tmp_path: Path
) -> None:
    with Simulator(World(1, 10), refused_keys=["sk-of-yesterday"]) as simulator:
        key, settings = tmp_path / "key", tmp_path / "ftmirror.toml"
        source = (
            f'[[sources]]\nname = "research"\nbase_url = "{simulator.url}"\napi_key_file = "key"\n'
        )
        key.write_text("sk-of-yesterday\n")
        settings.write_text(source)
        scheduled = start("--every", "1s", "--json", "--database-url", url_of(sqlite_engine))

        def until(status: str) -> dict[str, Any]:
            while True:
                answer: dict[str, Any] = json.loads(scheduled.out.get(timeout=30))
                if (answer["run_id"] is None, answer["status"]) == (status == "none", "failed"):
                    return answer
                if answer["status"] == status:
                    return answer

        assert "research" in until("failed")["sources"][0]["name"]
        settings.write_text(f"{source}colour = 1\n")
        assert "colour: unknown key" in until("none")["error"]
        line(scheduled.err, "error: ftmirror.toml: [[sources]] research: colour: unknown key")
        line(scheduled.err, "error: this turn failed; the next one tries again")
        key.unlink()
        settings.write_text(source)
        line(scheduled.err, "key")
        key.write_text("sk-of-today\n")
        assert until("success")["sources"][0]["resources"]["jobs"]["created"] == 10
        scheduled.signal(signal.SIGTERM)
        code, out, said = scheduled.end()
    assert code == 0
    assert "sk-of" not in "\n".join(out + said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say when: either --every DURATION or --cron EXPR"),
        (["--every", "1h", "--cron", "17 * * * *"], "say when: either --every DURATION or --cron"),
        (["--every", "0s"], "--every: must be between 1s and 366d"),
        (["--every", "1000d"], "--every: must be between 1s and 366d"),
        (["--every", "5"], "a duration is a number and a unit"),
        (["--cron", "17 * * *"], "--cron '17 * * *': it has 4 of 5 fields; write minute, hour, da"),
        (["--cron", "0 4 * * *"], "OPENAI_API_KEY is not set"),
        (["--every", "1h", "--resource", "job"], "there is no resource 'job' (did you mean jobs?)"),
        (["--cron", "0 4 * * *", "--source", "x"], 'there is no source "x"'),
        (["--every", "1h", "--database-url", "oracle://x"], "oracle"),
    ],
)
def test_what_no_turn_could_work_with_is_refused_at_the_start(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert etl.cli.main(["schedule", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_schema_of_another_version_is_refused_before_the_first_turn(
    empty_database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if empty_database.startswith("sqlite"):
        return  # brought to this version's schema by itself
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key")
    words = ["schedule", "--cron", "0 4 * * *", "--database-url", empty_database]
    assert etl.cli.main(words) == 2
    assert "Run `ftmirror db upgrade`" in capsys.readouterr().err


def test_a_database_that_is_away_at_the_start_is_no_reason_to_end(start: Start) -> None:
    scheduled = start("--cron", "0 0 1 1 *", "--database-url", "postgresql://me@127.0.0.1:1/x")
    line(scheduled.err, "warning: ")
    line(scheduled.err, "next run at 20")
    scheduled.signal(signal.SIGTERM)
    assert scheduled.end() == (0, [], ["stopped by SIGTERM after 0 runs"])
