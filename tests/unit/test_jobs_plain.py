"""Most jobs are read in one go: they become the rows that reading field by field gives."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import RecordError
from etl.record import Record
from etl.resources import jobs
from etl.simulator import World
from tests import corpus
from tests.jobs import as_dict, job, record, text

DPO = {
    "type": "dpo",
    "supervised": None,
    "dpo": {"hyperparameters": {"n_epochs": "auto", "batch_size": -1, "beta": 0.1}},
}
REINFORCEMENT = {
    "type": "reinforcement",
    "reinforcement": {
        "grader": {"type": "string_check", "name": "g", "input": "{{x}}", "operation": "eq"},
        "response_format": {},
        "hyperparameters": {"compute_multiplier": 1.50, "eval_samples": None},
    },
}
WANDB = {"project": "p", "name": None, "tags": ["b", "a", "b"], "run_id": ""}


def plain(one: Record) -> list[Any] | None:
    """The rows read in one go, sorted; None where the job does not fit."""
    found = jobs.plain_rows(one)
    return None if found is None else ordered(found)


def ordered(rows: Any) -> list[Any]:
    return sorted((str(table), repr(values)) for table, values in rows)


def assert_same(payload: bytes) -> bool:
    """Does the job fit? Then both ways give the same rows, no drift, and one canonical digest."""
    one = record(payload, id="ftjob-1")
    found = plain(one)
    if found is None:
        with contextlib.suppress(RecordError):
            canonical = record(payload, id="ftjob-1").canonical_digest
            assert one.canonical_digest == canonical
        return False
    assert found == ordered(jobs.soft_rows(record(payload, id="ftjob-1")))
    assert one.canonical_digest == record(payload, id="ftjob-1").canonical_digest
    return True


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "failed", "error": {"code": "c", "message": "m", "param": None}},
        {"status": "running", "estimated_finish": 1735329999, "error": None, "method": None},
        {"method": DPO, "hyperparameters": {}, "metadata": {"team": "search", "note": ""}},
        {"method": REINFORCEMENT, "hyperparameters": None, "usage_metrics": {}},
        {"method": {"type": "supervised"}, "integrations": [{"type": "wandb", "wandb": WANDB}]},
        {"method": {"type": "dpo", "supervised": {}, "dpo": {"hyperparameters": None}}},
        {"integrations": [{"type": "other"}, {}, {"wandb": None}], "result_files": ["a", "b", "a"]},
        {"hyperparameters": {"n_epochs": -1, "x": -1.0, "y": 0, "z": [], "w": ""}},
        {"user_provided_suffix": "", "organization_id": "", "model": "", "trained_tokens": -1},
        {"internal_worker_backend": None, "eval_experiment_id": None, "seed": 2**63 - 1},
    ],
)
def test_a_usual_job_is_read_in_one_go(changes: dict[str, Any]) -> None:
    assert assert_same(text(job(**changes)))
    assert assert_same(json.dumps(job(**changes), indent=2).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "sleeping"},
        {"status": None},
        {"model": "x" * 256},
        {"new_field": 1},
        {"method": REINFORCEMENT, "usage_metrics": {"training_seconds": 5}},
        {"seed": "42"},
        {"seed": 2**63},
        {"created_at": 1.5},
        {"estimated_finish": 0},
        {"object": "fine-tune"},
        {"result_files": [""]},
        {"metadata": {"": "x"}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "é"}},
        {"metadata": {"a": 'say "x"'}},
        {"hyperparameters": {"n_epochs": True}},
        {"hyperparameters": {"n_epochs": [1]}},
        {"hyperparameters": {"n_epochs": 2**63}},
        {"method": {"type": "sft"}},
        {"error": "no object"},
        {"integrations": ["wandb"]},
    ],
)
def test_an_odd_job_is_left_to_the_careful_way(changes: dict[str, Any]) -> None:
    assert not assert_same(text(job(**changes)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seed":42', b'"seed":42,"seed":42'),
        (b'"n_epochs":3', b'"n_epochs":3,"n_epochs":4'),
        (b'{"object"', b'{"status":"failed","object"'),
    ],
)
def test_a_key_that_stands_twice_is_refused(old: bytes, new: bytes) -> None:
    payload = text(job()).replace(old, new, 1)
    assert payload.count(new) == 1
    assert not assert_same(payload)
    with pytest.raises(RecordError, match="stands twice"):
        list(jobs.rows(record(payload, id="ftjob-1")))


def test_number_literals_stay_as_they_were_written() -> None:
    written = [b"1.80", b"18e-1", b"1.8E0", b"1.8"]
    found = [record(text(job()).replace(b"1.8", one), id="ftjob-1") for one in written]
    assert all(plain(one) for one in found)
    assert len({one.canonical_digest for one in found}) == 4
    rows = [as_dict(row) for row in jobs.rows(found[0]) if row[0] is jobs.job_hyperparameters]
    rates = [row["value_text"] for row in rows if row["name"] == "learning_rate_multiplier"]
    assert rates == ["1.80", "1.80"]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["auto", "", "supervised", "running", "x" * 256, "é", "\x00", '"', "\\"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["n_epochs", "type", "dpo", "hyperparameters", "wandb", "code", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
names = st.sampled_from([*job(), "estimated_finish", "train_experiment_id", "suffix", "é"])


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.dictionaries(names, json_values, max_size=2), st.randoms(use_true_random=False))
def test_whatever_fits_becomes_the_same_rows_either_way(
    changes: dict[str, Any], dice: random.Random
) -> None:
    members = list({**job(), **changes, "id": "ftjob-1"}.items())
    dice.shuffle(members)
    indent, is_ascii = dice.choice([None, 2]), dice.choice([True, False])
    assert_same(json.dumps(dict(members), indent=indent, ensure_ascii=is_ascii).encode())


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_whatever_bytes_change_the_two_ways_agree(place: int, change: bytes) -> None:
    payload = text(job(metadata={"team": "search"}, method=DPO))
    place %= len(payload)
    changed = payload[:place] + change + payload[place + len(change) :]
    try:
        fits = assert_same(changed)
    except RecordError as error:  # only the careful way may refuse, and then nothing fits
        raise AssertionError("it fits, and is refused") from error
    assert fits or changed != payload


def test_nearly_all_real_jobs_fit() -> None:
    found = [assert_same(text({**one, "id": "ftjob-1"})) for one in corpus.jobs()]
    assert found.count(True) > 0.9 * len(found)


def test_nearly_all_simulated_jobs_fit() -> None:
    world = World(7, 300)
    jobs_found = [json.loads(world.job(one)) for one in world.job_ids()]
    found = [assert_same(text({**one, "id": "ftjob-1"})) for one in jobs_found]
    assert found.count(True) > 0.8 * len(found)
