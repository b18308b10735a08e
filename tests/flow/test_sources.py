"""Several sources in one run: each does its work, whatever happens to the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl.db.tables import records
from etl.settings import Secret
from etl.simulator import Simulator, World, parse_fault
from tests.mirror import (
    ORIGIN,
    counts,
    import_objects,
    rows,
    source_of,
    sync,
    typed,
)
from tests.servers import free_port


def test_one_failing_source_never_stops_the_others(engine: Engine) -> None:
    with Simulator(World(1, 20)) as good, Simulator(World(2, 20), refused_keys=["sk-bad"]) as bad:
        key = Secret.from_text("OPENAI_API_KEY_BAD", "sk-bad")
        result = sync(
            engine,
            source_of(bad, name="bad", api_key=key),
            source_of(good, name="good"),
            source_of(good, name="gone", base_url=f"http://127.0.0.1:{free_port()}/v1"),
        )
    assert result.status == "partial"
    answer = result.as_json()["sources"]
    assert [(one["name"], one["status"]) for one in answer] == [
        ("bad", "failed"),
        ("good", "success"),
        ("gone", "failed"),
    ]
    assert "OPENAI_API_KEY_BAD" in answer[0]["error"]
    assert "HTTP 401" in answer[0]["error"]
    assert answer[1]["resources"]["jobs"]["created"] == 20
    (run,) = rows(engine, "sync_runs")
    assert run["status"] == "partial"
    assert run["error"].startswith("bad: ")
    assert "sk-bad" not in repr(rows(engine, "sync_runs") + rows(engine, "sync_resource_runs"))


def test_when_every_source_fails_the_run_failed(engine: Engine) -> None:
    with Simulator(World(1, 5), refused_keys=["sk-test-key"]) as simulator:
        result = sync(engine, source_of(simulator))
    assert result.status == "failed"
    assert rows(engine, "jobs") == []
    assert rows(engine, "frontiers") == []


def test_what_came_before_an_error_is_kept_and_the_list_is_not_called_read(engine: Engine) -> None:
    fault = parse_fault("html@/fine_tuning/jobs#3,4,5")
    with Simulator(World(1, 500), faults=[fault]) as simulator:
        result = sync(engine, source_of(simulator))
        assert result.status == "failed"
        assert counts(result) == {"created": 200}
        assert (result.counts["requests"], result.counts["retries"]) == (5, 2)
        (frontier,) = rows(engine, "frontiers")
        stored = {row["id"] for row in rows(engine, "jobs")}
        assert frontier["cursor"] in stored
        assert frontier["listed_at"] is None
        after = sync(engine, source_of(simulator))
    assert counts(after) == {"created": 300, "unchanged": 200}
    (frontier,) = rows(engine, "frontiers")
    assert frontier["cursor"] is None
    assert frontier["listed_at"] is not None


def test_transient_faults_are_retried_and_counted(engine: Engine) -> None:
    faults = [parse_fault("status=503@/fine_tuning/jobs#1"), parse_fault("reset#3")]
    with Simulator(World(1, 150), faults=faults) as simulator:
        result = sync(engine, source_of(simulator))
    assert result.status == "success"
    assert counts(result) == {"created": 150}
    assert (result.counts["pages"], result.counts["requests"]) == (2, 4)
    assert result.counts["retries"] == 2


@pytest.mark.parametrize(
    ("faults", "requests", "retries"),
    [
        (["html#3"], 6, 1),
        (["notjson#3,4"], 7, 2),
        (["empty#1", "envelope=error#3", "envelope=renamed#5"], 8, 3),
        (["repeat#3"], 6, 0),
        (["stuck#3"], 6, 0),
    ],
)
def test_a_page_that_comes_spoilt_once_or_twice_loses_nothing(
    sqlite_engine: Engine, faults: list[str], requests: int, retries: int
) -> None:
    given = [parse_fault(fault) for fault in faults]
    with Simulator(World(1, 500), faults=given) as simulator:
        result = sync(sqlite_engine, source_of(simulator))
    assert result.status == "success"
    assert counts(result) == {"created": 500}
    assert (result.counts["pages"], result.counts["requests"]) == (5, requests)
    assert result.counts["retries"] == retries
    assert len(rows(sqlite_engine, "jobs")) == 500


def test_a_list_that_never_ends_is_an_error_that_says_so(engine: Engine) -> None:
    with Simulator(World(1, 250), faults=[parse_fault("stuck@/fine_tuning/jobs")]) as simulator:
        result = sync(engine, source_of(simulator))
    assert result.status == "failed"
    assert "the list would never end" in str(result.error)


def test_a_job_seen_by_two_sources_of_one_id_space_is_one_row(engine: Engine) -> None:
    with Simulator(World(1, 30)) as simulator:
        one = source_of(simulator, name="one", project="proj_one")
        two = source_of(simulator, name="two", project="proj_two")
        first = sync(engine, one, two)
        assert counts(first) == {"created": 30, "unchanged": 30}
        tables = typed(engine)
        again = sync(engine, two, one)
    assert counts(again) == {"unchanged": 60}
    assert typed(engine) == tables
    assert {(row["source"], row["project_id"]) for row in tables["jobs"]} == {("one", "proj_one")}


def test_a_job_of_another_id_space_is_quarantined_not_merged(
    engine: Engine, tmp_path: Path
) -> None:
    with Simulator(World(1, 5)) as simulator:
        sync(engine, source_of(simulator))
        before = typed(engine)
        other = source_of(simulator, name="elsewhere", provider="compatible", id_space="elsewhere")
        result = sync(engine, other)
        assert result.status == "partial"
        assert counts(result) == {"quarantined": 5}
        assert typed(engine) == before
        again = sync(engine, other)
    assert again.status == "success"
    assert counts(again) == {"quarantined": 5}
    reason = rows(engine, "quarantine")[0]["reason"]
    assert reason == (
        "the id belongs to id space 'openai' (source 'default') "
        "and arrived from id space 'elsewhere'"
    )
    assert len(rows(engine, "quarantine")) == 5


def test_azure_is_mirrored_with_its_own_header_and_oddities(engine: Engine) -> None:
    with Simulator(World(1, 60, "azure")) as simulator:
        source = source_of(
            simulator,
            name="azure",
            provider="azure",
            id_space="azure",
            base_url=f"{simulator.root}/openai",
            auth_header="api-key",
            extra_query=(("api-version", "2024-10-21"),),
        )
        result = sync(engine, source)
    assert result.status == "success"
    assert counts(result) == {"created": 60}
    assert {row["provider"] for row in rows(engine, "jobs")} == {"azure"}
    autos = [row for row in rows(engine, "job_hyperparameters") if row["value_text"] == "-1"]
    assert autos
    assert all(row["is_auto"] and row["value_number"] is None for row in autos)


class TestImportAgainstWhatTheApiSaid:
    """An import never moves a record back."""

    @pytest.fixture
    def running(self) -> dict[str, Any]:
        return {
            "object": "fine_tuning.job",
            "id": "ftjob-1",
            "created_at": 1700000000,
            "status": "running",
            "model": "gpt-4o-mini-2024-07-18",
            "training_file": "file-1",
        }

    def test_an_open_state_never_replaces_a_final_one(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        done = {**running, "status": "succeeded", "trained_tokens": 7}
        with Simulator(World.from_objects([done])) as simulator:
            sync(engine, source_of(simulator))
        result = import_objects(engine, [running], tmp_path)
        assert counts(result) == {"older": 1}
        (job,) = rows(engine, "jobs")
        assert job["status"] == "succeeded"
        (record,) = rows(engine, "records")
        (older,) = rows(engine, "record_versions")
        assert (record["version"], record["last_version"], older["version"]) == (1, 2, 2)
        assert counts(import_objects(engine, [running], tmp_path)) == {"unchanged": 1}

    def test_a_final_state_ends_an_open_one(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        with Simulator(World.from_objects([running])) as simulator:
            sync(engine, source_of(simulator))
        done = {**running, "status": "succeeded", "trained_tokens": 7}
        assert counts(import_objects(engine, [done], tmp_path)) == {"updated": 1}
        (job,) = rows(engine, "jobs")
        assert (job["status"], job["trained_tokens"]) == ("succeeded", 7)

    def test_nothing_of_unknown_time_replaces_what_the_api_said(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        with Simulator(World.from_objects([running])) as simulator:
            sync(engine, source_of(simulator))
        result = import_objects(engine, [{**running, "status": "queued"}], tmp_path)
        assert counts(result) == {"older": 1}

    def test_two_times_decide_by_the_later(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        queued = {**running, "status": "queued"}
        march, april = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
        import_objects(engine, [running], tmp_path, observed_at=april)
        older = import_objects(engine, [queued], tmp_path, observed_at=march)
        assert counts(older) == {"older": 1}
        newer = import_objects(
            engine, [queued], tmp_path, observed_at=datetime(2025, 5, 1, tzinfo=UTC)
        )
        assert counts(newer) == {"updated": 1}
        assert rows(engine, "jobs")[0]["status"] == "queued"

    def test_a_change_after_an_older_import_takes_the_next_free_number(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        done = {**running, "status": "succeeded"}
        import_objects(engine, [done], tmp_path)
        import_objects(engine, [running], tmp_path)
        with Simulator(World.from_objects([{**done, "trained_tokens": 9}])) as simulator:
            assert counts(sync(engine, source_of(simulator))) == {"updated": 1}
        (record,) = rows(engine, "records")
        assert (record["version"], record["last_version"]) == (3, 3)
        assert [row["version"] for row in rows(engine, "record_versions")] == [1, 2]
        assert record["source"] == ORIGIN.source

    def test_an_import_shows_nothing_of_whether_a_job_is_still_there(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        """Only a listing takes the mark of a missing record away, and the next one does."""
        with Simulator(World.from_objects([running])) as simulator:
            sync(engine, source_of(simulator))
            gone = datetime(2026, 1, 1, tzinfo=UTC)
            with engine.begin() as connection:
                connection.execute(update(records).values(missing_since=gone))
            done = {**running, "status": "succeeded"}
            assert counts(import_objects(engine, [done], tmp_path)) == {"updated": 1}
            assert [row["missing_since"] for row in rows(engine, "records")] == [gone]
            sync(engine, source_of(simulator))
        assert [row["missing_since"] for row in rows(engine, "records")] == [None]

    def test_a_listing_confirms_what_it_found_unchanged(
        self, engine: Engine, tmp_path: Path, running: dict[str, Any]
    ) -> None:
        """What was observed between two listings that agree is older than the second."""
        with Simulator(World.from_objects([running])) as simulator:
            sync(engine, source_of(simulator))
            between = datetime.now(UTC)
            sync(engine, source_of(simulator))
        queued = {**running, "status": "queued"}
        result = import_objects(engine, [queued], tmp_path, observed_at=between)
        assert counts(result) == {"older": 1}
