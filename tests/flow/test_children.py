"""What hangs off jobs is read while they are open, until nothing more is to come, then no more."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl import sync as syncing
from etl.db import bulk
from etl.db.store import Store
from etl.errors import StoreError
from etl.resources import discover
from etl.settings import Secret
from etl.simulator import Simulator, World
from tests.conftest import make_schema
from tests.dear import servers_when_long
from tests.evolving import ticking
from tests.http_server import Reply, Seen
from tests.mirror import EVERYTHING, counts, rows, source_of, typed
from tests.parts import (
    ENDED,
    JOBS,
    NOW,
    Api,
    checkpoint,
    checkpoints_path,
    event,
    events_path,
    file,
    newest,
    page,
    positions,
    progress,
    requests,
    run,
    told,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
END = datetime.fromtimestamp(ENDED, UTC)


def add_open(api: Api, job_id: str, events: int = 1, status: str = "running") -> None:
    """A job that goes on, with so many events so far."""
    api.add(
        job_id,
        status=status,
        events=told(job_id, events),
        checkpoints=[],
        finished_at=None,
        created_at=ENDED - 100_000,
        result_files=[],
    )


def tell_more(api: Api, job_id: str, count: int) -> None:
    """So many more events of a job."""
    known = api.events[job_id]
    api.events[job_id] = told(job_id, count, len(known)) + known


def in_order(api: Api, job_id: str) -> list[tuple[int, str]]:
    """The positions that a job's events are to have."""
    return list(enumerate(one["id"] for one in reversed(api.events[job_id])))


# while a job is open


def test_an_open_job_is_read_in_each_run_its_events_down_to_what_is_known(engine: Engine) -> None:
    api = Api()
    add_open(api, "ftjob-1", 250)
    with api.served() as source:
        first = run(engine, source)
        assert requests(first) == {"jobs": 1, "events": 3, "checkpoints": 1, "files": 1}
        assert positions(engine, "ftjob-1") == in_order(api, "ftjob-1")

        for new, pages in ((0, 1), (30, 1), (100, 2), (130, 2)):
            tell_more(api, "ftjob-1", new)
            later = run(engine, source, now=NOW + HOUR)
            assert requests(later) == {"jobs": 1, "events": pages, "checkpoints": 1}
            assert counts(later).get("created", 0) == new
            assert positions(engine, "ftjob-1") == in_order(api, "ftjob-1")
    assert progress(engine, "events") == progress(engine, "checkpoints") == {"ftjob-1": "open"}
    assert newest(engine, "ftjob-1") == [one["id"] for one in api.events["ftjob-1"][:3]]


def test_checkpoints_of_an_open_job_are_read_whole_in_each_run(engine: Engine) -> None:
    api = Api()
    add_open(api, "ftjob-1")
    with api.served() as source:
        for step in (10, 20, 30):
            known = api.checkpoints["ftjob-1"]
            api.checkpoints["ftjob-1"] = [checkpoint(f"ftckpt-{step}", step=step), *known]
            assert requests(run(engine, source))["checkpoints"] == 1
        # One that a later answer says otherwise.
        api.checkpoints["ftjob-1"][-1] |= {"metrics": {"step": 10, "train_loss": 0.25}}
        assert counts(run(engine, source)) == {"updated": 1, "unchanged": 3}
    found = {row["id"]: row["train_loss"] for row in rows(engine, "job_checkpoints")}
    assert found == {"ftckpt-10": 0.25, "ftckpt-20": 0.5, "ftckpt-30": 0.5}


def test_events_of_one_moment_keep_the_order_of_the_list(engine: Engine) -> None:
    api = Api()
    names = ["ftevent-z", "ftevent-a", "ftevent-m", "ftevent-b"]
    add_open(api, "ftjob-1")
    api.events["ftjob-1"] = [event(one, ENDED) for one in names]
    with api.served() as source:
        run(engine, source)
        api.events["ftjob-1"] = [event("ftevent-c", ENDED), *api.events["ftjob-1"]]
        run(engine, source)
    expected = [*reversed(names), "ftevent-c"]
    assert positions(engine, "ftjob-1") == list(enumerate(expected))


