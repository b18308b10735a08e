"""The commands as a person and a cron job call them: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.db import migrate
from etl.simulator import Simulator, World, parse_fault
from tests.calling import Call, caller
from tests.mirror import advance


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    return caller(capsys)


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A fake API that the environment points to."""
    with Simulator(World(5, 120)) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
        yield simulator


def test_with_only_a_key_set_sync_makes_the_mirror(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    first = call("sync", "--json")
    assert first.code == 0
    answer = first.json
    assert isinstance(answer["seconds"], float)
    (source,) = json.loads(first.out)["sources"]
    read = {"events": 7775, "files": 214, "metrics": 70, "checkpoints": 147}
    others = {name: source["resources"].pop(name) for name in read}
    assert {name: counts["created"] for name, counts in others.items()} == read
    assert {name: counts["records"] for name, counts in others.items()} == read
    assert {**answer, "seconds": 0, "sources": [source]} == {
        "run_id": 1,
        "status": "success",
        "mode": "full",
        "seconds": 0,
        "sources": [
            {
                "name": "default",
                "status": "success",
                "error": None,
                "resources": {
                    "jobs": {
                        "pages": 2,
                        "requests": 2,
                        "retries": 0,
                        "records": 120,
                        "created": 120,
                        "updated": 0,
                        "unchanged": 0,
                        "older": 0,
                        "missing": 0,
                        "quarantined": 0,
                    }
                },
                "skipped": {
                    "projects": "no admin key (OPENAI_ADMIN_KEY)",
                    "costs": "no admin key (OPENAI_ADMIN_KEY)",
                    "checkpoint_permissions": "no admin key (OPENAI_ADMIN_KEY)",
                },
            }
        ],
    }
    with sqlite3.connect(tmp_path / "ftmirror.db") as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (120,)
    database.close()
    assert (tmp_path / "ftmirror.db").stat().st_mode & 0o777 == 0o600
    second = call("sync")
    assert (second.code, second.err) == (0, "")
    # A page of jobs, and the two open ones further down.
    assert re.fullmatch(
        r"run 2: success in \d\.\d s\n"
        r"  jobs: 102 unchanged\n"
        r"(  (events|files|metrics|checkpoints): nothing new\n){4}"
        r"  projects, costs, checkpoint_permissions: skipped, no admin key\n"
        r"    \(OPENAI_ADMIN_KEY\)\n",
        second.out,
    )


def test_a_dry_run_says_what_would_change_and_writes_nothing(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    would = call("sync", "--dry-run")
    assert would.code == 0
    assert re.fullmatch(
        r"dry run: success in \d\.\d s\n  jobs: 120 created\nnothing was written\n", would.out
    )
    assert list(tmp_path.iterdir()) == []
    call("sync")
    moved = advance(simulator, changed=3, new=2)
    assert (len(moved["changed"]), len(moved["new"])) == (3, 2)
    before = (tmp_path / "ftmirror.db").read_bytes()
    assert "jobs: 2 created, 3 updated, 117 unchanged" in call("sync", "--dry-run").out
    assert (tmp_path / "ftmirror.db").read_bytes() == before
    assert call("sync", "--dry-run", "--json").json["run_id"] is None


def test_metadata_narrows_a_sync(call: Call, simulator: Simulator) -> None:
    answer = call("sync", "--metadata", "env=prod", "--json")
    assert answer.code == 0
    untagged = call("sync", "--metadata", "null", "--json")
    assert untagged.code == 0
    wrong = call("sync", "--metadata", "null", "--metadata", "env=prod")
    assert wrong.code == 2
    assert "--metadata null cannot go together" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync"], "OPENAI_API_KEY is not set; `export OPENAI_API_KEY=…`"),
        (["sync", "--source", "reserch"], 'there is no source "reserch"'),
        (["sync", "--resource", "job"], "did you mean"),
        (["snyc"], "did you mean sync?"),
        (["status"], "there is no mirror at ftmirror.db yet; `ftmirror sync` makes one"),
        (["import", "nowhere.json"], "nowhere.json: no such file"),
        (["sync", "--database-url", "oracle://x"], "oracle"),
        (["status", "--database-url", "sqlite:///no/such/directory/x.db"], "there is no directory"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(
    call: Call, tmp_path: Path, arguments: list[str], said: str
) -> None:
    answer = call(*arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert list(tmp_path.glob("*.db")) == []


def test_a_refused_key_fails_the_run_and_never_shows(
    call: Call, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Simulator(World(1, 5), refused_keys=["sk-secret-of-this-test"]) as refusing:
        monkeypatch.setenv("OPENAI_BASE_URL", refusing.url)
        answer = call("-vv", "sync", "--json")
    assert answer.code == 1
    assert answer.json["status"] == "failed"
    assert "OPENAI_API_KEY" in answer.err
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "sk-secret" not in answer.out + answer.err
    assert b"sk-secret" not in written


def test_a_partial_run_exits_3_and_the_same_bad_record_only_once(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 5}\n{"id": "ftjob-1", "created_at": 1700000000}\n')
    first = call("import", "x.jsonl")
    assert first.code == 3
    assert "jobs: 1 created, 1 quarantined" in first.out
    assert "quarantined: jobs without id: x.jsonl, line 1: `id` is no text: 5" in first.err
    assert call("import", "x.jsonl").code == 0


def test_import_reads_standard_input_and_gzip_and_needs_no_key(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip
    import io
    from types import SimpleNamespace

    page = b'{"object":"list","data":[{"id":"ftjob-1","created_at":1700000000,"status":"queued"}]}'
    (tmp_path / "page.json.gz").write_bytes(gzip.compress(page))
    assert "jobs: 1 created" in call("import", "page.json.gz").out
    stdin = SimpleNamespace(buffer=io.BytesIO(page.replace(b"ftjob-1", b"ftjob-2")))
    monkeypatch.setattr("sys.stdin", stdin)
    assert "jobs: 1 created" in call("import", "-", "--observed-at", "2025-03-01").out
    assert call("import", "-", "--observed-at", "yesterday").code == 2


def test_an_event_is_not_taken_for_a_job(call: Call, tmp_path: Path) -> None:
    event = '{"object":"fine_tuning.job.event","id":"ftevent-1","created_at":1700000000}'
    (tmp_path / "events.jsonl").write_text(event)
    answer = call("import", "events.jsonl")
    assert answer.code == 3
    assert "quarantined: events ftevent-1: events.jsonl, line 1: it does not name" in answer.err
    assert "events: 1 quarantined" in answer.out
    assert "jobs" not in answer.out


def test_an_event_is_taken_for_the_job_that_is_named(call: Call, tmp_path: Path) -> None:
    event = '{"object":"fine_tuning.job.event","id":"ftevent-1","created_at":1700000000}'
    (tmp_path / "events.jsonl").write_text(event)
    answer = call("import", "events.jsonl", "--job", "ftjob-1")
    assert answer.code == 0
    assert "events: 1 created" in answer.out


def test_a_saved_page_of_costs_is_imported(call: Call, tmp_path: Path) -> None:
    saved = (Path(__file__).parent / "examples" / "costs.json").read_text()
    (tmp_path / "costs.json").write_text(saved)
    answer = call("import", "costs.json")
    assert (answer.code, answer.err.count("rounded")) == (0, 1)
    assert "costs: 4 created" in answer.out
    assert "costs: 4 unchanged" in call("import", "costs.json", "--resource", "costs").out


def test_a_charge_without_its_day_is_not_taken_for_a_job(call: Call, tmp_path: Path) -> None:
    (tmp_path / "costs.jsonl").write_text('{"object":"organization.costs.result"}')
    answer = call("import", "costs.jsonl")
    assert answer.code == 3
    assert "is no record of its own; import the whole bucket it came in" in answer.err


def test_status_tells_freshness_and_a_monitor_its_exit_code(
    call: Call, simulator: Simulator
) -> None:
    call("sync")
    fresh = call("status", "--max-age", "1h")
    assert fresh.code == 0
    assert re.search(r"default +jobs +120 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", fresh.out)
    assert max(map(len, fresh.out.splitlines())) <= 80
    assert call("status", "--max-age", "0s").code == 5
    answer = call("status", "--json").json
    assert answer["totals"] == {
        "jobs": 120,
        "events": 7775,
        "files": 214,
        "metrics": 70,
        "checkpoints": 147,
    }


def test_an_import_makes_no_list_fresh(call: Call, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": "ftjob-1", "created_at": 1700000000}\n')
    call("import", "x.jsonl")
    assert call("status", "--max-age", "1000d").code == 5


def test_runs_lists_what_was_done(call: Call, simulator: Simulator) -> None:
    call("sync", "--resource", "jobs", "--mode", "full")
    call("sync", "--resource", "jobs", "--mode", "full")
    shown = call("runs")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()] == ["run", "2", "1"]
    assert max(map(len, shown.out.splitlines())) <= 80
    (newest,) = json.loads(call("runs", "--limit", "1", "--json").out)
    assert (newest["id"], newest["unchanged"], newest["resources"][0]["resource"]) == (
        2,
        120,
        "jobs",
    )


def test_check_says_what_works_and_what_does_not(
    call: Call, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = call("check")
    assert good.code == 0
    assert "ok      source default: /fine_tuning/jobs can be read with the key from" in good.out
    monkeypatch.delenv("OPENAI_API_KEY")
    bad = call("check")
    assert bad.code == 1
    assert "failed  source default: " in bad.out
    assert "OPENAI_API_KEY" in bad.out


def test_the_schema_can_be_moved_and_looked_at(call: Call) -> None:
    assert call("db", "current").out == f"no schema yet (this version's is {migrate.head()})\n"
    assert call("db", "upgrade").out == f"schema {migrate.head()}\n"
    assert call("db", "upgrade").out == f"schema {migrate.head()}: nothing to do\n"
    assert call("db", "check").out == "the tables are as this version declares them\n"
    history = call("db", "history").out
    assert "0001" in history
    assert migrate.head() in history
    assert "CREATE TABLE jobs (" in call("db", "upgrade", "--sql").out
    assert call("db", "downgrade", "base").code == 0
    assert call("db", "current").out == f"no schema yet (this version's is {migrate.head()})\n"


def test_a_server_database_waits_for_db_upgrade(
    call: Call, simulator: Simulator, empty_database: str
) -> None:
    answer = call("sync", "--database-url", empty_database)
    if empty_database.startswith("sqlite"):
        assert answer.code == 0
        return
    assert answer.code == 2
    assert "Run `ftmirror db upgrade`" in answer.err
    assert call("db", "upgrade", "--database-url", empty_database).code == 0
    assert call("sync", "--database-url", empty_database).code == 0


def test_auto_upgrade_migrates_a_server_database(
    call: Call, simulator: Simulator, empty_database: str, tmp_path: Path
) -> None:
    (tmp_path / "ftmirror.toml").write_text("[database]\nauto_upgrade = true\n")
    assert call("sync", "--database-url", empty_database).code == 0


def test_the_demo_needs_nothing_and_says_where_the_mirror_is(call: Call, tmp_path: Path) -> None:
    answer = call("demo", "--jobs", "60")
    assert answer.code == 0
    first, second = answer.out.split("  run 2: success in ")
    assert re.search(
        r"  run 1: success in \d\.\d s, [\d,]+ requests\n    jobs: 60 created\n", first
    )
    assert "    jobs: 60 unchanged\n    events: nothing new\n" in second
    with sqlite3.connect(tmp_path / "ftmirror-demo.db") as mirror:
        (records,) = mirror.execute("SELECT count(*) FROM records").fetchone()
        assert mirror.execute("SELECT count(*) FROM jobs").fetchone() == (60,)
        assert mirror.execute("SELECT count(*) > 0 FROM job_events").fetchone() == (1,)
    mirror.close()
    said = re.findall(r"    \w+: ([\d,]+) created\n", first)
    assert sum(int(one.replace(",", "")) for one in said) == records
    assert str(tmp_path / "ftmirror-demo.db") in answer.out
    again = call("demo", "--jobs", "60")
    assert again.code == 0


def test_a_file_that_is_no_json_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    answer = call("import", "page.html")
    assert answer.code == 2
    assert "page.html: neither JSON nor JSONL" in answer.err
    (tmp_path / "cut.json").write_text('[{"id": "ftjob-1",\n')
    answer = call("import", "cut.json")
    assert answer.code == 2
    assert "cut.json: neither one JSON value nor JSONL" in answer.err


def test_a_source_without_its_key_does_not_stop_the_others(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "one"\napi_key_env = "NOT_SET"\nbase_url = "{simulator.url}"\n'
        f'[[sources]]\nname = "two"\nbase_url = "{simulator.url}"\n'
    )
    answer = call("sync")
    assert answer.code == 3
    assert "NOT_SET is not set" in answer.err
    assert "two, jobs: 120 created" in answer.out
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "one"\napi_key_env = "NOT_SET"\nbase_url = "{simulator.url}"\n'
    )
    assert call("sync").code == 2


def test_a_source_that_is_no_longer_configured_makes_nothing_stale(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    call("sync")
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "new"\nbase_url = "{simulator.url}"\n'
    )
    stale = call("status", "--max-age", "1h")
    assert stale.code == 5
    assert "new, jobs: never in step" in stale.err
    call("sync")
    assert call("status", "--max-age", "1h").code == 0


def test_a_file_of_somebody_else_is_left_alone(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "ftmirror.db") as database:
        database.execute("CREATE TABLE jobs (id INTEGER)")
    database.close()
    for command in ("sync", "demo --database-url sqlite:///ftmirror.db"):
        answer = call(*command.split())
        assert answer.code == 2
        assert "is no mirror: it holds other tables (jobs)" in answer.err
    assert call("check").code == 1
    with sqlite3.connect(tmp_path / "ftmirror.db") as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()
    assert tables == [("jobs",)]


def test_the_demo_keeps_out_of_a_real_mirror(call: Call, simulator: Simulator) -> None:
    call("sync")
    answer = call("demo", "--database-url", "sqlite:///ftmirror.db")
    assert answer.code == 2
    assert "is a real mirror (of default)" in answer.err


def test_check_sees_tables_that_were_changed(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    call("sync")
    with sqlite3.connect(tmp_path / "ftmirror.db") as database:
        database.execute("ALTER TABLE jobs DROP COLUMN usage_metrics")
    database.close()
    answer = call("check")
    assert answer.code == 1
    assert f"failed  schema: at {migrate.head()}, but the tables were changed" in answer.out
    assert call("db", "check").code == 5


def test_a_downgrade_of_a_mirror_with_records_asks_for_a_word(
    call: Call, simulator: Simulator, tmp_path: Path
) -> None:
    assert call("db", "downgrade", "base").code == 2
    assert list(tmp_path.glob("*.db")) == []
    call("sync", "--resource", "jobs")
    answer = call("db", "downgrade", "base")
    assert answer.code == 2
    assert "the mirror holds 120 records" in answer.err
    assert "DROP TABLE jobs" in call("db", "downgrade", "base", "--sql").out
    assert call("db", "downgrade", "base", "--yes").code == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:pw-x@127.0.0.1:abc/y", "the database URL cannot be read"),
        ("mariadb://u:p@ss-x@127.0.0.1/y", "write %40 for one in a password"),
        ("mariadb://root@127.0.0.1:3306", "names no database"),
        ("postgresql+psycopg2://u:pw-x@127.0.0.1/y", "write postgresql://"),
        ("sqlite://", "a SQLite database in memory"),
    ],
)
def test_a_database_url_that_cannot_work_says_why(
    call: Call, simulator: Simulator, url: str, said: str
) -> None:
    answer = call("sync", "--database-url", url)
    assert answer.code == 2
    assert said in answer.err
    assert "-x" not in answer.err
    assert "Traceback" not in answer.err


def test_a_password_in_the_query_of_a_url_is_not_shown(call: Call) -> None:
    url = "postgresql://u@127.0.0.1:1/y?password=topsecret1"
    answer = call("check", "--json", "--database-url", url)
    assert "topsecret1" not in answer.out + answer.err


def has_begun(path: Path) -> bool:
    """Is there a run in the log of this mirror?"""
    if not path.exists():
        return False
    database = sqlite3.connect(path)
    try:
        return bool(database.execute("SELECT count(*) FROM sync_runs").fetchone()[0])
    except sqlite3.OperationalError:
        return False
    finally:
        database.close()


def test_lines_of_json_stay_lines_of_json_when_interrupted(tmp_path: Path) -> None:
    import os
    import signal
    import subprocess
    import sys
    import time

    with Simulator(World(1, 5), latency=30.0) as simulator:
        process = subprocess.Popen(
            [sys.executable, "-m", "etl.cli", "--log-format", "json", "sync", "--json"],
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": simulator.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not has_begun(tmp_path / "ftmirror.db"):
            assert time.monotonic() < deadline, "no run began within 30 s"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert [json.loads(line)["level"] for line in err.splitlines()] == ["info", "error"]
    assert json.loads(out)["status"] == "failed"


def test_the_version_may_be_asked_for_in_either_way(call: Call) -> None:
    assert call("--version").out == call("version").out


def test_a_future_time_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}")
    answer = call("import", "x.jsonl", "--observed-at", "2999-01-01")
    assert answer.code == 2
    assert "has not come yet" in answer.err


def test_a_saved_error_answer_is_told_apart(call: Call, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"error": {"message": "no"}}')
    assert "an error answer of the API, no record" in call("import", "x.json").err


def test_a_dry_run_knows_what_is_in_quarantine_already(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = '{"object":"fine_tuning.job","id":"ftjob-1","created_at":1700000000}'
    with Simulator(World.from_objects([job])) as good:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        monkeypatch.setenv("OPENAI_BASE_URL", good.url)
        good.faults.replace([parse_fault("missing=created_at")])
        assert call("sync", "--dry-run").code == 3
        assert call("sync").code == 3
        assert call("sync", "--dry-run").code == 0
        assert call("sync").code == 0


def test_an_output_that_was_closed_before_the_start_is_no_crash(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = f"exec {sys.executable} -m etl.cli version >&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
