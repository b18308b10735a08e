"""A run that did not do its work says so: to `status`, to `sync_health`, and in the log of runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

import etl.cli
from etl import reports
from etl.cli import database
from etl.cli.options import Context
from etl.db.runs import Tally
from etl.errors import StoreError
from etl.simulator import Simulator, World, parse_fault
from tests.evolving import Evolving, small_pages, ticking
from tests.mirror import EVERYTHING, import_objects, rows, source_of, sync

NOTHING_CONFIGURED: list[tuple[str, str]] = []


def standings(engine: Engine) -> dict[tuple[str, str], reports.Standing]:
    found = reports.status(engine, NOTHING_CONFIGURED, datetime.now(UTC))
    return {(one.source, one.resource): one for one in found.standings}


def synced(engine: Engine) -> dict[str, datetime | None]:
    """When each resource was last in step."""
    return {resource: one.synced_at for (_, resource), one in standings(engine).items()}


def health(engine: Engine) -> list[dict[str, Any]]:
    """What the view says."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM sync_health ORDER BY source, resource"))
        return [dict(line._mapping) for line in found]


def plain(moment: datetime | None) -> str | None:
    """A time as a reader of SQL sees it."""
    return None if moment is None else str(moment.replace(tzinfo=None))


def seen_by_sql(moment: Any) -> str | None:
    """The same of what a driver gives: text of SQLite, else a time."""
    return None if moment is None else str(moment).removesuffix(".000000")


# Status and the view


def test_the_view_says_what_status_says(engine: Engine, tmp_path: Path) -> None:
    faults = [parse_fault("missing=created_at@/fine_tuning/jobs$#1")]
    with Simulator(World(1, 30), faults=faults) as simulator:
        research, azure = source_of(simulator, name="research"), source_of(simulator, name="azure")
        sync(engine, research, resources=EVERYTHING)
        simulator.faults.replace([parse_fault("status=403@/fine_tuning/jobs$")])
        sync(engine, research, azure, resources=EVERYTHING)
        simulator.faults.replace([])
        sync(engine, azure, resources=("jobs",), narrowing=(("metadata[env]", "prod"),))
    import_objects(engine, [{"id": "ftjob-x", "created_at": 1700000000}], tmp_path)
    found = standings(engine)
    told = health(engine)
    assert [(one["source"], one["resource"], one["last_status"]) for one in told] == [
        ("azure", "jobs", "success"),
        ("research", "checkpoints", "success"),
        ("research", "events", "success"),
        ("research", "files", "success"),
        ("research", "jobs", "failed"),
        ("research", "metrics", "success"),
    ]
    for line in told:
        one = found.pop((line["source"], line["resource"]))
        assert seen_by_sql(line["last_success_at"]) == plain(one.synced_at)
        assert seen_by_sql(line["last_run_at"]) == plain(one.last_run_at)
        assert line["last_run_id"] == one.last_run_id
        assert (line["last_status"], line["last_error"]) == (one.last_status, one.last_error)
        assert line["open_quarantine"] == one.quarantined
        if one.age_seconds is None:
            assert line["age_seconds"] is None
        else:
            assert abs(line["age_seconds"] - one.age_seconds) < 60
    assert found.keys() == {("default", "jobs")}  # which was only imported
    assert (told[0]["last_success_at"], told[4]["open_quarantine"]) == (None, 1)
    assert told[4]["last_error"].startswith("The key from the test ")


@pytest.mark.parametrize("mode", ["import", "replay", "retry"])
def test_what_asks_no_api_brings_nothing_in_step(sqlite_engine: Engine, mode: str) -> None:
    with Simulator(World(1, 5)) as simulator:
        sync(sqlite_engine, source_of(simulator))
    with sqlite_engine.begin() as connection:
        connection.execute(text("UPDATE sync_runs SET mode = :mode"), {"mode": mode})
    assert health(sqlite_engine) == []
    (one,) = standings(sqlite_engine).values()
    assert (one.records, one.synced_at, one.last_run_id, one.last_status) == (5, None, None, None)