@servers_when_long
def test_positions_stay_while_jobs_grow(engine: Engine) -> None:
    dice = random.Random(4)
    api = Api()
    for number in range(6):
        add_open(api, f"ftjob-{number}", dice.randint(0, 150))
    before: dict[str, list[tuple[int, str]]] = {}
    with api.served() as source:
        for _ in range(6):
            assert run(engine, source).status == "success"
            for job_id in api.jobs:
                found = positions(engine, job_id)
                assert found == in_order(api, job_id)
                assert found[: len(before.get(job_id, []))] == before.get(job_id, [])
                before[job_id] = found
                tell_more(api, job_id, dice.choice([0, 1, 40, 99, 100, 101, 210]))


def test_events_that_arrive_while_they_are_read_come_with_the_next_run(
    sqlite_engine: Engine,
) -> None:
    api = Api()
    add_open(api, "ftjob-1", 250)

    def growing(seen: Seen) -> Reply:
        reply = page(api.events["ftjob-1"], seen)
        tell_more(api, "ftjob-1", 7)
        return reply

    with api.served() as source:
        api.instead[events_path("ftjob-1")] = growing
        run(sqlite_engine, source)
        assert positions(sqlite_engine, "ftjob-1") == in_order(api, "ftjob-1")[:250]
        api.instead.clear()
        run(sqlite_engine, source)
    assert positions(sqlite_engine, "ftjob-1") == in_order(api, "ftjob-1")


def test_where_every_known_event_is_gone_the_stored_ones_keep_their_places(engine: Engine) -> None:
    api = Api()
    add_open(api, "ftjob-1", 60)
    everything = in_order(api, "ftjob-1")
    with api.served() as source:
        run(engine, source)
        kept = api.events["ftjob-1"][25:]
        api.events["ftjob-1"] = [*told("ftjob-1", 3, 60), *kept]
        run(engine, source)
        new = [(60 + place, f"ftevent-ftjob-1-{60 + place:05}") for place in range(3)]
        assert positions(engine, "ftjob-1") == everything + new
        tell_more(api, "ftjob-1", 1)


# until nothing more is to come


@servers_when_long
@pytest.mark.parametrize("grace", [6 * 3600.0, 60.0, 0.0])
def test_settled_is_what_was_read_a_while_after_the_end(engine: Engine, grace: float) -> None:
    api = Api()
    api.add("ftjob-1")
    with api.served(children_grace=grace) as source:
        at = END + timedelta(seconds=grace)
        if grace:
            run(engine, source, now=at - timedelta(seconds=1))
            assert progress(engine, "events") == {"ftjob-1": "open"}
            assert progress(engine, "checkpoints") == {"ftjob-1": "open"}
        run(engine, source, now=at)
        assert progress(engine, "events") == {"ftjob-1": "settled"}
        assert progress(engine, "checkpoints") == {"ftjob-1": "settled"}
        assert requests(run(engine, source, now=at)) == {"jobs": 1}


@pytest.mark.parametrize("status", ["running", "queued", "paused", "a word of tomorrow"])
def test_an_open_job_is_never_settled(sqlite_engine: Engine, status: str) -> None:
    api = Api()
    add_open(api, "ftjob-1", status=status)
    with api.served() as source:
        run(sqlite_engine, source, now=NOW + 1000 * DAY)
    assert progress(sqlite_engine, "events") == {"ftjob-1": "open"}
    assert progress(sqlite_engine, "checkpoints") == {"ftjob-1": "open"}


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_does_not_say_when_it_ended_did_so_with_its_newest_event(
    engine: Engine, status: str
) -> None:
    """OpenAI's have no `finished_at`. Also in the run that first brings that event."""
    api = Api()
    add_open(api, "ftjob-1", 2, status=status)
    api.events["ftjob-1"] = [event("ftevent-2", ENDED), event("ftevent-1", ENDED - 100_000)]
    with api.served() as source:
        run(engine, source, now=END + HOUR)
        assert progress(engine, "checkpoints") == {"ftjob-1": "open"}
        assert progress(engine, "events") == {"ftjob-1": "open"}
        # Something that was told late.
        api.events["ftjob-1"].insert(0, event("ftevent-3", ENDED + 3600))
        run(engine, source, now=END + 2 * HOUR)
        assert positions(engine, "ftjob-1") == in_order(api, "ftjob-1")
        run(engine, source, now=END + 8 * HOUR)
    assert progress(engine, "events") == progress(engine, "checkpoints") == {"ftjob-1": "settled"}


