"""`ftmirror verify` as a person and a cron job call it: what it finds, prints and exits with."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from etl.simulator import Simulator, World, parse_fault
from tests.calling import Answer, Call, caller


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
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A fake API that the environment points to."""
    with Simulator(World(5, 120), refused_keys=["sk-old"]) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
        yield simulator


@pytest.fixture
def synced(call: Call, simulator: Simulator) -> Simulator:
    """The same, its jobs mirrored."""
    assert sync(call) == 0
    return simulator


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A fake API with fewer jobs."""
    with Simulator(World(5, 30)) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
        yield simulator


@pytest.fixture
def whole(call: Call, small: Simulator) -> Simulator:
    """The same, mirrored with all that hangs off its jobs."""
    assert call("sync").code == 0
    return small


def sync(call: Call) -> int:
    """Mirror the jobs, by a full listing."""
    return call("sync", "--resource", "jobs", "--mode", "full").code


def control(simulator: Simulator, path: str, body: object) -> dict[str, Any]:
    """Ask the simulator's controls."""
    request = Request(f"{simulator.root}/__simulator/{path}", json.dumps(body).encode())
    with urlopen(request) as answer:
        return dict(json.load(answer))


def test_a_mirror_just_synced_is_equal(call: Call, synced: Simulator) -> None:
    answer = call("verify")
    assert (answer.code, answer.err) == (0, "")
    digest = hashlib.sha256("\n".join(sorted(synced.world.job_ids())).encode()).hexdigest()
    lines = answer.out.splitlines()
    assert lines[0] == "EQUAL: the mirror holds what the API lists: 120 jobs"
    assert lines[1].startswith("compared on 20")
    assert lines[3:] == [
        "source default: equal",
        "  jobs listed by the API               120  in 2 requests",
        "  jobs in the mirror                   120",
        "  equal                                120",
        "  missing here                           0",
        "  only here                              0",
        "  differing                              0",
        "  sha256 of the ids, sorted, with a newline between two",
        f"    listed  {digest}",
        f"    mirror  {digest}",
    ]


def test_verify_writes_nothing_and_takes_no_lease(
    call: Call, synced: Simulator, tmp_path: Path
) -> None:
    before = (tmp_path / "ftmirror.db").read_bytes()
    call("verify")
    assert (tmp_path / "ftmirror.db").read_bytes() == before


def test_the_json_holds_every_figure(call: Call, synced: Simulator) -> None:
    answer = call("verify", "--json", "--seed", "s")
    found = answer.json
    assert found.pop("when").endswith("Z")
    digest = hashlib.sha256("\n".join(sorted(synced.world.job_ids())).encode()).hexdigest()
    assert (answer.code, found) == (
        0,
        {
            "verdict": "equal",
            "sentence": "the mirror holds what the API lists: 120 jobs",
            "seed": "s",
            "sources": [
                {
                    "name": "default",
                    "verdict": "equal",
                    "error": None,
                    "requests": 2,
                    "listed": 120,
                    "mirrored": 120,
                    "equal": 120,
                    "missing_here": [],
                    "only_here": [],
                    "differing": [],
                    "marked_missing": [],
                    "quarantined": [],
                    "sha256_listed": digest,
                    "sha256_mirror": digest,
                    "children": {"jobs": [], "absent": 0},
                }
            ],
        },
    )


def test_a_job_that_changed_is_named(call: Call, synced: Simulator) -> None:
    (changed,) = control(synced, "advance", {"changed": 1, "new": 0})["changed"]
    answer = call("verify")
    assert answer.code == 5
    assert answer.out.startswith("DIFFERS: the mirror differs from the API in 1 record\n")
    assert f"  differing                              1\n    {changed}\n" in answer.out
    assert call("verify", "--json").source["differing"] == [changed]
    sync(call)
    assert call("verify").code == 0


def test_a_new_job_is_missing_here(call: Call, synced: Simulator) -> None:
    (new,) = control(synced, "advance", {"changed": 0, "new": 1})["new"]
    answer = call("verify", "--json")
    assert (answer.code, answer.json["verdict"]) == (5, "differs")
    found = answer.source
    assert (found["missing_here"], found["listed"], found["mirrored"]) == ([new], 121, 120)
    assert found["sha256_listed"] != found["sha256_mirror"]
    assert f"  missing here                           1\n    {new}\n" in call("verify").out


def test_a_removed_job_is_only_here_until_a_sync_marks_it(call: Call, synced: Simulator) -> None:
    gone = list(synced.world.job_ids())[7]
    control(synced, "remove", {"ids": [gone]})
    answer = call("verify", "--json")
    assert answer.code == 5
    found = answer.source
    assert (found["only_here"], found["listed"], found["mirrored"]) == ([gone], 119, 120)
    assert sync(call) == 0
    after = call("verify", "--json")
    assert (after.code, after.source["mirrored"]) == (0, 119)


