"""Each exit code of `sync`, from a process as cron starts it, with what it leaves behind.

4, 130 and 143 are in `test_lease`, where the processes are that hold each other up.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from etl.simulator import Simulator, World, parse_fault
from tests.http_server import Reply, Seen, serve
from tests.servers import free_port

KEY = "sk-secret-of-this-test"
LIST = "/fine_tuning/jobs"


def ftmirror(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, Any, str]:
    """Run a command to its end: its exit code, its answer and its log."""
    done = subprocess.run(
        [sys.executable, "-m", "etl.cli", *arguments, "--json"],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": KEY, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert KEY not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def log_of_runs(tmp_path: Path) -> list[tuple[str, str | None]]:
    """The status and error of each run."""
    database = sqlite3.connect(tmp_path / "ftmirror.db")
    found = database.execute("SELECT status, error FROM sync_runs ORDER BY id").fetchall()
    database.close()
    return found


def test_0_is_done_and_5_is_what_a_check_found(tmp_path: Path) -> None:
    with Simulator(World(1, 20)) as simulator:
        at = {"OPENAI_BASE_URL": simulator.url}
        code, answer, told = ftmirror(tmp_path, "sync", "-q", **at)
        assert (code, answer["status"], told) == (0, "success", "")
        assert ftmirror(tmp_path, "status", "--max-age", "1h", **at)[0] == 0
        code, answer, told = ftmirror(tmp_path, "status", "--max-age", "0s", **at)
    assert (code, {one["stale"] for one in answer["sources"]}) == (5, {True})
    assert re.match(r"warning: default, checkpoints: in step \d+ s ago\n", told)
    assert log_of_runs(tmp_path) == [("success", None)]


def test_1_is_a_run_in_which_no_source_did_its_work(tmp_path: Path) -> None:
    with Simulator(World(1, 20), refused_keys=[KEY]) as simulator:
        code, answer, told = ftmirror(tmp_path, "sync", OPENAI_BASE_URL=simulator.url)
    assert (code, answer["status"]) == (1, "failed")
    assert "error: default, jobs: The server does not accept the key from OPENAI_API_KEY" in told
    ((status, error),) = log_of_runs(tmp_path)
    assert status == "failed"
    assert str(error).startswith("default: The server does not accept the key from OPENAI_API_KEY")


def test_1_is_a_database_that_does_not_answer(tmp_path: Path) -> None:
    gone = f"postgresql://nobody@127.0.0.1:{free_port()}/mirror"
    code, answer, told = ftmirror(tmp_path, "sync", FTMIRROR_DATABASE_URL=gone)
    assert (code, answer["status"], answer["run_id"]) == (1, "failed", None)
    assert "nobody" in told
    assert "Traceback" not in told


def test_2_is_a_run_that_cannot_be_meant(tmp_path: Path) -> None:
    code, answer, told = ftmirror(tmp_path, "sync", OPENAI_API_KEY="")
    assert (code, answer["kind"]) == (2, "ConfigError")
    assert "OPENAI_API_KEY is not set" in told
    assert list(tmp_path.iterdir()) == []


def configure(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "first"\nbase_url = "{first}"\nworkers = 1\n'
        f'[[sources]]\nname = "second"\nbase_url = "{second}"\n'
    )


def test_3_is_a_source_that_is_told_to_wait_for_long_while_the_others_go_on(
    tmp_path: Path,
) -> None:
    """The server's hour is not slept away, what came before it stays, and the next run goes on."""
    pages = [[f"ftjob-{number}" for number in range(start, start + 100)] for start in (0, 100, 200)]
    patience = {"waits": True}

    def listed(seen: Seen) -> Reply:
        if not seen.path.endswith(LIST):
            return Reply({"object": "list", "data": [], "has_more": False})
        after = dict(seen.query).get("after")
        number = 0 if after is None else [page[-1] for page in pages].index(after) + 1
        if number == 1 and patience["waits"]:
            return Reply(b"{}", status=429, headers={"Retry-After": "3600"})
        jobs = [
            {"object": "fine_tuning.job", "id": one, "created_at": 1700000000, "status": "failed"}
            for one in pages[number]
        ]
        return Reply({"object": "list", "data": jobs, "has_more": number < 2})

    with serve(listed) as server, Simulator(World(1, 20)) as second:
        configure(tmp_path, server.url, second.url)
        code, answer, told = ftmirror(tmp_path, "sync")
        assert (code, answer["status"]) == (3, "partial")
        first, other = answer["sources"]
        assert (first["status"], first["resources"]["jobs"]["created"]) == ("partial", 100)
        assert "The server asks to wait 3,600 s, and a run waits 120 s at most" in first["error"]
        assert "warning: first, jobs: " in told
        assert first["resources"].keys() == {"jobs"}  # nothing more was asked of it
        assert (other["status"], other["resources"]["jobs"]["created"]) == ("success", 20)
        assert ftmirror(tmp_path, "status", "--max-age", "1h")[0] == 5
        asked = len(server.seen)
        patience["waits"] = False
        code, answer, told = ftmirror(tmp_path, "sync", "-q")
        assert (code, answer["status"], told) == (0, "success", "")
        counts = answer["sources"][0]["resources"]["jobs"]
        assert (counts["created"], counts["unchanged"]) == (200, 100)
        again = [seen for seen in server.seen[asked:] if seen.path.endswith(LIST)]
        assert [dict(seen.query).get("after") for seen in again] == [None, "ftjob-99", "ftjob-199"]
        assert ftmirror(tmp_path, "status", "--max-age", "1h")[0] == 0
    assert [status for status, _ in log_of_runs(tmp_path)] == ["partial", "success"]


def test_3_is_a_source_that_fails_beside_one_that_does_not(tmp_path: Path) -> None:
    with Simulator(World(1, 20)) as good, Simulator(World(2, 20), refused_keys=[KEY]) as bad:
        configure(tmp_path, bad.url, good.url)
        code, answer, _ = ftmirror(tmp_path, "sync", "--resource", "jobs")
    assert (code, answer["status"]) == (3, "partial")
    assert [one["status"] for one in answer["sources"]] == ["failed", "success"]
    ((status, error),) = log_of_runs(tmp_path)
    assert (status, str(error).startswith("first: The server does not accept")) == ("partial", True)


def test_3_is_a_run_whose_time_is_up(tmp_path: Path) -> None:
    with Simulator(World(1, 300), latency=0.6) as simulator:
        call = ("sync", "--resource", "jobs", "--time-limit", "1s")
        code, answer, told = ftmirror(tmp_path, *call, OPENAI_BASE_URL=simulator.url)
    assert (code, answer["status"]) == (3, "partial")
    assert "The time limit came; the next run goes on from here." in told
    ((status, error),) = log_of_runs(tmp_path)
    assert (status, error) == (
        "partial",
        "default: The time limit came; the next run goes on from here.",
    )


def test_3_is_a_record_that_is_refused_for_the_first_time(tmp_path: Path) -> None:
    faults = [parse_fault("missing=created_at@/fine_tuning/jobs$")]
    with Simulator(World(1, 20), faults=faults) as simulator:
        call = ("sync", "--resource", "jobs")
        code, answer, told = ftmirror(tmp_path, *call, OPENAI_BASE_URL=simulator.url)
    assert (code, answer["status"], answer["sources"][0]["error"]) == (3, "partial", None)
    assert "warning: quarantined: jobs ftjob-" in told
    assert log_of_runs(tmp_path) == [("partial", None)]
