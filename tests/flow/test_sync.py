"""A mirror follows a world that goes on, and writes nothing when nothing happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl.api.paging import metadata_filter
from etl.simulator import Simulator, World
from tests.mirror import (
    BOOKKEEPING,
    advance,
    contents,
    counts,
    rows,
    source_of,
    statements,
    sync,
    typed,
)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(World(7, 1000)) as simulator:
        yield simulator


def test_the_mirror_follows_and_writes_only_what_changed(
    engine: Engine, simulator: Simulator
) -> None:
    first = sync(engine, source_of(simulator))
    assert first.status == "success"
    assert counts(first) == {"created": 1000}
    assert first.counts["pages"] == first.counts["requests"] == 10

    before = contents(engine, without=BOOKKEEPING)
    with statements(engine) as seen:
        second = sync(engine, source_of(simulator))
    assert counts(second) == {"unchanged": 1000}
    assert contents(engine, without=BOOKKEEPING) == before
    written = {match[2] for one in seen if (match := _WRITES.match(one))}
    assert written <= BOOKKEEPING

    moved = advance(simulator, changed=20, new=50)
    versions = {(row["id"], row["version"]) for row in rows(engine, "records")}
    third = sync(engine, source_of(simulator))
    assert counts(third) == {"created": 50, "updated": 20, "unchanged": 980}
    after = {(row["id"], row["version"]) for row in rows(engine, "records")}
    assert {id_ for id_, _ in after - versions} == set(moved["changed"]) | set(moved["new"])
    kept = rows(engine, "record_versions")
    assert {row["id"] for row in kept} == set(moved["changed"])
    assert {row["version"] for row in kept} == {1}


_WRITES = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM|COPY) (\w+)")


def test_a_mirror_that_followed_equals_one_made_afresh(
    engine: Engine, sqlite_engine: Engine, simulator: Simulator
) -> None:
    """Whatever the database, and however many runs it took."""
    source = source_of(simulator)
    for changed, new in ((40, 3), (25, 30), (10, 0)):
        sync(engine, source)
        advance(simulator, changed=changed, new=new)
    sync(engine, source)
    sync(sqlite_engine, source)
    assert typed(engine) == typed(sqlite_engine)


def test_an_unchanged_run_costs_few_statements(engine: Engine, simulator: Simulator) -> None:
    """1,000 records are one batch: one transaction, one look-up for each 500 ids.

    Beside them the whole listing asks how far it was read, how many records may be missing, and
    which there are.
    """
    source = source_of(simulator, workers=1)  # several ask where the list can be cut
    sync(engine, source)
    with statements(engine) as seen:
        sync(engine, source)
    look_ups = [one for one in seen if "FROM records" in one]
    assert [one.startswith("SELECT count(*)") for one in look_ups] == [True, False, False]
    assert len([one for one in seen if "FROM frontiers" in one]) == 1
    assert len([one for one in seen if one.startswith("SELECT jobs.id ")]) == 1
    # The lease, the run's begin, the batch, the list's end, the resource's end, the run's end
    # and the lease again.
    assert seen.count("COMMIT") <= 8


#: What connections say of themselves.
_NO_BATCH = ("BEGIN", "SELECT pg_", "SELECT 1", "PRAGMA", "show", "SELECT @@")


def test_a_batch_is_one_transaction_that_begins_with_the_fence(
    engine: Engine, simulator: Simulator
) -> None:
    """What is looked up before is looked up outside of it, in transactions that write nothing."""
    with statements(engine) as seen:

        def rollback(_: Any) -> None:
            seen.append("ROLLBACK")

        event.listen(engine, "rollback", rollback)
        sync(engine, source_of(simulator))
        event.remove(engine, "rollback", rollback)
    runs: list[list[str]] = [[]]
    for one in seen:
        if one in ("COMMIT", "ROLLBACK"):
            runs.append([])
        elif not one.startswith(_NO_BATCH):
            runs[-1].append(one)
    batches = [run for run in runs if any(_writes_to("jobs", one) for one in run)]
    assert len(batches) == 1
    assert batches[0][0].startswith("UPDATE leases SET renewed_at")
    assert any(one.startswith("INSERT INTO frontiers") for one in batches[0])
    assert any(_writes_to("records", one) for one in batches[0])


def _writes_to(table: str, statement: str) -> bool:
    return bool((match := _WRITES.match(statement)) and match[2] == table)


def test_a_metadata_filter_mirrors_only_what_it_names_and_is_not_the_whole(
    engine: Engine, simulator: Simulator
) -> None:
    tagged = sync(engine, source_of(simulator), narrowing=metadata_filter({"env": "prod"}))
    assert tagged.status == "success"
    assert {row["value"] for row in rows(engine, "job_metadata") if row["name"] == "env"} == {
        "prod"
    }
    assert 0 < tagged.counts["created"] < 1000
    assert rows(engine, "frontiers") == []
    assert [row["is_whole"] for row in rows(engine, "sync_resource_runs")] == [False]

    untagged = sync(engine, source_of(simulator), narrowing=metadata_filter(None))
    assert untagged.counts["created"] > 0


def test_the_frontier_says_what_was_read_and_the_log_what_was_done(
    engine: Engine, simulator: Simulator
) -> None:
    result = sync(engine, source_of(simulator))
    (frontier,) = rows(engine, "frontiers")
    newest = sorted(rows(engine, "jobs"), key=lambda row: row["created_at"], reverse=True)
    assert frontier["cursor"] is None
    assert frontier["newest_ids"][0] == newest[0]["id"]
    assert len(frontier["newest_ids"]) == 20
    (run,) = rows(engine, "sync_runs")
    assert (run["id"], run["status"], run["created"]) == (result.run_id, "success", 1000)
    (line,) = rows(engine, "sync_resource_runs")
    assert frontier["listed_at"] == line["started_at"]
    assert (line["source"], line["resource"], line["records"]) == ("default", "jobs", 1000)
