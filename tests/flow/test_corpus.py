"""Real objects, as public sources printed them, are mirrored without loss."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.record import unpack
from etl.simulator import Simulator, World
from tests import corpus
from tests.mirror import counts, import_files, import_objects, rows, source_of, sync, typed

FINAL = {"succeeded", "failed", "cancelled"}


def fold(value: Any) -> Any:
    """One form for all that means the same: no null, `{}` or `[]`, and Azure's -1 is auto."""
    if isinstance(value, dict):
        folded = {name: fold(item) for name, item in value.items()}
        return {name: item for name, item in folded.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [fold(item) for item in value]
    return value


def documented(job: dict[str, Any]) -> dict[str, Any]:
    """A source object as the documentation knows it: Azure's names under OpenAI's."""
    known = dict(job)
    if "suffix" in known:
        known["user_provided_suffix"] = known.pop("suffix")
    known.pop("updated_at", None)  # no documented field, and no column: the ledger has it
    known["estimated_finish"] = known.get("estimated_finish") or None  # 0 is null
    hyperparameters = [known.get("hyperparameters") or {}]
    hyperparameters += [
        (part or {}).get("hyperparameters") or {}
        for name, part in (known.get("method") or {}).items()
        if name != "type"
    ]
    known = json.loads(json.dumps(known))
    for scope in _scopes(known):
        for name, value in scope.items():
            if value == -1:
                scope[name] = "auto"
    folded = fold(known)
    assert isinstance(folded, dict)
    return folded


def _scopes(job: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [job, *(part for part in (job.get("method") or {}).values() if isinstance(part, dict))]
    return [part["hyperparameters"] for part in parts if part.get("hyperparameters")]


def rebuilt(tables: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Each job as an object again, from the typed tables alone."""
    jobs: dict[str, dict[str, Any]] = {}
    for row in tables["jobs"]:
        jobs[row["id"]] = {
            "object": "fine_tuning.job",
            **{name: row[name] for name in _PLAIN},
            **{name: row[name] and int(row[name].timestamp()) for name in _TIMES},
            "error": {part: row[f"error_{part}"] for part in ("code", "message", "param")},
            "hyperparameters": {},
            "method": {"type": row["method_type"]},
            "integrations": [],
            "result_files": [],
            "metadata": {},
        }
    for row in tables["job_methods"]:
        part = {"grader": row["grader"], "response_format": row["response_format"]}
        assert row["is_active"] == (row["type"] == jobs[row["job_id"]]["method"]["type"])
        jobs[row["job_id"]]["method"][row["type"]] = {**part, "hyperparameters": {}}
    for row in tables["job_hyperparameters"]:
        job = jobs[row["job_id"]]
        owner = job if row["scope"] == "job" else job["method"][row["scope"]]
        value = "auto" if row["is_auto"] else row["value_text"]
        if row["value_number"] is not None:
            value = json.loads(row["value_text"])
            assert value == row["value_number"]
        owner["hyperparameters"][row["name"]] = value
    for row in tables["job_integrations"]:
        wandb = {name: row[f"wandb_{name}"] for name in ("project", "name", "entity", "run_id")}
        item = {"type": row["type"], "wandb": {**wandb, "tags": []}}
        jobs[row["job_id"]]["integrations"].append(item)
    for row in tables["job_integration_tags"]:
        item = jobs[row["job_id"]]["integrations"][row["integration_position"]]
        item["wandb"]["tags"].append(row["tag"])
    for row in tables["job_result_files"]:
        jobs[row["job_id"]]["result_files"].append(row["file_id"])
    for row in tables["job_metadata"]:
        jobs[row["job_id"]]["metadata"][row["name"]] = row["value"]
    return {id_: fold(job) for id_, job in jobs.items()}


_PLAIN = (
    "id",
    "organization_id",
    "status",
    "model",
    "fine_tuned_model",
    "user_provided_suffix",
    "training_file",
    "validation_file",
    "trained_tokens",
    "seed",
    "shared_with_openai",
    "eval_id",
    "usage_metrics",
)
_TIMES = ("created_at", "finished_at", "estimated_finish")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The corpus as files that a person could have saved."""
    lines = tmp_path / "jobs.jsonl"
    lines.write_text("".join(json.dumps(job) + "\n" for job in corpus.jobs()))
    saved = [lines]
    for number, page in enumerate(corpus.pages()):
        saved.append(tmp_path / f"page-{number}.json")
        saved[-1].write_text(json.dumps(page, indent=2))
    return saved


def test_every_job_is_mirrored_and_can_be_rebuilt(engine: Engine, files: list[Path]) -> None:
    result = import_files(engine, files)
    assert result.status == "success"
    assert rows(engine, "quarantine") == []
    states: dict[str, list[dict[str, Any]]] = {}
    for job in corpus.every_state():
        states.setdefault(job["id"], []).append(job)

    ledger = {row["id"]: row for row in rows(engine, "records")}
    assert ledger.keys() == states.keys()
    built = rebuilt(typed(engine))
    for id_, row in ledger.items():
        kept = json.loads(unpack(row["payload"], row["payload_encoding"]))
        assert kept in states[id_]
        assert built[id_] == documented(kept)
        if any(state["status"] in FINAL for state in states[id_]):
            assert kept["status"] in FINAL
    passed = [
        json.loads(unpack(row["payload"], row["payload_encoding"]))
        for row in rows(engine, "record_versions")
    ]
    for id_, seen in states.items():
        kept = json.loads(unpack(ledger[id_]["payload"], ledger[id_]["payload_encoding"]))
        for state in seen:
            assert state == kept or state in passed


def test_a_state_that_says_more_is_not_lost_to_one_that_says_less(
    sqlite_engine: Engine, files: list[Path]
) -> None:
    """A finished job that was printed twice, once before its hyperparameters were filled in."""
    import_files(sqlite_engine, files)
    names = [
        row["name"]
        for row in rows(sqlite_engine, "job_hyperparameters")
        if row["job_id"] == "ftjob-nvhQbrVbgAavJDmCueICept5" and row["scope"] == "job"
    ]
    assert names == ["batch_size", "learning_rate_multiplier", "n_epochs"]


def test_importing_again_changes_nothing(engine: Engine, files: list[Path]) -> None:
    import_files(engine, files)
    before = {table: rows(engine, table) for table in ("records", "record_versions", "drift")}
    again = import_files(engine, files)
    assert counts(again) == {"unchanged": len(corpus.every_state())}
    assert {table: rows(engine, table) for table in before} == before


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_lines_does_not_matter(
    sqlite_engine: Engine, tmp_path: Path, seed: int
) -> None:
    """Of real jobs; the documentation's examples use one id for many unlike jobs."""
    real = [job for job in corpus.every_state() if not job["id"].startswith("ftjob-abc")]
    import_objects(sqlite_engine, real, tmp_path)
    tables = typed(sqlite_engine)
    shuffled = random.Random(seed).sample(real, len(real))
    other = tmp_path / "shuffled"
    other.mkdir()
    from tests.conftest import make_schema

    second = make_schema(f"sqlite:///{other / 'mirror.db'}")
    import_objects(second, shuffled, other)
    assert typed(second) == tables
    second.dispose()


def test_served_over_http_they_give_the_same_tables(
    engine: Engine, sqlite_engine: Engine, files: list[Path]
) -> None:
    import_files(sqlite_engine, files)
    with Simulator(World.from_files(files)) as simulator:
        result = sync(engine, source_of(simulator))
    assert result.status == "success"
    assert typed(engine) == typed(sqlite_engine)
