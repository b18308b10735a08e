"""What makes it fast, without a clock: statements, transactions, requests, and who does what."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl import pipe
from etl.db import bulk
from etl.db.store import Store
from etl.resources import jobs
from etl.simulator import Simulator, World
from tests.mirror import BOOKKEEPING, advance, counts, rows, source_of, statements, sync

_WRITES = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM|COPY) [\"`]?(\w+)")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(World(5, 1000)) as running:
        yield running


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
    return [one for one in found if "records" in one or "frontiers" in one]


def test_a_batch_writes_each_table_in_one_statement(engine: Engine) -> None:
    """900 new jobs: eight tables, the ledger, the lease, the log and the place in the list.

    Their ledger is just below the megabyte that MariaDB is sent at once.
    """
    with Simulator(World(5, 900)) as simulator, statements(engine) as seen:
        sync(engine, source_of(simulator))
    (batch,) = transactions(seen)
    typed = {table.name for table in jobs.RESOURCE.tables if rows(engine, table.name)}
    assert len(typed) == 8
    drift = [one for one in batch if one == "drift"]
    assert sorted(batch) == sorted(
        [*typed, "records", "leases", "sync_resource_runs", "frontiers", *drift]
    )
    assert len(drift) <= 20


@pytest.mark.parametrize("size", [200, 334, 1000])
def test_a_batch_is_as_large_as_the_database_likes(
    engine: Engine, simulator: Simulator, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is never cut: 334 are four pages."""
    name = engine.dialect.name
    monkeypatch.setitem(bulk.PACE, name, bulk.PACE[name]._replace(records=size))
    with statements(engine) as seen:
        result = sync(engine, source_of(simulator))
    assert result.counts["created"] == 1000
    batches = [one for one in transactions(seen) if "records" in one]
    assert len(batches) == {200: 5, 334: 3, 1000: 1}[size]


def test_a_slow_list_is_written_meanwhile(
    sqlite_engine: Engine, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a batch may be, what was read is not kept for long."""
    monkeypatch.setattr(pipe, "BATCH_SECONDS", 0.0)
    with statements(sqlite_engine) as seen:
        sync(sqlite_engine, source_of(simulator))
    assert len([one for one in transactions(seen) if "records" in one]) == 10


def test_an_unchanged_run_writes_nothing_but_its_books(
    engine: Engine, simulator: Simulator
) -> None:
    source = source_of(simulator)
    sync(engine, source)
    with statements(engine) as seen:
        result = sync(engine, source)
    assert counts(result) == {"unchanged": 1000}
    assert set(written(seen)) <= BOOKKEEPING
    assert len(written(seen)) <= 14
    # One look at 500 ids each, at the columns that decide, and no second look.
    looks = [one for one in seen if "FROM records" in one and "digest" in one]
    assert len(looks) == 2
    assert not any("canonical_digest" in one or "payload" in one for one in looks)
    # MariaDB keeps payloads in its primary key, which it would take.
    on_mariadb = engine.dialect.name == "mariadb"
    assert all(("FORCE INDEX (records_standing)" in one) == on_mariadb for one in looks)


def test_only_what_changed_is_looked_at_twice(engine: Engine) -> None:
    """And then once more, with its old state, which says what changed."""
    with Simulator(World(6, 300)) as simulator:
        sync(engine, source_of(simulator))
        advance(simulator, changed=7, new=5)
        found: list[tuple[bool, int]] = []

        def look(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            if "canonical_digest" in statement and statement.startswith("SELECT"):
                values = parameters.values() if isinstance(parameters, dict) else parameters
                flat = [one for some in values for one in (some if _is_list(some) else [some])]
                ids = [one for one in flat if str(one).startswith("ftjob-")]
                found.append(("payload" in statement, len(ids)))

        event.listen(engine, "before_cursor_execute", look)
        assert counts(sync(engine, source_of(simulator))) == {
            "created": 5,
            "updated": 7,
            "unchanged": 293,
        }
        event.remove(engine, "before_cursor_execute", look)
    assert found == [(False, 7), (True, 7)]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def test_a_page_is_one_request(sqlite_engine: Engine, simulator: Simulator) -> None:
    result = sync(sqlite_engine, source_of(simulator))
    assert (result.counts["pages"], result.counts["requests"]) == (10, 10)


def test_usual_jobs_never_take_the_careful_way(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that every job suddenly has would make all of them odd: twice the time."""
    odd: list[str] = []

    def careful(record: Any) -> Any:
        odd.append(record.id)
        return plain(record)

    plain = jobs.soft_rows
    monkeypatch.setattr(jobs, "soft_rows", careful)
    with Simulator(World(5, 1000)) as simulator:
        result = sync(sqlite_engine, source_of(simulator))
    assert result.counts["created"] == 1000
    assert len(odd) < 200


def test_the_reader_is_never_further_ahead_than_the_pages_that_may_wait(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[int] = []
    monkeypatch.setitem(
        bulk.PACE, "sqlite", bulk.PACE["sqlite"]._replace(records=100, pages_ahead=3)
    )
    with Simulator(World(7, 2000)) as simulator:
        source = source_of(simulator, workers=1)
        apply = Store.apply

        def slow(self: Any, resource: Any, items: Any, tally: Any, **how: Any) -> None:
            apply(self, resource, items, tally, **how)
            time.sleep(0.05)
            ahead.append(tally.counts["requests"] - tally.counts["pages"])

        monkeypatch.setattr(Store, "apply", slow)
        result = sync(sqlite_engine, source)
    assert result.counts["created"] == 2000
    # In the queue, in the reader's hand, and on the way.
    assert max(ahead) <= 3 + 2