def test_a_job_that_came_back_is_listed_but_marked_missing(call: Call, synced: Simulator) -> None:
    gone = list(synced.world.job_ids())[7]
    control(synced, "remove", {"ids": [gone]})
    sync(call)
    control(synced, "restore", {"ids": [gone]})
    answer = call("verify")
    assert answer.code == 5
    assert f"  listed, but marked missing             1\n    {gone}\n" in answer.out
    assert call("verify", "--json").source["marked_missing"] == [gone]
    sync(call)
    assert call("verify").code == 0


def test_at_most_twenty_ids_are_shown_and_the_json_names_all(call: Call, synced: Simulator) -> None:
    changed = control(synced, "advance", {"changed": 23, "new": 0})["changed"]
    out = call("verify").out
    shown = [line.strip() for line in out.splitlines() if line.startswith("    ftjob-")]
    assert shown == sorted(changed)[:20]
    assert "    and 3 more; --json names them all\n" in out
    assert call("verify", "--json").source["differing"] == sorted(changed)


def test_a_job_that_the_listing_shows_twice_counts_once(call: Call, synced: Simulator) -> None:
    synced.faults.replace([parse_fault("twice#2")])
    found = call("verify", "--json")
    assert (found.code, found.source["listed"], found.source["equal"]) == (0, 120, 120)


