"""Real events, checkpoints and result files are mirrored without loss, imported or over HTTP."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.jsontext import decode
from etl.record import unpack
from etl.simulator import Simulator, World
from tests import corpus
from tests.jobs import job
from tests.mirror import counts, import_objects, rows, source_of, sync

EVERYTHING = ("jobs", "events", "checkpoints", "files", "metrics")
JOB = "ftjob-of-the-corpus"


@cache
def objects(name: str) -> list[dict[str, Any]]:
    """The objects of a file of the corpus, each id once."""
    found: dict[str, dict[str, Any]] = {}
    for line in (corpus.directory() / f"{name}.jsonl").read_text().splitlines():
        wrapped = json.loads(line)["object"]
        found.setdefault(wrapped["id"], wrapped)
    return list(found.values())


@cache
def result_files() -> dict[str, bytes]:
    """The result files, each under an id as the API would give it."""
    folder = corpus.directory() / "result_files"
    found = sorted(path for path in folder.iterdir() if path.suffix == ".csv")
    return {f"file-{number:024}": path.read_bytes() for number, path in enumerate(found)}


def ledger(engine: Engine, resource: str) -> dict[str, bytes]:
    """What the ledger keeps of each record."""
    return {
        row["id"]: unpack(row["payload"], row["payload_encoding"])
        for row in rows(engine, "records")
        if row["resource"] == resource
    }


def assert_events(engine: Engine, expected: list[dict[str, Any]]) -> None:
    kept = {name: json.loads(text) for name, text in ledger(engine, "events").items()}
    assert kept == {one["id"]: one for one in expected}
    found = {row["id"]: row for row in rows(engine, "job_events")}
    assert found.keys() == kept.keys()
    for one in expected:
        row = found[one["id"]]
        assert row["created_at"] == datetime.fromtimestamp(one["created_at"], UTC)
        assert (row["level"], row["type"]) == (one["level"], one.get("type"))
        assert row["message"] == one["message"]
        assert row["data"] == (one.get("data") or None)


def test_every_event_is_imported_for_the_job_that_is_named(engine: Engine, tmp_path: Path) -> None:
    events = objects("events")
    first = import_objects(engine, events, tmp_path, job=JOB)
    assert (first.status, counts(first)) == ("success", {"created": len(events)})
    assert_events(engine, events)
    stored = rows(engine, "job_events")
    assert {row["job_id"] for row in stored} == {JOB}
    assert sorted(row["position"] for row in stored) == list(range(len(events)))
    in_place = sorted(stored, key=lambda row: row["position"])
    times = [row["created_at"] for row in in_place]
    assert times == sorted(times)

    again = import_objects(engine, events, tmp_path, job=JOB)
    assert counts(again) == {"unchanged": len(events)}
    assert rows(engine, "job_events") == stored


def test_every_checkpoint_is_imported_for_the_job_it_names(engine: Engine, tmp_path: Path) -> None:
    checkpoints = objects("checkpoints")
    first = import_objects(engine, checkpoints, tmp_path)
    assert (first.status, counts(first)) == ("success", {"created": len(checkpoints)})
    assert_checkpoints(engine, checkpoints)


def assert_checkpoints(engine: Engine, expected: list[dict[str, Any]]) -> None:
    found = {row["id"]: row for row in rows(engine, "job_checkpoints")}
    assert found.keys() == {one["id"] for one in expected}
    measured: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows(engine, "training_metrics"):
        if row["origin"] == "checkpoint":
            measured[row["origin_id"]][row["name"]] = row["value"]
            assert row["step"] == found[row["origin_id"]]["step_number"]
    for one in expected:
        row = found[one["id"]]
        assert row["job_id"] == one["fine_tuning_job_id"]
        assert row["fine_tuned_model_checkpoint"] == one["fine_tuned_model_checkpoint"]
        assert row["step_number"] == one["step_number"]
        said = {name: value for name, value in one["metrics"].items() if value is not None}
        said.pop("step", None)
        assert measured[one["id"]] == said


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Jobs that have these events, checkpoints and result files."""
    checkpoints, contents = objects("checkpoints"), result_files()
    owners = sorted({one["fine_tuning_job_id"] for one in checkpoints})
    jobs = [job(one, result_files=[]) for one in owners]
    jobs += [job(JOB, result_files=[])]
    jobs += [job(f"ftjob-{name}", result_files=[name]) for name in contents]
    events = sorted(objects("events"), key=lambda one: -one["created_at"])
    world = World.from_objects([*jobs, *checkpoints], events={JOB: events}, contents=contents)
    with Simulator(world) as simulator:
        yield simulator


def test_read_over_http_they_are_all_there(engine: Engine, simulator: Simulator) -> None:
    result = sync(engine, source_of(simulator), resources=EVERYTHING)
    assert result.status == "success"
    assert result.counts["quarantined"] == 0
    assert_events(engine, objects("events"))
    assert_checkpoints(engine, objects("checkpoints"))
    assert ledger(engine, "metrics") == result_files()
    found: dict[str, dict[tuple[int, str], float]] = defaultdict(dict)
    for row in rows(engine, "training_metrics"):
        if row["origin"] == "result_file":
            assert row["job_id"] == f"ftjob-{row['origin_id']}"
            found[row["origin_id"]][row["step"], row["name"]] = row["value"]
    for name, content in result_files().items():
        lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        expected = {
            (int(line["step"]), column): float(cell)
            for line in lines
            for column, cell in line.items()
            if column != "step" and cell.strip()
        }
        assert found[name] == expected


def test_an_import_and_a_sync_of_the_same_events_agree(
    sqlite_engine: Engine, simulator: Simulator, tmp_path: Path
) -> None:
    """The list that the API gives decides where an event stands, whatever a file said before."""
    some = objects("events")[::3]
    import_objects(sqlite_engine, some, tmp_path, job=JOB)
    sync(sqlite_engine, source_of(simulator), resources=EVERYTHING)
    listed = [decode(text.encode()) for _, text in simulator.world.events(JOB, None, 1000).items]
    places = {row["id"]: row["position"] for row in rows(sqlite_engine, "job_events")}
    assert places == {one["id"]: place for place, one in enumerate(reversed(listed))}
    in_ledger = {
        row["id"]: row["position"]
        for row in rows(sqlite_engine, "records")
        if row["resource"] == "events"
    }
    assert in_ledger == places
