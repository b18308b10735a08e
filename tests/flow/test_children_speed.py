"""What makes it fast to read what hangs off jobs, without a clock: statements and transactions."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from etl.db import bulk
from etl.simulator import Simulator, World
from tests.mirror import BOOKKEEPING, rows, source_of, statements
from tests.parts import NOW, Api, run, told

_WRITES = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM|COPY) [\"`]?(\w+)")
JOBS = 250
HOUR = timedelta(hours=1)


def small(count: int) -> Api:
    """Finished jobs, each with two events, a checkpoint, two files and four measurements."""
    api = Api()
    for number in range(count):
        job_id = f"ftjob-{number:03}"
        api.add(job_id, events=told(job_id, 2), content=b"step,a,b\n1,1,2\n2,3,4\n")
    return api


@pytest.fixture(scope="module")
def api() -> Api:
    return small(JOBS)


def written(seen: list[str]) -> list[str]:
    """The tables written to, a name for each statement."""
    return [match[2] for one in seen if (match := _WRITES.match(one))]


def transactions(seen: list[str]) -> list[list[str]]:
    """The tables that each transaction wrote to, of those that write what was read."""
    found: list[list[str]] = [[]]
    for one in seen:
        if one == "COMMIT":
            found.append([])
        else:
            found[-1] += written([one])
    return [one for one in found if "child_progress" in one or "records" in one]


def test_what_hangs_off_many_jobs_is_a_batch_a_resource(engine: Engine, api: Api) -> None:
    with api.served() as source:
        run(engine, source, resources=["jobs"])
        with statements(engine) as seen:
            result = run(engine, source, resources=["events", "checkpoints", "files", "metrics"])
    assert (result.status, result.counts["created"]) == ("success", JOBS * (2 + 1 + 2 + 1))
    books = Counter(["records", "child_progress", "sync_resource_runs"])
    # PostgreSQL merges what may be there already by way of a table of its own.
    batches = [
        # A beat of the lease may fall into any of them.
        Counter(one for one in batch if not one.startswith(("stage_", "leases"))) - books
        for batch in transactions(seen)
    ]
    assert sorted(sorted(batch.elements()) for batch in batches) == [
        ["files"],
        ["frontiers", "job_events"],
        ["job_checkpoints", "training_metrics"],
        ["training_metrics"],
    ]
    assert len(written(seen)) <= 50
    # Everything, look-ups too: a statement for a job would be 250 of each kind.
    assert len(seen) <= 150


@pytest.mark.parametrize("size", [50, 125])
def test_a_batch_is_as_large_as_the_database_likes(
    sqlite_engine: Engine, api: Api, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bulk.PACE, "sqlite", bulk.PACE["sqlite"]._replace(records=size))
    with api.served() as source:
        run(sqlite_engine, source, resources=["jobs"])
        with statements(sqlite_engine) as seen:
            run(sqlite_engine, source, resources=["events", "checkpoints"])
    found = transactions(seen)
    assert sum("job_events" in one for one in found) == 2 * JOBS / size
    assert sum("job_checkpoints" in one for one in found) == JOBS / size


def test_jobs_of_which_nothing_came_are_noted_in_batches_too(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bulk.PACE, "sqlite", bulk.PACE["sqlite"]._replace(records=100))
    api = Api()
    for number in range(200):
        api.add(f"ftjob-{number:03}", events=[], checkpoints=[], result_files=[])
    with api.served() as source:
        run(sqlite_engine, source, resources=["jobs"])
        with statements(sqlite_engine) as seen:
            run(sqlite_engine, source, resources=["checkpoints"])
    assert written(seen).count("child_progress") == 2
    assert len(rows(sqlite_engine, "child_progress")) == 200


def test_a_run_with_nothing_new_writes_nothing_but_its_books_and_looks_a_few_times(
    sqlite_engine: Engine, api: Api
) -> None:
    with api.served() as source:
        run(sqlite_engine, source)
        with statements(sqlite_engine) as seen:
            result = run(sqlite_engine, source, now=NOW + HOUR)
    assert (result.status, result.counts["requests"]) == ("success", 1)
    assert set(written(seen)) <= BOOKKEEPING
    assert len(seen) <= 100
    # One look a column of parents.
    assert sum("FROM jobs LEFT OUTER JOIN child_progress" in one for one in seen) <= 6


@pytest.mark.parametrize("jobs", [20, 200])
def test_reading_open_jobs_again_takes_no_statement_a_job(sqlite_engine: Engine, jobs: int) -> None:
    api = Api()
    for number in range(jobs):
        job_id = f"ftjob-{number:03}"
        api.add(job_id, status="running", finished_at=None, events=told(job_id, 3), result_files=[])
    with api.served() as source:
        run(sqlite_engine, source)
        with statements(sqlite_engine) as seen:
            result = run(sqlite_engine, source, now=NOW + HOUR)
    assert result.counts["requests"] >= 2 * jobs
    assert set(written(seen)) <= BOOKKEEPING
    assert len(seen) <= 90


@pytest.mark.long
def test_events_of_a_long_job_are_written_in_the_batches_of_any_list(
    sqlite_engine: Engine,
) -> None:
    api = Api()
    api.add("ftjob-1", events=told("ftjob-1", 13_000))
    with api.served() as source:
        run(sqlite_engine, source, resources=["jobs"])
        with statements(sqlite_engine) as seen:
            result = run(sqlite_engine, source, resources=["events"])
    assert result.counts["requests"] == 130
    batches = [one for one in transactions(seen) if "job_events" in one]
    assert len(batches) == 3
    assert len(rows(sqlite_engine, "job_events")) == 13_000


def test_a_request_a_list_and_a_file(sqlite_engine: Engine) -> None:
    """Of an invented world: no page of events or checkpoints is asked for twice."""
    with Simulator(World(12, 80)) as simulator:
        now = datetime.fromtimestamp(simulator.world.now, UTC) + timedelta(days=2)
        result = run(sqlite_engine, source_of(simulator), now=now)
    tallies = {one.resource: one.counts for one in result.sources[0].tallies}
    assert tallies["checkpoints"]["requests"] == 80
    per_job = Counter(row["job_id"] for row in rows(sqlite_engine, "job_events"))
    pages = sum(max(1, -(-count // 100)) for count in per_job.values())
    assert tallies["events"]["requests"] == pages + 80 - len(per_job)
    assert tallies["events"]["pages"] == tallies["events"]["requests"]
