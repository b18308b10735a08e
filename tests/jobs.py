"""Jobs as the API sends them, for tests that care about some of their fields only."""

from __future__ import annotations

import json
from typing import Any

from etl.record import Origin, Record
from etl.resource import Row

OPENAI = Origin("default", "openai", "openai", "proj_1")


def job(id: str = "ftjob-1", status: str = "succeeded", **changes: Any) -> dict[str, Any]:  # noqa: A002 - the API's name
    """A supervised job of 2025; `changes` replace or add fields."""
    hyperparameters = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
    is_done = status == "succeeded"
    return {
        "object": "fine_tuning.job",
        "id": id,
        "model": "gpt-4o-mini-2024-07-18",
        "created_at": 1735323648,
        "finished_at": 1735326547 if is_done else None,
        "fine_tuned_model": "ft:gpt-4o-mini-2024-07-18:acme::Aj9zpMdD" if is_done else None,
        "organization_id": "org-1",
        "result_files": ["file-result"] if is_done else [],
        "status": status,
        "validation_file": None,
        "training_file": "file-train",
        "hyperparameters": dict(hyperparameters),
        "trained_tokens": 1700 if is_done else None,
        "error": {},
        "user_provided_suffix": None,
        "seed": 42,
        "estimated_finish": None,
        "integrations": [],
        "metadata": None,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        **changes,
    }


def text(value: Any) -> bytes:
    """A value as the bytes of a page have it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def record(value: Any, origin: Origin = OPENAI, **known: Any) -> Record:
    """The record of a job; bytes are taken as they are."""
    payload = value if isinstance(value, bytes) else text(value)
    identifier = known.pop("id", None) or value["id"]
    return Record("jobs", identifier, payload, origin, **known)


def as_dict(row: Row) -> dict[str, Any]:
    """A row's values by their columns' names."""
    table, values = row
    return dict(zip(table.columns.keys(), values, strict=True))