# A failed run advances nothing


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("status=403@/fine_tuning/jobs$#1", "jobs"),
        ("status=403@/fine_tuning/jobs$#3", "jobs"),
        ("html@/fine_tuning/jobs$#3,4,5,6", "jobs"),
        ("revoked@/fine_tuning/jobs$#2", "jobs"),
        ("status=403@/fine_tuning/jobs/*/events", "events"),
        ("status=500@/fine_tuning/jobs/*/checkpoints", "checkpoints"),
        ("status=403@/files/*$", "files"),
        ("status=403@/files/*/content", "metrics"),
    ],
)
def test_what_a_failed_run_did_not_read_stays_as_old_as_it_was(
    sqlite_engine: Engine, fault: str, failed: str
) -> None:
    evolving = Evolving(3, 40)
    with evolving.served() as simulator, small_pages(10):
        source = source_of(simulator, workers=1)
        sync(sqlite_engine, source, resources=EVERYTHING, now=evolving.now)
        evolving.world.remove(list(evolving.world.job_ids())[5:9])
        evolving.world.advance(6, 4)
        before = _progress(sqlite_engine, failed), synced(sqlite_engine)
        simulator.faults.replace([parse_fault(fault)])
        result = sync(sqlite_engine, source, resources=EVERYTHING, now=evolving.now)
    assert result.status == ("failed" if failed == "jobs" else "partial")
    tallies = {tally.resource: tally for one in result.sources for tally in one.tallies}
    assert tallies[failed].error
    after = _progress(sqlite_engine, failed), synced(sqlite_engine)
    assert after[0] == before[0]
    if failed == "jobs":  # the frontier may have come nearer, and holds what it promises
        (frontier,) = [row for row in rows(sqlite_engine, "frontiers") if not row["parent_id"]]
        listed = list(evolving.world.job_ids())
        promised = listed[listed.index(frontier["newest_ids"][0]) :]
        assert set(promised) <= {row["id"] for row in rows(sqlite_engine, "jobs")}
    advanced = {name for name, moment in after[1].items() if moment != before[1][name]}
    read = {name for name, tally in tallies.items() if tally.status == "success"}
    assert advanced == read
    missing = {row["resource"] for row in rows(sqlite_engine, "records") if row["missing_since"]}
    assert missing == (set() if failed == "jobs" else {"jobs"})


