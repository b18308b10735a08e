"""A record that came spoilt once: the next run asks again, and the mirror is right after it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import make_schema
from tests.mirror import import_objects, rows, typed
from tests.parts import (
    JOBS,
    NOW,
    Api,
    event,
    events_path,
    newest,
    positions,
    progress,
    quarantined,
    run,
    told,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def api() -> Api:
    """Three jobs that ended long ago."""
    made = Api()
    for name in "abc":
        made.add(f"ftjob-{name}", events=told(f"ftjob-{name}", 4))
    return made


def ids(engine: Engine) -> list[str]:
    return [row["id"] for row in rows(engine, "jobs")]


@pytest.mark.parametrize("lost", ["id", "created_at"])
def test_a_job_that_came_spoilt_once_is_there_after_the_next_run(
    engine: Engine, api: Api, lost: str
) -> None:
    with api.served() as source:
        run(engine, source)
        api.add("ftjob-d")
        good = api.jobs["ftjob-d"]
        api.jobs["ftjob-d"] = {name: value for name, value in good.items() if name != lost}
        api.add("ftjob-e")
        spoilt = run(engine, source, now=NOW + HOUR)
        assert (spoilt.status, spoilt.mode) == ("partial", "incremental")
        assert ids(engine) == ["ftjob-a", "ftjob-b", "ftjob-c", "ftjob-e"]
        api.jobs["ftjob-d"] = good
        mended = run(engine, source, now=NOW + 2 * HOUR)
    assert (mended.status, mended.mode) == ("success", "incremental")
    assert ids(engine) == ["ftjob-a", "ftjob-b", "ftjob-c", "ftjob-d", "ftjob-e"]
    assert len(quarantined(engine)) == (lost == "id")  # which record it was nobody can tell


def test_a_job_that_stays_spoilt_keeps_no_run_from_its_end(sqlite_engine: Engine, api: Api) -> None:
    del api.jobs["ftjob-b"]["created_at"]
    with api.served() as source:
        assert run(sqlite_engine, source).status == "partial"
        for hours in (1, 2):  # the first two did not count
            again = run(sqlite_engine, source, now=NOW + hours * HOUR)
            assert (again.status, again.mode) == ("success", "full")
        api.forget()
        assert run(sqlite_engine, source, now=NOW + 3 * HOUR).mode == "incremental"
        assert api.asked() == [JOBS]


def test_what_lists_hold_no_longer_leaves_quarantine_with_a_whole_listing(
    engine: Engine, api: Api
) -> None:
    del api.jobs["ftjob-b"]["id"]
    with api.served() as source:
        for hours in range(3):
            run(engine, source, now=NOW + hours * HOUR)
        del api.jobs["ftjob-b"]
        run(engine, source, now=NOW + 3 * HOUR)
        assert len(quarantined(engine)) == 1
        assert run(engine, source, now=NOW + 2 * DAY).mode == "full"
    assert quarantined(engine) == []


def test_what_an_import_brought_waits_for_somebody_whatever_lists_hold(
    sqlite_engine: Engine, api: Api, tmp_path: Path
) -> None:
    import_objects(sqlite_engine, [{"object": "fine_tuning.job", "id": "ftjob-odd"}], tmp_path)
    with api.served() as source:
        run(sqlite_engine, source)
        run(sqlite_engine, source, now=NOW + 2 * DAY)
    assert [line[1] for line in quarantined(sqlite_engine)] == ["ftjob-odd"]


def test_an_event_that_came_spoilt_once_gets_its_place_in_the_next_run(
    engine: Engine, api: Api, tmp_path: Path
) -> None:
    good = api.events["ftjob-a"][1]
    api.events["ftjob-a"][1] = {**good, "created_at": None}
    with api.served() as source:
        assert run(engine, source).status == "partial"
        assert progress(engine, "events") == {"ftjob-b": "settled", "ftjob-c": "settled"}
        assert newest(engine, "ftjob-a") == []
        api.events["ftjob-a"][1] = good
        api.forget()
        assert run(engine, source, now=NOW + HOUR).status == "success"
        assert api.asked("/events") == [events_path("ftjob-a")]
        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        run(fresh, source)
    assert quarantined(engine) == []
    assert positions(engine, "ftjob-a") == positions(fresh, "ftjob-a")
    assert typed(engine) == typed(fresh)
    fresh.dispose()


def test_an_event_that_came_spoilt_in_two_runs_is_there_after_the_third(
    engine: Engine, api: Api
) -> None:
    good = api.events["ftjob-a"][0]
    api.events["ftjob-a"][0] = {**good, "created_at": None}
    with api.served() as source:
        for hours in range(2):
            run(engine, source, now=NOW + hours * HOUR)
        api.events["ftjob-a"][0] = good
        assert run(engine, source, now=NOW + 2 * HOUR).status == "success"
    assert quarantined(engine) == []
    assert [place for place, _ in positions(engine, "ftjob-a")] == [0, 1, 2, 3]


def test_an_event_that_was_spoilt_three_times_is_asked_for_with_each_whole_listing(
    sqlite_engine: Engine, api: Api
) -> None:
    good = api.events["ftjob-a"][0]
    api.events["ftjob-a"][0] = {**good, "created_at": None}
    with api.served() as source:
        run(sqlite_engine, source)
        for hours in (1, 2):
            assert run(sqlite_engine, source, now=NOW + hours * HOUR).status == "success"
        assert progress(sqlite_engine, "events")["ftjob-a"] == "settled"
        api.forget()
        run(sqlite_engine, source, now=NOW + 3 * HOUR)
        assert api.asked() == [JOBS]
        api.events["ftjob-a"][0] = good
        assert run(sqlite_engine, source, now=NOW + 2 * DAY).mode == "full"
    assert quarantined(sqlite_engine) == []
    assert [place for place, _ in positions(sqlite_engine, "ftjob-a")] == [0, 1, 2, 3]


def test_an_event_without_a_name_leaves_quarantine_once_its_list_is_read_without_it(
    sqlite_engine: Engine, api: Api
) -> None:
    api.events["ftjob-a"].insert(1, event(id=None, at=api.events["ftjob-a"][1]["created_at"]))  # type: ignore[arg-type]
    with api.served() as source:
        assert run(sqlite_engine, source).status == "partial"
        del api.events["ftjob-a"][1]
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
    assert quarantined(sqlite_engine) == []