def test_a_job_that_ended_since_the_last_run_is_still_looked_at(sqlite_engine: Engine) -> None:
    """Its newest event stored is old; the one that says how it failed is new."""
    api = Api()
    add_open(api, "ftjob-1", 5)
    with api.served() as source:
        run(sqlite_engine, source, now=END - 12 * HOUR)
        api.change("ftjob-1", status="failed")
        api.events["ftjob-1"].insert(0, event("ftevent-failed", ENDED))
        run(sqlite_engine, source, now=END + HOUR)
        api.events["ftjob-1"].insert(0, event("ftevent-late", ENDED + 3700))
        run(sqlite_engine, source, now=END + 2 * HOUR)
    assert positions(sqlite_engine, "ftjob-1") == in_order(api, "ftjob-1")


def test_a_job_without_events_and_end_is_settled_by_when_it_was_made(sqlite_engine: Engine) -> None:
    api = Api()
    api.add("ftjob-1", status="cancelled", events=[], checkpoints=[], finished_at=None)
    api.change("ftjob-1", result_files=[], created_at=ENDED)
    with api.served() as source:
        run(sqlite_engine, source, now=END + 5 * HOUR)
        assert progress(sqlite_engine, "events") == {"ftjob-1": "open"}
        run(sqlite_engine, source, now=END + 6 * HOUR)
    assert progress(sqlite_engine, "events") == {"ftjob-1": "settled"}


def test_a_change_of_a_settled_job_unsettles_what_hangs_off_it_and_nothing_else(
    engine: Engine,
) -> None:
    api = Api()
    for number in range(8):
        api.add(f"ftjob-{number}")
    with api.served() as source:
        run(engine, source)
        api.change("ftjob-3", metadata={"team": "a"})
        api.change("ftjob-6", seed=7)
        api.events["ftjob-3"].insert(0, event("ftevent-late"))
        api.forget()
        changed = run(engine, source, now=NOW + HOUR)
        assert api.asked() == sorted(
            [JOBS]
            + [events_path(one) for one in ("ftjob-3", "ftjob-6")]
            + [checkpoints_path(one) for one in ("ftjob-3", "ftjob-6")]
        )
        assert counts(changed) == {"created": 1, "updated": 2, "unchanged": 8}
        assert set(progress(engine, "events").values()) == {"settled"}
        assert requests(run(engine, source, now=NOW + 2 * HOUR)) == {"jobs": 1}
    assert positions(engine, "ftjob-3") == [(0, "ftevent-3"), (1, "ftevent-late")]


def test_a_result_file_that_a_job_gains_is_read(engine: Engine) -> None:
    api = Api()
    api.add("ftjob-1")
    with api.served() as source:
        run(engine, source)
        api.files["file-more"] = file("file-more")
        api.contents["file-more"] = b"step,valid_loss\n1,0.25\n"
        api.change("ftjob-1", result_files=["file-result-1", "file-more"])
        api.forget()
        run(engine, source, now=NOW + HOUR)
    assert [path for path in api.asked() if path.startswith("/files")] == [
        "/files/file-more",
        "/files/file-more/content",
    ]
    found = {(row["origin_id"], row["name"]) for row in rows(engine, "training_metrics")}
    assert {("file-result-1", "train_loss"), ("file-more", "valid_loss")} <= found


def test_one_file_of_many_jobs_is_asked_for_once(engine: Engine) -> None:
    api = Api()
    for number in range(10):
        api.add(f"ftjob-{number}", training_file="file-shared", validation_file="file-shared")
    with api.served() as source:
        assert run(engine, source).status == "success"
    assert api.asked("file-shared") == ["/files/file-shared"]
    assert len(rows(engine, "files")) == 11


@servers_when_long
@pytest.mark.parametrize("mode", ["auto", "incremental", "full"])
def test_a_second_run_over_the_same_history_asks_for_nothing_of_a_settled_job(
    engine: Engine, mode: str
) -> None:
    with Simulator(World(8, 30)) as simulator:
        source = source_of(simulator)
        late = datetime.fromtimestamp(simulator.world.now, UTC) + 2 * DAY
        run(engine, source, now=late)
        before = typed(engine)
        second = run(engine, source, now=late + HOUR, mode=mode)
        is_open = [
            row["id"]
            for row in rows(engine, "jobs")
            if row["status"] not in ("succeeded", "failed", "cancelled")
        ]
        assert 0 < len(is_open) < 20
        found = requests(second)
        assert found.pop("jobs") == 1
        assert found == {"events": len(is_open), "checkpoints": len(is_open)}
    assert typed(engine) == before