def _progress(engine: Engine, resource: str) -> list[tuple[Any, ...]]:
    """When a resource's lists were last read to their end, and each of its parents."""
    lists = [
        (row["parent_id"], row["newest_ids"] if row["parent_id"] else None, row["listed_at"])
        for row in rows(engine, "frontiers")
        if row["resource"] == resource
    ]
    parents = [
        (row["parent_id"], row["read_at"], row["absent_since"])
        for row in rows(engine, "child_progress")
        if row["resource"] == resource and row["read_at"] is not None
    ]
    return [*lists, *parents]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_was_written_when_a_run_crashed_counts_and_nothing_else(
    sqlite_engine: Engine, error: type[BaseException]
) -> None:
    def crash(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO job_events"):
            raise error

    with Simulator(World(1, 20)) as simulator:
        event.listen(sqlite_engine, "before_cursor_execute", crash)
        with pytest.raises(error):
            sync(sqlite_engine, source_of(simulator), resources=EVERYTHING)
        event.remove(sqlite_engine, "before_cursor_execute", crash)
    assert rows(sqlite_engine, "job_events") == []
    assert [row for row in rows(sqlite_engine, "child_progress") if row["read_at"]] == []
    (run,) = rows(sqlite_engine, "sync_runs")
    said = "interrupted" if error is KeyboardInterrupt else "ended by ZeroDivisionError"
    assert run["status"] == "failed"
    assert run["error"].startswith(said)
    assert (run["finished_at"] is not None, run["created"]) == (True, 20)
    jobs, events = (standings(sqlite_engine)["default", name] for name in ("jobs", "events"))
    assert (jobs.last_status, jobs.last_error, jobs.synced_at is None) == ("success", None, False)
    assert (events.last_status, events.synced_at) == ("failed", None)
    assert str(events.last_error).startswith(said)


def test_a_run_whose_last_word_the_database_did_not_hear_is_closed_by_the_next(
    engine: Engine,
) -> None:
    def rename(old: str, new: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    def step(tally: Tally) -> None:
        if tally.status == "success":
            rename("sync_runs", "elsewhere")

    with Simulator(World(1, 20)) as simulator:
        source = source_of(simulator)
        with pytest.raises(StoreError):
            _run(engine, source, step)
        rename("elsewhere", "sync_runs")
        (run,) = rows(engine, "sync_runs")
        assert (run["status"], run["finished_at"]) == ("running", None)
        # All that was read was written, and says so of itself.
        assert standings(engine)["default", "jobs"].last_status == "success"
        _run(engine, source, lambda _: None)
    first, second = rows(engine, "sync_runs")
    assert (first["status"], first["error"]) == ("failed", "the run was cut off")
    assert first["finished_at"] is not None
    assert (second["status"], second["created"], second["unchanged"]) == ("success", 0, 20)


def _run(engine: Engine, source: Any, step: Callable[[Tally], None]) -> None:
    from etl import sync as syncing
    from etl.resources import discover

    order = syncing.Order([source], [discover()["jobs"]], mode="full")
    syncing.sync(engine, order, step, sleep=lambda _: None)


def test_a_listing_that_the_time_limit_cut_is_not_in_step_until_it_is_done(
    sqlite_engine: Engine,
) -> None:
    with Simulator(World(1, 60)) as simulator, small_pages(10):
        source = source_of(simulator, workers=1)
        limited: dict[str, Any] = {"mode": "auto", "time_limit": 4.0}
        cut = sync(sqlite_engine, source, clock=ticking(), **limited)
        assert (cut.status, synced(sqlite_engine)) == ("partial", {"jobs": None})
        narrowed = sync(sqlite_engine, source, narrowing=(("metadata[env]", "prod"),))
        assert (narrowed.status, synced(sqlite_engine)) == ("success", {"jobs": None})
        for _ in range(9):
            if sync(sqlite_engine, source, clock=ticking(), **limited).status == "success":
                break
        assert synced(sqlite_engine)["jobs"] is not None


# What `status` prints


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror` in a directory with two sources, of which nobody serves the second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = etl.cli.main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def configure(tmp_path: Path, *sources: tuple[str, str]) -> None:
    lines = [f'[[sources]]\nname = "{name}"\nbase_url = "{url}"\n' for name, url in sources]
    (tmp_path / "ftmirror.toml").write_text("".join(lines))


def test_a_monitor_is_told_of_each_source_that_is_not_in_step(call: Call, tmp_path: Path) -> None:
    with Simulator(World(1, 20)) as one, Simulator(World(2, 20), refused_keys=["sk-no"]) as two:
        configure(tmp_path, ("one", one.url), ("two", two.url))
        assert call("status", "--max-age", "26h")[0] == 2  # there is no mirror
        assert call("sync", "--source", "one")[0] == 0
        code, _, told = call("status", "--max-age", "26h")
        assert code == 5
        assert re.findall("warning: (.*)", told) == [
            f"two, {name}: never in step"
            for name in ("checkpoints", "events", "files", "jobs", "metrics")
        ]
        assert call("sync")[0] == 0
        assert call("status", "--max-age", "26h")[0] == 0
        # A run that fails, and one of some jobs only, make nothing younger.
        _older("one", "two")
        two.faults.replace([parse_fault("status=403@/fine_tuning/jobs$")])
        assert call("sync", "--source", "two")[0] == 1
        assert call("sync", "--source", "one", "--metadata", "env=prod")[0] == 0
        code, _, told = call("status", "--max-age", "26h")
        assert (code, told.count("in step 2.0 days ago")) == (5, 10)
        assert call("sync", "--source", "one")[0] == 0
        code, out, told = call("status", "--max-age", "26h")
    assert (code, told.count("in step 2.0 days ago")) == (5, 5)
    assert re.search("^two, jobs: last run failed: The key from OPENAI_API_KEY ", out, re.MULTILINE)


def _older(*sources: str) -> None:
    """As if two days had passed."""
    with database.opened(Context()) as engine, engine.begin() as connection:
        for source in sources:
            connection.execute(
                text(
                    "UPDATE sync_resource_runs SET started_at = "
                    "strftime('%Y-%m-%d %H:%M:%f000', started_at, '-2 days') WHERE source = :source"
                ),
                {"source": source},
            )


def test_the_answer_for_machines_names_what_is_stale(call: Call, tmp_path: Path) -> None:
    with Simulator(World(1, 20)) as simulator:
        configure(tmp_path, ("one", simulator.url), ("two", simulator.url))
        call("sync", "--source", "one", "--resource", "jobs")
    code, out, _ = call("status", "--max-age", "26h", "--json")
    answer = json.loads(out)
    assert (code, answer["max_age_seconds"], answer["oldest_age_seconds"]) == (5, 93600.0, None)
    (jobs,) = [one for one in answer["sources"] if one["last_run_id"] is not None]
    assert 0 <= jobs.pop("age_seconds") < 600
    assert jobs.pop("synced_at") == jobs.pop("last_run_at")
    assert jobs == {
        "source": "one",
        "resource": "jobs",
        "configured": True,
        "records": 20,
        "missing": 0,
        "quarantined": 0,
        "last_run_id": 1,
        "last_status": "success",
        "last_error": None,
        "stale": False,
    }
    assert sum(one["stale"] for one in answer["sources"]) == 9
    code, out, _ = call("status", "--json")
    assert (code, {one["stale"] for one in json.loads(out)["sources"]}) == (0, {None})


def test_names_that_are_long_leave_the_table_its_80_columns(call: Call, tmp_path: Path) -> None:
    names = ("research-eu-production", "azure-sweden-central-production")
    with Simulator(World(1, 20)) as simulator:
        configure(tmp_path, *((name, simulator.url) for name in names))
        call("sync")
        code, out, _ = call("status")
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line in names] == sorted(names)
    assert len([line for line in lines if re.match(r"resource +records +last sync", line)]) == 2
    assert len([line for line in lines if re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line)]) == 10
