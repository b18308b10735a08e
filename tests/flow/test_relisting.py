"""A list that is read again by several at once: the mirror is the one that plain paging makes."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from etl import sync as syncing
from etl.api.paging import metadata_filter
from etl.db.cuts import cuts
from etl.db.tables import records
from etl.pipe import RunResult
from etl.resources import discover
from etl.settings import Secret, Source
from tests.http_server import Reply, Server, serve
from tests.mirror import contents, counts, rows
from tests.moving import EMPTY, NOT_FOUND, REFUSED, STUMBLES, Moving, id_of

pytestmark = pytest.mark.usefixtures("far_server")

#: What says how and when a run went, not what it found.
LOGS = ("sync_runs", "sync_resource_runs", "leases")
#: 15 pages; five of them are the least that a range is worth, so it is cut behind 500 and 1,000.
SIZE = 1500
CUTS = [id_of(1000), id_of(500)]


def listed(engine: Engine, server: Server, workers: int, hour: int = 2, **asked: Any) -> RunResult:
    """One run, at an hour of its own."""
    key = Secret.from_text("the test", "sk-1")
    source = Source(base_url=server.url, api_key=key, workers=workers, max_attempts=2)
    order = syncing.Order([source], [discover()["jobs"]], **{"mode": "full", **asked})
    moment = datetime(2026, 1, 1, hour, tzinfo=UTC)
    return syncing.sync(engine, order, lambda _: None, sleep=lambda _: None, now=lambda: moment)


@pytest.fixture
def moving() -> Moving:
    return Moving(SIZE)


@pytest.fixture
def server(moving: Moving) -> Iterator[Server]:
    with serve(moving.answer) as server:
        yield server


@pytest.fixture
def mirrored(engine: Engine, moving: Moving, server: Server) -> Engine:
    """A mirror of the whole list."""
    assert counts(listed(engine, server, 8, hour=1)) == {"created": SIZE}
    assert moving.most_at_once == 1
    moving.cursors.clear()
    return engine


@pytest.fixture
def plain(sqlite_engine: Engine, moving: Moving, server: Server) -> Engine:
    """Another, for plain paging."""
    listed(sqlite_engine, server, 1, hour=1)
    moving.cursors.clear()
    return sqlite_engine


def test_an_unchanged_list_costs_no_request_more(
    mirrored: Engine, moving: Moving, server: Server
) -> None:
    before = contents(mirrored, without=(*LOGS, "frontiers"))
    moving.wanted_at_once = 3
    result = listed(mirrored, server, 4)
    assert result.status == "success"
    assert counts(result) == {"unchanged": SIZE}
    assert result.counts["pages"] == result.counts["requests"] == len(moving.cursors) == 15
    assert set(CUTS) < set(moving.cursors)
    assert moving.most_at_once == 3  # as many as there are ranges
    assert contents(mirrored, without=(*LOGS, "frontiers")) == before
    (frontier,) = rows(mirrored, "frontiers")
    assert (frontier["cursor"], frontier["newest_ids"]) == (None, moving.ids[:20])
    assert frontier["listed_at"].hour == 2


def test_what_goes_on_meanwhile_is_mirrored_as_by_plain_paging(
    mirrored: Engine, plain: Engine, moving: Moving, server: Server
) -> None:
    """Jobs arrive before and behind the head, change ahead of the readers; a cut and others go."""
    late: list[str] = []

    def before_the_head() -> None:
        moving.add()
        moving.add()
        moving.change(id_of(950), id_of(3))

    def behind_it() -> None:
        late.append(moving.add())
        moving.change(id_of(5))

    moving.before = {
        1: before_the_head,
        2: lambda: moving.remove(CUTS[1], id_of(77)),
        3: behind_it,
    }
    parallel = listed(mirrored, server, 2)
    assert late[0] not in {row["id"] for row in rows(mirrored, "jobs")}
    assert counts(parallel) == {
        "created": 2,
        "updated": 3,
        "unchanged": SIZE - 5,
        "missing": 2,
    }

    moving.remove(*late)
    moving.before = {}
    again = listed(plain, server, 1)
    assert counts(again) == counts(parallel)
    assert again.counts["records"] == parallel.counts["records"]
    assert (parallel.status, again.status) == ("success", "success")
    assert contents(mirrored, without=LOGS) == contents(plain, without=LOGS)


@pytest.mark.parametrize("unknown", [REFUSED, NOT_FOUND, EMPTY, STUMBLES])
def test_cuts_that_vanished_since_the_last_run(
    sqlite_engine: Engine, moving: Moving, server: Server, unknown: str
) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    moving._unknown = unknown
    moving.remove(*CUTS)
    result = listed(sqlite_engine, server, 4)
    assert result.status == "success"
    assert counts(result) == {"unchanged": SIZE - 2, "missing": 2}
    gone = [row["id"] for row in rows(sqlite_engine, "records") if row["missing_since"]]
    assert gone == sorted(CUTS)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_goes_on_the_next_run_finds_what_plain_paging_finds(
    sqlite_engine: Engine, seed: int
) -> None:
    dice = random.Random(seed)
    moving = Moving(1200, unknown=dice.choice([REFUSED, NOT_FOUND, EMPTY]))
    with serve(moving.answer) as server:
        listed(sqlite_engine, server, 1, hour=1)
        moving.cursors.clear()
        cut = id_of(700)
        stays = set(moving.ids[200:])

        def happen() -> None:
            moving.add()
            some = dice.sample(moving.ids, 5)
            moving.change(*some)

        moving.before = {dice.randint(1, 12): happen for _ in range(4)}
        moving.before[dice.randint(1, 12)] = lambda: moving.remove(cut)
        first = listed(sqlite_engine, server, dice.choice([2, 4]))
        assert first.status == "success"
        assert first.counts["records"] >= len(stays) - 1
        moving.before = {}
        second = listed(sqlite_engine, server, 4, hour=3)
        assert second.counts["records"] == len(moving.jobs)
        stored = {row["id"]: row["seed"] for row in rows(sqlite_engine, "jobs")}
        assert {name: job["seed"] for name, job in moving.jobs.items()}.items() <= stored.items()
        third = listed(sqlite_engine, server, 1, hour=4)
        assert counts(third) == {"unchanged": len(moving.jobs)}


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_in_one_range_keeps_what_came_before_it(
    sqlite_engine: Engine, moving: Moving, server: Server, status: int
) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    moving.change(*moving.ids[:50])
    moving.instead = {id_of(1200): Reply(status=status)}
    result = listed(sqlite_engine, server, 4)
    assert result.status == "failed"
    assert f"HTTP {status}" in str(result.error)
    assert counts(result)["updated"] == 50
    (frontier,) = rows(sqlite_engine, "frontiers")
    assert frontier["listed_at"].hour == 1
    # Pages of ranges leave no place to go on from: the next run begins at the head.
    assert (frontier["cursor"], frontier["listing_started_at"]) == (None, None)
    assert (frontier["newest_ids"], frontier["gaps"]) == (moving.ids[:20], None)

    moving.instead = {}
    after = listed(sqlite_engine, server, 4, hour=3)
    assert (after.status, counts(after)) == ("success", {"unchanged": SIZE})


def test_a_wait_that_is_too_long_ends_the_run_as_partial(
    sqlite_engine: Engine, moving: Moving, server: Server
) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    moving.instead = {CUTS[1]: Reply(status=429, headers={"Retry-After": "3600"})}
    result = listed(sqlite_engine, server, 4)
    assert result.status == "partial"
    assert "asks to wait 3,600 s" in str(result.error)


def test_a_writer_that_is_interrupted_leaves_no_reader(
    sqlite_engine: Engine, moving: Moving, server: Server
) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    moving.change(*moving.ids[:5])

    def interrupt(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "record_versions" in statement:
            raise KeyboardInterrupt

    event.listen(sqlite_engine, "before_cursor_execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        listed(sqlite_engine, server, 4)
    event.remove(sqlite_engine, "before_cursor_execute", interrupt)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("reader-", "ahead"))]


def test_a_narrowed_list_is_never_cut(
    sqlite_engine: Engine, moving: Moving, server: Server
) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    moving.most_at_once = 0
    listed(sqlite_engine, server, 4, narrowing=metadata_filter({"a": "b"}))
    assert moving.most_at_once == 1


def test_a_rehearsal_reads_plainly(sqlite_engine: Engine, moving: Moving, server: Server) -> None:
    listed(sqlite_engine, server, 1, hour=1)
    key = Secret.from_text("the test", "sk-1")
    order = syncing.Order([Source(base_url=server.url, api_key=key)], [discover()["jobs"]])
    result = syncing.rehearse(sqlite_engine, order, lambda _: None)
    assert counts(result) == {"unchanged": SIZE}
    assert moving.most_at_once == 1


def test_where_a_list_is_cut(mirrored: Engine, moving: Moving) -> None:
    resource = discover()["jobs"]
    asked = (mirrored, resource)
    assert cuts(*asked, "default", 16, 100, 5) == CUTS
    assert cuts(*asked, "default", 4, 100, 1) == [id_of(1100), id_of(700), id_of(300)]
    assert cuts(*asked, "default", 2, 100, 20) == []
    assert cuts(*asked, "default", 1, 100, 1) == []
    assert cuts(*asked, "another", 16, 100, 5) == []
    gone = update(records).where(records.c.id == CUTS[1])
    with mirrored.begin() as connection:
        connection.execute(gone.values(missing_since=datetime(2026, 1, 1, tzinfo=UTC)))
    assert cuts(*asked, "default", 16, 100, 5) == [CUTS[0]]


def test_a_list_that_was_never_read_to_its_end_is_not_cut(sqlite_engine: Engine) -> None:
    moving = Moving(SIZE)
    moving.instead = {id_of(100): Reply(status=403)}
    with serve(moving.answer) as server:
        assert listed(sqlite_engine, server, 4, hour=1).status == "failed"
        assert cuts(sqlite_engine, discover()["jobs"], "default", 16, 100, 5) == []
        listed(sqlite_engine, server, 4)
    assert moving.most_at_once == 1