# what is cut


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_read_that_was_cut_between_two_chunks_leaves_no_gap_and_nothing_twice(
    engine: Engine, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of 20, each a transaction."""
    monkeypatch.setattr("etl.children.AT_ONCE", 20)
    check_cut(engine, 50, 20, batch, monkeypatch)


def test_so_it_is_with_chunks_of_their_true_size(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_cut(sqlite_engine, 5000, 2000, 2, monkeypatch)


def check_cut(
    engine: Engine, events: int, chunk: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database fails at the n-th batch; three more events come before the next run."""
    api = Api()
    add_open(api, "ftjob-1", events)
    pace = bulk.PACE[engine.dialect.name]
    monkeypatch.setitem(bulk.PACE, engine.dialect.name, pace._replace(records=chunk))
    with api.served() as source:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "apply", fails_at("events", batch))
            with pytest.raises(StoreError, match="it is gone"):
                run(engine, source)
        assert positions(engine, "ftjob-1") == in_order(api, "ftjob-1")[: chunk * (batch - 1)]
        assert progress(engine, "events") == {}

        tell_more(api, "ftjob-1", 3)
        assert run(engine, source).status == "success"
        assert positions(engine, "ftjob-1") == in_order(api, "ftjob-1")
        assert counts(run(engine, source)).get("created") is None


def fails_at(resource: str, number: int) -> Callable[..., None]:
    """A store whose n-th batch of a resource fails."""
    plain = Store.apply
    left = number

    def apply(self: Store, kind: Any, items: Any, tally: Any, **how: Any) -> None:
        nonlocal left
        if kind.name == resource:
            left -= 1
            if left == 0:
                raise StoreError("it is gone")
        plain(self, kind, items, tally, **how)

    return apply


