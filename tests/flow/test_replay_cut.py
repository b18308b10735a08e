"""A replay that was cut goes on where it stood, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update
from sqlalchemy.exc import OperationalError

from etl.db import bulk
from etl.db.runs import Tally
from etl.db.tables import drift, record_versions, records, replays
from etl.replay import replay
from etl.resources import discover
from tests.conftest import make_schema
from tests.flow.test_replay import empty, kept, odd_jobs, rebuilt, with_rows
from tests.flow.test_speed import written
from tests.jobs import job
from tests.mirror import import_objects, rows, statements
from tests.parts import event as event_object


class Cut(Exception):
    """The replay was stopped from outside."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten records a transaction, so that a small ledger has many."""
    for name, pace in bulk.PACE.items():
        monkeypatch.setitem(bulk.PACE, name, pace._replace(records=10))


def mirrored(engine: Engine, directory: Path) -> None:
    """60 jobs, half of them in two versions, 15 events, and drift in most."""
    import_objects(engine, odd_jobs(range(60)), directory)
    import_objects(engine, odd_jobs(range(0, 60, 2), eval_id="eval_1"), directory)
    events = [event_object(f"ftevent-{number:02}", odd=number) for number in range(15)]
    import_objects(engine, events, directory, job="ftjob-000")


def after(batches: int) -> Callable[[Tally], None]:
    """A progress that cuts the replay behind its n-th transaction of records."""
    left = batches

    def step(tally: Tally) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Cut

    return step


def cut_after(engine: Engine, batches: int, *names: str) -> None:
    chosen = [one for name, one in discover().items() if not names or name in names]
    with pytest.raises(Cut):
        replay(engine, chosen, after(batches))


def test_a_cut_replay_does_the_rest_and_not_the_first_part_again(
    engine: Engine, tmp_path: Path
) -> None:
    mirrored(engine, tmp_path)
    before = kept(engine)
    empty(engine)
    cut_after(engine, 3, "jobs")
    assert len(rows(engine, "jobs")) == 30
    assert rows(engine, "drift") == []
    read: list[str] = []
    answer = replay(
        engine, [with_rows("jobs", lambda _, values: values, shown=read)], lambda _: None
    )
    assert answer.resumed == {"jobs": 30}
    assert answer.run.counts["records"] == 30
    assert min(read) == "ftjob-030"
    assert {row["id"] for row in rows(engine, "jobs")} == {row["id"] for row in before["jobs"]}
    rebuilt(engine, "events")
    assert kept(engine) == before
    assert [(run["mode"], run["status"]) for run in rows(engine, "sync_runs")[3:]] == [
        ("replay", "failed"),
        ("replay", "success"),
        ("replay", "success"),
    ]


def test_cut_at_any_statement_it_ends_the_same(sqlite_engine: Engine, tmp_path: Path) -> None:
    """In the middle of a batch, of what belongs to no record, of the drift, of its last words."""
    engine = sqlite_engine
    mirrored(engine, tmp_path)
    before = kept(engine)
    with statements(engine) as seen:
        rebuilt(engine)
    cuttable = [one for one in seen if one != "COMMIT"]
    never = left = 1_000_000

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal left
        left -= 1
        # A lease that is not given back is held as long as its process lives: this one.
        if left <= 0 and not ("leases" in statement or statement.startswith("BEGIN")):
            left = never
            raise Cut

    event.listen(engine, "before_cursor_execute", count)
    for place in range(10, len(cuttable) - 5, 43):
        empty(engine)
        left = place
        with pytest.raises(Cut):
            rebuilt(engine, anew=True)
        rebuilt(engine)
        assert kept(engine) == before, f"cut at {place}: {cuttable[place]}"
    event.remove(engine, "before_cursor_execute", count)
    assert len(cuttable) > 200


def test_what_other_runs_write_in_between_is_counted_once(engine: Engine, tmp_path: Path) -> None:
    """New versions below and above the place, new records, and an older state."""
    mirrored(engine, tmp_path)
    cut_after(engine, 3, "jobs")
    import_objects(engine, odd_jobs(range(0, 60, 3), eval_id="eval_2"), tmp_path)
    import_objects(engine, odd_jobs(range(100, 104)), tmp_path)
    import_objects(engine, [job("ftjob-0", "queued", color="z"), job("ftjob-0")], tmp_path)
    import_objects(engine, odd_jobs([1, 59], status="running", color="older"), tmp_path)
    before = kept(engine)
    (line,) = before.pop("replays")
    assert line["last_id"] == "ftjob-029"
    # Counted by those runs themselves, and damaged since: only the ledger tells.
    with engine.begin() as connection:
        damaged = update(drift).where(drift.c.resource == "jobs")
        connection.execute(damaged.values(occurrences=1000))
    cut_after(engine, 2, "jobs")
    answer = rebuilt(engine, "jobs")
    assert answer.resumed == {"jobs": 50}
    assert kept(engine) == {**before, "replays": []}


def test_rows_that_another_version_wrote_in_between_are_made_anew_too(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """They are below the place, so that only what their run was tells that they are meant."""
    engine = sqlite_engine
    mirrored(engine, tmp_path)
    cut_after(engine, 3, "jobs")
    import_objects(engine, odd_jobs([3], eval_id="eval_2"), tmp_path)
    before = rows(engine, "jobs")
    jobs = discover()["jobs"].table
    assert jobs is not None
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == "ftjob-003").values(seed=-1))
    rebuilt(engine, "jobs")
    assert rows(engine, "jobs") == before