def test_other_white_space_and_order_of_keys_are_no_difference(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    spellings = {
        '{"object":"fine_tuning.job","id":"ftjob-1","created_at":1700000000,"seed":1}': 0,
        '{ "seed": 1, "id":"ftjob-1", "object":"fine_tuning.job","created_at":1700000000}': 0,
        '{"object":"fine_tuning.job","id":"ftjob-1","created_at":1700000000,"seed":2}': 5,
    }
    for number, (spelling, code) in enumerate(spellings.items()):
        with Simulator(World.from_objects([spelling])) as one:
            monkeypatch.setenv("OPENAI_BASE_URL", one.url)
            if number == 0:
                sync(call)
            assert call("verify").code == code


def test_what_lies_in_quarantine_is_said_and_is_no_difference(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        '{"object":"fine_tuning.job","id":"ftjob-1","created_at":1700000000}',
        '{"object":"fine_tuning.job","id":"ftjob-2","created_at":1700000001,"status":[]}',
    ]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    with Simulator(World.from_objects(jobs)) as one:
        monkeypatch.setenv("OPENAI_BASE_URL", one.url)
        one.faults.replace([parse_fault("missing=created_at#1")])
        assert sync(call) == 3
        one.faults.replace([parse_fault("missing=created_at")])
        answer = call("verify", "--json")
        assert answer.code == 0
        assert answer.source["quarantined"]
        assert answer.source["missing_here"] == []
        assert "in quarantine" in call("verify").out.splitlines()[0]
        one.faults.replace([parse_fault("missing=id")])
        unreadable = call("verify", "--json")
        assert unreadable.code == 5
        assert any(name.startswith("(unreadable, ") for name in unreadable.source["differing"])


def test_a_wrong_key_proves_nothing(
    call: Call, synced: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-old")
    answer = call("verify")
    assert answer.code == 1
    assert answer.out.startswith("FAILED: nothing was proved; 1 source could not be read\n")
    assert "sk-old" not in answer.out + answer.err
    assert "HTTP 401" in answer.err
    as_json = call("verify", "--json")
    assert (as_json.code, as_json.json["verdict"]) == (1, "failed")
    assert "HTTP 401" in as_json.source["error"]
    assert (as_json.source["listed"], as_json.source["only_here"]) == (None, None)


def test_of_two_sources_one_may_fail(
    call: Call, synced: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        "".join(
            f'[[sources]]\nname = "{name}"\nbase_url = "{synced.url}"\napi_key_env = "{key}"\n'
            for name, key in [("default", "OPENAI_API_KEY"), ("other", "OTHER_KEY")]
        )
    )
    monkeypatch.setenv("OTHER_KEY", "sk-old")
    answer = call("verify", "--json")
    assert (answer.code, answer.json["verdict"]) == (3, "partial")
    assert [one["verdict"] for one in answer.json["sources"]] == ["equal", "failed"]
    assert "PARTIAL: the mirror holds what the API lists: 120 jobs; 1 source" in call("verify").out
    assert call("verify", "--source", "default").code == 0
    assert call("verify", "--source", "other").code == 1
    control(synced, "advance", {"changed": 1, "new": 0})
    assert call("verify").code == 5


def test_a_job_of_another_source_is_compared_as_that_source_has_it(
    call: Call, synced: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        f'[[sources]]\nname = "second"\nproject = "proj_2"\nbase_url = "{synced.url}"\n'
    )
    answer = call("verify", "--json")
    assert answer.code == 0
    found = answer.source
    assert (found["name"], found["listed"], found["mirrored"], found["equal"]) == (
        "second",
        120,
        120,
        120,
    )
    assert found["sha256_listed"] == found["sha256_mirror"]


def test_without_a_mirror_or_a_key_verify_says_so(
    call: Call, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = call("verify")
    assert answer.code == 2
    assert "there is no mirror at ftmirror.db yet" in answer.err
    monkeypatch.delenv("OPENAI_API_KEY")
    call("db", "upgrade")
    assert call("verify").code == 2


def test_children_of_sampled_jobs_are_compared(call: Call, whole: Simulator) -> None:
    answer = call("verify", "--children", "5", "--seed", "1", "--json")
    assert answer.code == 0
    children = answer.source["children"]
    assert len(children["jobs"]) == 5
    assert children["absent"] == 0
    events, checkpoints = children["events"], children["checkpoints"]
    world = whole.world
    assert events["listed"] == events["mirrored"] == events["equal"]
    assert events["listed"] == sum(
        len(world.events(one, None, 5000).items) for one in children["jobs"]
    )
    assert checkpoints["equal"] == sum(
        len(world.checkpoints(one, None, 5000).items) for one in children["jobs"]
    )
    again = call("verify", "--children", "5", "--seed", "1", "--json").source["children"]
    other = call("verify", "--children", "5", "--seed", "2", "--json").source["children"]
    assert again["jobs"] == children["jobs"] != other["jobs"]
    out = call("verify", "--children", "1", "--seed", "1").out
    assert "\n  children of 1 job, sampled with seed 1\n    events: " in out
    assert "\n    events: " in out
    assert "sampled children" in out.splitlines()[0]


def test_children_that_changed_behind_the_mirror_are_named_with_their_job(
    call: Call, whole: Simulator, tmp_path: Path
) -> None:
    jobs = call("verify", "--children", "30", "--json").source["children"]["jobs"]
    assert len(jobs) == 30
    with_checkpoints = next(
        one for one in jobs if len(whole.world.checkpoints(one, None, 9).items) == 3
    )
    (first, _), (second, _), _ = whole.world.checkpoints(with_checkpoints, None, 9).items
    database = sqlite3.connect(tmp_path / "ftmirror.db")
    change = "UPDATE records SET digest = 'x', canonical_digest = 'x' WHERE id = ?"
    database.execute(change, [first])
    database.execute("DELETE FROM records WHERE id = ?", [second])
    database.commit()
    database.close()
    answer = call("verify", "--children", "30", "--json")
    assert answer.code == 5
    checkpoints = answer.source["children"]["checkpoints"]
    assert checkpoints["differing"] == [f"{with_checkpoints}/{first}"]
    assert checkpoints["missing_here"] == [f"{with_checkpoints}/{second}"]
    assert answer.source["children"]["events"]["differing"] == []
    assert f"        {with_checkpoints}/{first}\n" in call("verify", "--children", "30").out


def test_new_events_of_an_open_job_are_missing_here(call: Call, whole: Simulator) -> None:
    jobs = {one: json.loads(whole.world.job(one))["status"] for one in whole.world.job_ids()}
    queued = next(one for one in jobs if jobs[one] == "queued")
    before = len(whole.world.events(queued, None, 5000).items)
    control(whole, "advance", {"ids": [queued]})
    after = len(whole.world.events(queued, None, 5000).items)
    answer = call("verify", "--children", "30", "--json")
    assert answer.source["differing"] == [queued]
    missing = answer.source["children"]["events"]["missing_here"]
    assert len([one for one in missing if one.startswith(f"{queued}/")]) == after - before > 0


def test_every_kind_of_database_is_compared_alike(
    call: Call, small: Simulator, empty_database: str
) -> None:
    there = ("--database-url", empty_database)
    assert call("db", "upgrade", *there).code == 0
    assert call("sync", *there).code == 0
    assert call("verify", "--children", "3", *there).code == 0
    changed = control(small, "advance", {"changed": 3, "new": 0})["changed"]
    gone = list(small.world.job_ids())[20]
    control(small, "remove", {"ids": [gone]})
    answer = call("verify", "--json", *there)
    assert answer.code == 5
    assert answer.source["differing"] == sorted(set(changed) - {gone})
    assert answer.source["only_here"] == [gone]


def test_a_process_of_its_own_says_the_same(synced: Simulator, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etl.cli", "verify"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("EQUAL: the mirror holds what the API lists: 120 jobs\n")