@pytest.mark.parametrize("at", [1, 2, 4])
def test_so_it_is_too_where_the_process_is_interrupted(
    sqlite_engine: Engine, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    monkeypatch.setattr("etl.children.AT_ONCE", 200)
    add_open(api, "ftjob-1", 500)
    pace = bulk.PACE["sqlite"]
    monkeypatch.setitem(bulk.PACE, "sqlite", pace._replace(records=200))
    left = at

    def interrupt(tally: Any) -> None:
        nonlocal left
        left -= tally.resource == "events"
        if left == 0:
            raise KeyboardInterrupt

    with api.served() as source:
        known = discover()
        order = syncing.Order([source], [known["jobs"], known["events"]])
        with pytest.raises(KeyboardInterrupt):
            syncing.sync(sqlite_engine, order, interrupt, now=lambda: NOW)
        found = positions(sqlite_engine, "ftjob-1")
        assert found == in_order(api, "ftjob-1")[: len(found)]
        assert len(found) < 500
        tell_more(api, "ftjob-1", 150)
        run(sqlite_engine, source)
    assert positions(sqlite_engine, "ftjob-1") == in_order(api, "ftjob-1")


def test_what_a_time_limit_cuts_the_next_runs_go_on_with(sqlite_engine: Engine) -> None:
    api = Api()
    for number in range(120):
        api.add(f"ftjob-{number:03}")
    with api.served(workers=2) as source:
        run(sqlite_engine, source, resources=["jobs"])
        api.forget()
        for _ in range(10):
            result = run(
                sqlite_engine, source, resources=["events"], time_limit=40, clock=ticking()
            )
            assert result.status in ("partial", "success")
            if result.status == "success":
                break
        assert result.status == "success"
    assert len(rows(sqlite_engine, "job_events")) == 120
    # What was asked before the limit came is not asked again.
    assert len(api.asked("/events")) == 120


def test_a_narrowed_run_reads_what_hangs_off_the_jobs_that_came_and_no_other(
    sqlite_engine: Engine,
) -> None:
    api = Api()
    for number in range(5):
        api.add(f"ftjob-{number}")
    with api.served() as source:
        run(sqlite_engine, source, resources=["jobs"])
        kept = dict(api.jobs)
        api.jobs = {"ftjob-2": kept["ftjob-2"]}  # what the API's filter leaves
        run(sqlite_engine, source, narrowing=[("metadata[team]", "a")])
        assert progress(sqlite_engine, "events") == {"ftjob-2": "settled"}
        assert progress(sqlite_engine, "files").keys() == {"file-train-2", "file-result-2"}
        api.jobs = kept
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
    assert len(rows(sqlite_engine, "job_events")) == 5


# what a run costs


def test_a_run_with_nothing_new_is_one_request_a_source(engine: Engine) -> None:
    one, two = Api(), Api()
    for number in range(100):
        one.add(f"ftjob-a{number:02}")
    for number in range(30):
        two.add(f"ftjob-b{number:02}")
    with one.served(name="one") as first, two.served(name="two") as second:
        run(engine, first, second)
        assert len(rows(engine, "job_events")) == 130
        one.forget()
        two.forget()
        assert run(engine, first, second, now=NOW + HOUR).status == "success"
        assert (one.asked(), two.asked()) == ([JOBS], [JOBS])


@pytest.mark.parametrize(("jobs", "by_id"), [(100, 0), (300, 20)])
def test_twenty_running_jobs_cost_their_new_events_and_a_page_of_checkpoints_each(
    sqlite_engine: Engine, jobs: int, by_id: int
) -> None:
    api = Api()
    running = [f"ftjob-{number:03}" for number in range(20)]
    for number in range(jobs):
        job_id = f"ftjob-{number:03}"
        if job_id in running:
            add_open(api, job_id, 40)
        else:
            api.add(job_id)
    with api.served() as source:
        run(sqlite_engine, source)
        for job_id in running:
            tell_more(api, job_id, 60)
        for more in range(2):
            later = run(sqlite_engine, source, now=NOW + (1 + more) * HOUR)
            assert requests(later) == {"jobs": 1 + by_id, "events": 20, "checkpoints": 20}
    assert all(positions(sqlite_engine, one) == in_order(api, one) for one in running)


@servers_when_long
@pytest.mark.parametrize("status", ["uploaded", "pending", "running"])
def test_a_file_is_asked_for_once_and_again_while_the_server_is_at_work_on_it(
    engine: Engine, status: str
) -> None:
    api = Api()
    api.add("ftjob-1")
    api.files["file-train-1"] = file("file-train-1", status=status)
    with api.served() as source:
        run(engine, source)
        for hours in (1, 2):
            api.forget()
            run(engine, source, now=NOW + hours * HOUR)
            assert api.asked() == ["/files/file-train-1", JOBS]
        api.files["file-train-1"] = file("file-train-1")
        assert counts(run(engine, source, now=NOW + 3 * HOUR))["updated"] == 1
        api.forget()
        run(engine, source, now=NOW + 4 * HOUR)
        assert api.asked() == [JOBS]
    found = {row["id"]: row["status"] for row in rows(engine, "files")}
    assert found["file-train-1"] == "processed"


def test_projects_and_permissions_are_read_once_in_full_every(sqlite_engine: Engine) -> None:
    key = Secret.from_text("the test", "sk-admin-1")
    with Simulator(World(9, 40)) as simulator:
        source = source_of(simulator, admin_key=key)
        start = datetime.fromtimestamp(simulator.world.now, UTC)

        def admin(after: timedelta, mode: str = "auto") -> tuple[int, int]:
            result = run(sqlite_engine, source, now=start + after, mode=mode, resources=discover())
            assert result.status == "success"
            found = requests(result)
            return found.get("projects", 0), found.get("checkpoint_permissions", 0)

        first = admin(timedelta(0))
        assert first[0] == 1
        assert first[1] > 20
        assert admin(HOUR) == (0, 0)
        assert admin(23 * HOUR, "incremental") == (0, 0)
        assert admin(25 * HOUR) == first
        assert admin(26 * HOUR) == (0, 0)
        assert admin(27 * HOUR, "full") == first
    assert rows(sqlite_engine, "projects")
    assert rows(sqlite_engine, "checkpoint_permissions")


def test_without_an_admin_key_they_are_passed_over_with_a_word(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api()
    api.add("ftjob-1")
    with api.served() as source:
        result = run(sqlite_engine, source, resources=discover())
    assert result.status == "success"
    assert not [path for path in api.asked() if "organization" in path or "permissions" in path]
    (found,) = result.sources
    assert found.skipped == {
        "projects": "no admin key (OPENAI_ADMIN_KEY)",
        "costs": "no admin key (OPENAI_ADMIN_KEY)",
        "checkpoint_permissions": "no admin key (OPENAI_ADMIN_KEY)",
    }
    assert caplog.records == []  # cron would send a mail for each


def test_resources_that_are_named_are_missed_louder(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api()
    with api.served() as source:
        run(sqlite_engine, source, resources=["projects"], is_picked=True)
    (said,) = [one for one in caplog.records if "admin key" in one.getMessage()]
    assert said.levelname == "WARNING"


# many at once


@pytest.mark.parametrize("faults", [[], ["status=503%7", "cut%5"]], ids=["calm", "faulty"])
def test_any_number_of_readers_makes_the_same_tables(
    sqlite_engine: Engine, tmp_path: Path, faults: list[str]
) -> None:
    found = []
    for workers in (1, 8):
        engine = make_schema(f"sqlite:///{tmp_path / f'{workers}.db'}")
        with Simulator(World(10, 25), latency=0.005, faults=faults) as simulator:
            now = datetime.fromtimestamp(simulator.world.now, UTC) + DAY
            source = source_of(simulator, workers=workers)
            assert run(engine, source, now=now).status == "success"
            simulator.world.advance(4, 2)
            assert run(engine, source, now=now + HOUR).status == "success"
        found.append(typed(engine))
        engine.dispose()
    assert found[0] == found[1]
    assert all(found[0][name] for name in ("jobs", "job_events", "job_checkpoints", "files"))
    assert {row["origin"] for row in found[0]["training_metrics"]} == {
        "checkpoint",
        "event",
        "result_file",
    }


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_no_more_requests_are_under_way_than_there_are_workers(
    sqlite_engine: Engine, workers: int
) -> None:
    api = Api()
    for number in range(40):
        api.add(f"ftjob-{number:02}")
    api.delay = 0.001  # so that more may come than should
    api.wanted_at_once = workers
    with api.served(workers=workers) as source:
        assert run(sqlite_engine, source).status == "success"
    assert api.most_at_once == workers
    assert len(api.seen) == 1 + 40 * 5


def test_one_who_is_asked_to_wait_slows_all(sqlite_engine: Engine) -> None:
    """With a real clock: for a while nobody asks for anything."""
    api = Api()
    for number in range(60):
        api.add(f"ftjob-{number:02}")
    api.delay = 0.005
    came: list[float] = []
    lock = threading.Lock()

    def timed(job_id: str) -> Callable[[Seen], Reply]:
        def answer(seen: Seen) -> Reply:
            with lock:
                came.append(time.monotonic())
                is_asked_to_wait = len(came) == 15
            if is_asked_to_wait:
                return Reply(b"{}", status=429, headers={"retry-after-ms": "500"})
            return page(api.events[job_id], seen)

        return answer

    for job_id in api.jobs:
        api.instead[events_path(job_id)] = timed(job_id)
    known = discover()
    with api.served(workers=4) as source:
        order = syncing.Order([source], [known["jobs"], known["events"]])
        result = syncing.sync(sqlite_engine, order, lambda _: None, now=lambda: NOW)
    assert (result.status, result.counts["retries"]) == ("success", 1)
    assert len(came) == 61
    # Those that were on their way already came; nobody else before the time was over.
    early = [one for one in came[15:] if one - came[14] < 0.45]
    assert len(early) <= 3 * 4
    assert max(after - before for before, after in pairwise(came)) >= 0.3


def test_no_thread_is_left_behind(sqlite_engine: Engine) -> None:
    api = Api()
    for number in range(50):
        api.add(f"ftjob-{number:02}")
        api.instead[events_path(f"ftjob-{number:02}")] = Reply(status=401)
    with api.served(workers=8) as source:
        run(sqlite_engine, source)
    left = {thread.name for thread in threading.enumerate()}
    assert not {name for name in left if name.startswith("asker") or name == "ahead"}


def test_what_hangs_off_an_imported_job_is_read_as_of_any_other(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    from tests.mirror import import_objects

    api = Api()
    api.add("ftjob-old")
    import_objects(sqlite_engine, [api.jobs["ftjob-old"]], tmp_path)
    api.add("ftjob-new")
    with api.served() as source:
        run(sqlite_engine, source, resources=EVERYTHING)
    assert {row["job_id"] for row in rows(sqlite_engine, "job_events")} == {
        "ftjob-old",
        "ftjob-new",
    }
