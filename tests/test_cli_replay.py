"""`ftmirror replay` and `drift` as a person and a cron job call them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from etl.db import bulk, lease
from etl.db.engine import open_engine
from tests.calling import Answer, Call, caller
from tests.jobs import job


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    call = caller(capsys)

    def narrow(*arguments: str) -> Answer:
        answer = call(*arguments)
        assert answer.is_narrow
        return answer

    return narrow


@pytest.fixture
def mirrored(call: Call, tmp_path: Path) -> Path:
    """Two jobs, one of them twice, with fields that no column knows; the mirror's file."""
    found = [
        job("ftjob-1", color="blue \x1b[2J red"),
        job("ftjob-2", "running", color="a long example " * 6, seed="7"),
        job("ftjob-2", color="Bearer abcdef0123456789"),
    ]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    assert call("import", "jobs.jsonl").code == 0
    return tmp_path / "ftmirror.db"


def execute(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement).fetchall()


def test_rows_that_were_lost_are_rebuilt(call: Call, mirrored: Path) -> None:
    execute(mirrored, "DELETE FROM jobs")
    execute(mirrored, "INSERT INTO job_metadata VALUES ('ftjob-gone', 'a', 'b')")
    answer = call("replay")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(
        r"run 2: success in \d\.\d s\n"
        r"  jobs: 2 records rebuilt, 2 kinds of drift \(`ftmirror drift`\)\n"
        r"  job_metadata: 1 row of no record removed\n",
        answer.out,
    )
    assert execute(mirrored, "SELECT id FROM jobs ORDER BY id") == [("ftjob-1",), ("ftjob-2",)]
    lines = call("runs").out.splitlines()
    assert re.search(r" 2  .* replay  success +0 +0$", lines[1])


def test_the_json_is_that_of_sync_and_more(call: Call, mirrored: Path) -> None:
    answer = call("replay", "--resource", "jobs", "--json").json
    assert isinstance(answer.pop("seconds"), float)
    assert answer == {
        "run_id": 2,
        "status": "success",
        "mode": "replay",
        "sources": [
            {
                "name": "default",
                "status": "success",
                "error": None,
                "resources": {
                    "jobs": {
                        "pages": 0,
                        "requests": 0,
                        "retries": 0,
                        "records": 2,
                        "created": 0,
                        "updated": 0,
                        "unchanged": 2,
                        "older": 0,
                        "missing": 0,
                        "quarantined": 0,
                    }
                },
                "skipped": {},
            }
        ],
        "resumed": {},
        "done_before": [],
        "strays": {},
        "drift": {"jobs": 2},
        "unread_versions": {},
    }


@pytest.fixture
def cut(call: Call, mirrored: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with a replay that ended with its first batch of one job."""
    from etl.rebuilding import Rebuilding

    monkeypatch.setitem(bulk.PACE, "sqlite", bulk.PACE["sqlite"]._replace(records=1))
    tell = Rebuilding._tell

    def told_and_cut(*arguments: Any) -> None:
        tell(*arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rebuilding, "_tell", told_and_cut)
        assert call("replay").code == 130
    return mirrored


def test_a_cut_replay_says_that_it_goes_on(call: Call, cut: Path) -> None:
    answer = call("replay")
    assert answer.code == 0
    assert answer.out.splitlines()[1:] == [
        "  jobs: 1 record rebuilt, 1 before, by the replay that was cut, 2 kinds of drift",
        "    (`ftmirror drift`)",
    ]
    assert "2 records rebuilt" in call("replay").out


def test_anew_begins_at_the_start(call: Call, cut: Path) -> None:
    answer = call("replay", "--anew", "--json").json
    assert answer["resumed"] == {}
    assert answer["sources"][0]["resources"]["jobs"]["records"] == 2


def test_what_cannot_be_read_any_more_ends_partial(call: Call, mirrored: Path) -> None:
    """Whatever damaged it: here a hand in the database."""
    execute(mirrored, """UPDATE records SET payload = '{"id":"ftjob-1"}' WHERE id = 'ftjob-1'""")
    answer = call("replay")
    assert answer.code == 3
    assert answer.out.splitlines()[1] == (
        "  jobs: 1 record rebuilt, 1 cannot be read (`ftmirror quarantine list`), 2 kinds"
    )
    assert "quarantined: jobs ftjob-1: `created_at` is no time: null" in answer.err
    assert call("replay").code == 3
    assert "ftjob-1" in call("quarantine", "list").out


def test_another_writer_is_named(call: Call, mirrored: Path) -> None:
    engine = open_engine(f"sqlite:///{mirrored}")
    with lease.hold(engine, "sync"):
        answer = call("replay", "--json")
    engine.dispose()
    assert answer.code == 4
    assert answer.json["status"] == "locked"
    assert "`ftmirror sync` on " in answer.err


def test_a_resource_that_there_is_not_is_named(call: Call, mirrored: Path) -> None:
    for name in ("replay", "drift"):
        answer = call(name, "--resource", "job")
        assert answer.code == 2
        assert "there is no resource 'job' (did you mean jobs?)" in answer.err


def test_an_empty_mirror_has_nothing_to_rebuild_and_no_drift(call: Call, tmp_path: Path) -> None:
    assert call("drift").code == 2
    answer = call("replay")
    assert answer.code == 0
    assert answer.out.endswith("\n  nothing to rebuild: the ledger holds no such records\n")
    answer = call("drift")
    assert (answer.code, answer.out) == (0, "no drift: this version knows all that the API sent\n")
    assert call("drift", "--json").json == []


def test_drift_is_listed_with_what_it_means(call: Call, mirrored: Path) -> None:
    """It fits, nothing in it steers a terminal, and what looks like a key is not shown."""
    answer = call("drift")
    assert (answer.code, answer.err) == (5, "")
    today = execute(mirrored, "SELECT substr(min(first_seen_at), 1, 10) FROM drift")[0][0]
    assert answer.out == (
        "Drift is what the API sent and this version does not know, or knows otherwise.\n"
        "  Nothing is lost: the ledger keeps it as it came. A newer version may know it;\n"
        "  then `ftmirror replay` brings it into the tables.\n"
        "\n"
        "jobs: color\n"
        f"  unknown_field, 3 times, on {today}\n"
        "  as `blue \\x1b[2J red`\n"
        "\n"
        "jobs: seed\n"
        f"  wrong_type, once, on {today}\n"
        "  as `7`\n"
    )
    assert call("drift", "--resource", "events").code == 0


def test_hostile_paths_and_long_examples_are_shown_in_lines_that_fit(
    call: Call, mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-some-proxy")
    execute(
        mirrored,
        "UPDATE drift SET path = 'x' || char(27) || '[31m' || char(8238) || 'a-key-of-some-proxy', "
        f"example = '{'long ' * 40}', last_seen_at = '2099-01-02 03:04:05' WHERE path = 'color'",
    )
    out = call("drift", "--resource", "jobs").out
    assert "jobs: x\\x1b[31m\\u202e***\n" in out
    assert " to 2099-01-02\n" in out
    assert out.count("long") == 40
    (color, _) = sorted(call("drift", "--json").json, key=lambda one: -int(one["occurrences"]))
    assert color["path"] == "x\x1b[31m\u202e***"
    assert color["last_seen_at"] == "2099-01-02T03:04:05Z"
    assert set(color) == {
        "resource",
        "path",
        "kind",
        "example",
        "first_seen_at",
        "last_seen_at",
        "occurrences",
    }