def test_the_whole_replay_goes_on_with_the_resource_that_was_cut(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    mirrored(sqlite_engine, tmp_path)
    before = kept(sqlite_engine)
    empty(sqlite_engine)
    # Six batches of jobs, and one of events.
    cut_after(sqlite_engine, 7)
    answer = rebuilt(sqlite_engine)
    assert answer.done_before == ["jobs", "projects", "costs"]
    assert answer.resumed == {"events": 10}
    assert answer.run.counts["records"] == 5
    assert kept(sqlite_engine) == before
    assert rebuilt(sqlite_engine).done_before == []


def test_a_resource_that_is_named_is_replayed_though_it_was_done_before(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    mirrored(sqlite_engine, tmp_path)
    cut_after(sqlite_engine, 7)
    answer = rebuilt(sqlite_engine, "jobs")
    assert (answer.run.counts["records"], answer.done_before) == (60, [])
    assert [line["resource"] for line in rows(sqlite_engine, "replays")][1] == "checkpoints"
    assert rebuilt(sqlite_engine).resumed == {"events": 10}
    assert rows(sqlite_engine, "replays") == []


@pytest.mark.parametrize("why", ["another version", "anew"])
def test_it_begins_at_the_start(sqlite_engine: Engine, tmp_path: Path, why: str) -> None:
    """For another program, or another text of a normaliser, and where it is asked for."""
    mirrored(sqlite_engine, tmp_path)
    before = kept(sqlite_engine)
    cut_after(sqlite_engine, 7)
    if why == "another version":
        with sqlite_engine.begin() as connection:
            connection.execute(update(replays).values(version="0.0.1 0001 abc"))
    answer = rebuilt(sqlite_engine, anew=why == "anew")
    assert (answer.resumed, answer.done_before) == ({}, [])
    assert answer.run.counts["records"] == len(before["records"])
    assert kept(sqlite_engine) == before


def test_what_the_first_part_could_not_read_makes_the_last_part_partial(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    mirrored(sqlite_engine, tmp_path)
    worse = with_rows("jobs", lambda _, values: values, refused=["ftjob-003"])
    with pytest.raises(Cut):
        replay(sqlite_engine, [worse], after(2))
    answer = replay(sqlite_engine, [worse], lambda _: None)
    assert answer.resumed == {"jobs": 20}
    assert answer.run.status == "partial"
    assert answer.run.error == "default: 1 record of jobs could not be read: the rows are as before"


def test_a_batch_that_the_database_failed_at_is_counted_once(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """A file that was locked for a moment, in the middle of the second batch."""
    mirrored(sqlite_engine, tmp_path)
    before = kept(sqlite_engine)
    left = 2

    def lock(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal left
        left -= statement.startswith("INSERT INTO job_methods")
        if left == 0:
            left = -1
            locked = sqlite3.OperationalError("database is locked")
            locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise OperationalError(statement, None, locked)

    waits: list[float] = []
    event.listen(sqlite_engine, "before_cursor_execute", lock)
    answer = rebuilt(sqlite_engine, "jobs", sleep=waits.append)
    event.remove(sqlite_engine, "before_cursor_execute", lock)
    assert (waits, answer.run.status) == ([0.5], "success")
    assert (answer.run.counts["records"], answer.run.counts["unchanged"]) == (60, 60)
    assert kept(sqlite_engine) == before


def test_drift_beyond_what_a_place_can_hold_costs_only_time(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of field names nobody knows: the place stays behind, and the end is the same."""
    mirrored(sqlite_engine, tmp_path)
    odd = [{**job(f"ftjob-{number:03}"), f"x{number}": 1} for number in range(60)]
    import_objects(sqlite_engine, odd, tmp_path)
    before = kept(sqlite_engine)
    monkeypatch.setattr("etl.db.replaying.MOST_SAVED", 4_000)
    cut_after(sqlite_engine, 5, "jobs")
    (line,) = rows(sqlite_engine, "replays")
    assert "" < line["last_id"] < "ftjob-049"
    answer = rebuilt(sqlite_engine, "jobs")
    assert 0 < answer.resumed["jobs"] < 50
    assert kept(sqlite_engine) == before


KILLED = """
import os, signal, sys
from etl.db import bulk
from etl.db.engine import open_engine
from etl.replay import replay
from etl.resources import discover
from sqlalchemy import event

bulk.PACE["sqlite"] = bulk.PACE["sqlite"]._replace(records=10)
engine = open_engine(sys.argv[1])
resources = list(discover().values())
left = int(sys.argv[2])

def kill(_, __, statement, *___):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(engine, "before_cursor_execute", kill)
replay(engine, resources, lambda _: None)
"""


def test_killed_for_good_it_goes_on_at_once(tmp_path: Path) -> None:
    """By SIGKILL in the middle of a transaction, each time further on."""
    url = f"sqlite:///{tmp_path / 'mirror.db'}"
    engine = make_schema(url)
    mirrored(engine, tmp_path)
    before = kept(engine)
    empty(engine)
    for statement in (60, 90):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, url, str(statement)],
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert ended.returncode == -signal.SIGKILL
    first, second = rows(engine, "sync_runs")[-2:]
    assert (first["mode"], first["error"]) == ("replay", "the run was cut off")
    assert second["status"] == "running"
    answer = rebuilt(engine)
    assert answer.resumed["jobs"] > 10
    assert kept(engine) == before
    engine.dispose()


def test_the_ledger_itself_is_only_read(engine: Engine, tmp_path: Path) -> None:
    """Nothing is written to it, nor to what says how far lists and parents were read."""
    mirrored(engine, tmp_path)
    cut_after(engine, 3)
    with statements(engine) as seen:
        rebuilt(engine)
    spared = {records.name, record_versions.name, "frontiers", "child_progress"}
    assert "job_hyperparameters" in written(seen)
    assert spared.isdisjoint(written(seen))
