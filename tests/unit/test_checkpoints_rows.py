"""One checkpoint becomes a row, and one more for each thing it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl.errors import RecordError
from etl.resources import checkpoints
from etl.simulator import World
from tests import corpus
from tests.children import Noted, Rows, made, measured, record

EXAMPLES = Path(__file__).parent.parent / "examples" / "checkpoints.jsonl"


def checkpoint(**changes: Any) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": "ftckpt_1",
        "created_at": 1746485800,
        "fine_tuned_model_checkpoint": "ft:m:acme::a:ckpt-step-80",
        "fine_tuning_job_id": "ftjob-1",
        "metrics": {"step": 80, "train_loss": 0.25},
        "step_number": 80,
        **changes,
    }


def read(value: Any, parent_id: str | None = "ftjob-1") -> tuple[Rows, Noted]:
    one = record(checkpoints.RESOURCE, value, "ftckpt_1", parent_id)
    return made(checkpoints.RESOURCE, one)


def test_a_checkpoint_of_openai() -> None:
    rows, noted = read(EXAMPLES.read_bytes().splitlines()[0])
    assert noted == []
    assert rows["job_checkpoints"] == [
        {
            "id": "ftckpt_1",
            "job_id": "ftjob-1",
            "created_at": "2025-05-05 22:56:40",
            "step_number": 80,
            "fine_tuned_model_checkpoint": (
                "ft:gpt-4.1-nano-2025-04-14:acme::BTz2Rexa:ckpt-step-80"
            ),
            "train_loss": 0.25,
            "train_mean_token_accuracy": 1.0,
            "valid_loss": 0.5,
            "valid_mean_token_accuracy": 0.75,
            "full_valid_loss": 0.625,
            "full_valid_mean_token_accuracy": 0.7,
        }
    ]
    assert measured(rows) == {
        (80, "train_loss"): 0.25,
        (80, "train_mean_token_accuracy"): 1.0,
        (80, "valid_loss"): 0.5,
        (80, "valid_mean_token_accuracy"): 0.75,
        (80, "full_valid_loss"): 0.625,
        (80, "full_valid_mean_token_accuracy"): 0.7,
    }
    assert rows["training_metrics"][0] == {
        "job_id": "ftjob-1",
        "origin": "checkpoint",
        "origin_id": "ftckpt_1",
        "step": 80,
        "name": "train_loss",
        "value": 0.25,
    }


def test_a_checkpoint_of_azure_writes_steps_as_floats() -> None:
    rows, noted = read(EXAMPLES.read_bytes().splitlines()[1])
    assert noted == []
    assert rows["job_checkpoints"][0]["step_number"] == 100
    assert measured(rows) == {(100, "train_loss"): 0.0007721185684204102}


def test_a_metric_that_has_no_column_is_a_metric_all_the_same() -> None:
    rows, noted = read(checkpoint(metrics={"valid_reward_mean": 0.5, "by": {"a": 1}}))
    assert noted == []
    assert measured(rows) == {(80, "valid_reward_mean"): 0.5, (80, "by.a"): 1.0}
    assert rows["job_checkpoints"][0]["train_loss"] is None


@pytest.mark.parametrize("metrics", [None, {}, {"step": 80}, {"step": 80, "train_loss": None}])
def test_a_checkpoint_that_measured_nothing(metrics: Any) -> None:
    rows, noted = read(checkpoint(metrics=metrics))
    assert (list(rows), noted) == (["job_checkpoints"], [])


def test_the_step_is_taken_from_the_metrics_where_nothing_else_says_it() -> None:
    rows, noted = read(checkpoint(step_number=None, metrics={"step": 7, "train_loss": 1}))
    assert noted == []
    assert rows["job_checkpoints"][0]["step_number"] is None
    assert measured(rows) == {(7, "train_loss"): 1.0}


@pytest.mark.parametrize(
    ("changes", "steps", "noted"),
    [
        (
            {"metrics": {"step": 81, "train_loss": 1}},
            [80],
            [("metrics.step", "unknown_value", "81")],
        ),
        (
            {"step_number": None, "metrics": {"train_loss": 1}},
            [],
            [("step_number", "missing", "null")],
        ),
        (
            {"step_number": "last", "metrics": {"train_loss": 1}},
            [],
            [("step_number", "wrong_type", "last")],
        ),
        (
            {"metrics": {"train_loss": "0.5", "valid_loss": 1}},
            [80],
            [("metrics.train_loss", "wrong_type", "0.5")],
        ),
        ({"metrics": 5}, [], [("metrics", "wrong_type", "5")]),
        (
            {"new": 1, "object": "ckpt"},
            [80],
            [("object", "unknown_value", "ckpt"), ("new", "unknown_field", "1")],
        ),
    ],
)
def test_odd_checkpoints(changes: dict[str, Any], steps: list[int], noted: Noted) -> None:
    rows, found = read(checkpoint(**changes))
    assert ([row["step"] for row in rows.get("training_metrics", [])], found) == (steps, noted)


def test_the_job_is_the_one_it_says_or_the_one_it_was_asked_for_by() -> None:
    assert read(checkpoint(), parent_id=None)[0]["job_checkpoints"][0]["job_id"] == "ftjob-1"
    silent = read(checkpoint(fine_tuning_job_id=None), parent_id="ftjob-2")
    assert silent[0]["job_checkpoints"][0]["job_id"] == "ftjob-2"


@pytest.mark.parametrize(
    ("value", "parent_id", "reason"),
    [
        (
            checkpoint(),
            "ftjob-2",
            "the checkpoint is of job 'ftjob-1' and stood in the list of job 'ftjob-2'",
        ),
        (
            checkpoint(fine_tuning_job_id=None),
            None,
            "a checkpoint belongs to a job, and nothing says to which",
        ),
        (checkpoint(fine_tuning_job_id=5), "ftjob-1", "`fine_tuning_job_id` is no text: 5"),
        (checkpoint(created_at=None), "ftjob-1", "`created_at` is no time: null"),
        (b'"a"', "ftjob-1", "a checkpoint is a JSON object, this is not"),
        (b"{", "ftjob-1", None),
    ],
)
def test_what_cannot_be_a_checkpoint_says_why(
    value: Any, parent_id: str | None, reason: str | None
) -> None:
    with pytest.raises(RecordError) as caught:
        read(value, parent_id)
    assert reason is None or str(caught.value) == reason


def test_every_checkpoint_of_the_corpus() -> None:
    lines = (corpus.directory() / "checkpoints.jsonl").read_text().splitlines()
    values = [json.loads(line)["object"] for line in lines]
    listed = 0
    for path in sorted((corpus.directory() / "pages").glob("checkpoints-*.json")):
        page = json.loads(path.read_text())["object"]["data"]
        listed += len(page)
        values += page
    found = 0
    for value in values:
        one = record(checkpoints.RESOURCE, value, parent_id=value["fine_tuning_job_id"])
        rows, noted = made(checkpoints.RESOURCE, one)
        assert noted == []
        columns = rows["job_checkpoints"][0]
        assert {name: columns[name] for _, name in measured(rows)} == {
            name: value for (_, name), value in measured(rows).items()
        }
        found += len(rows["training_metrics"])
    assert (len(lines), listed, found) == (15, 15, 156)


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_every_checkpoint_of_the_simulator(provider: str) -> None:
    world = World(7, 30, provider)
    found = 0
    for job_id in world.job_ids():
        for identifier, text in world.checkpoints(job_id, None, 100).items:
            one = record(checkpoints.RESOURCE, text.encode(), identifier, job_id)
            rows, noted = made(checkpoints.RESOURCE, one)
            assert noted == []
            assert rows["job_checkpoints"][0]["job_id"] == job_id
            found += 1
    assert found > 10
