"""One permission becomes a row of the model whose permissions were asked for."""

from __future__ import annotations

from typing import Any

import pytest

from etl.errors import RecordError
from etl.resources import checkpoint_permissions
from etl.simulator import World
from tests.children import Noted, Rows, made, record

RESOURCE = checkpoint_permissions.RESOURCE
MODEL = "ft:gpt-4o-mini-2024-07-18:acme::Aj9zpMdD"


def permission(**changes: Any) -> dict[str, Any]:
    return {
        "object": "checkpoint.permission",
        "id": "cp_1",
        "created_at": 1746484800,
        "project_id": "proj_2",
        **changes,
    }


def read(value: Any, parent_id: str | None = MODEL) -> tuple[Rows, Noted]:
    return made(RESOURCE, record(RESOURCE, value, "cp_1", parent_id))


def test_a_permission() -> None:
    assert read(permission()) == (
        {
            "checkpoint_permissions": [
                {
                    "id": "cp_1",
                    "fine_tuned_model_checkpoint": MODEL,
                    "project_id": "proj_2",
                    "created_at": "2025-05-05 22:40:00",
                }
            ]
        },
        [],
    )


def test_what_is_odd_is_noted() -> None:
    rows, noted = read(permission(project_id=None, created_at=None, role="reader"))
    assert rows["checkpoint_permissions"][0]["project_id"] is None
    assert rows["checkpoint_permissions"][0]["created_at"] is None
    assert noted == [("role", "unknown_field", "reader")]


@pytest.mark.parametrize(
    ("value", "parent_id", "reason"),
    [
        (permission(), None, "a permission belongs to a model, and nothing says to which"),
        (permission(), "m" * 256, "`a model` has 256 characters, 255 fit"),
        (b"5", MODEL, "a permission is a JSON object, this is not"),
    ],
)
def test_what_cannot_be_a_permission_says_why(
    value: Any, parent_id: str | None, reason: str
) -> None:
    with pytest.raises(RecordError) as caught:
        read(value, parent_id)
    assert str(caught.value) == reason


def test_every_permission_of_the_simulator() -> None:
    world = World(7, 30)
    found = 0
    for job_id in world.job_ids():
        for _, text in world.checkpoints(job_id, None, 1).items:
            model = record(RESOURCE, text.encode(), "c").value["fine_tuned_model_checkpoint"]
            for identifier, granted, project in world.permissions(model):
                rows, noted = made(RESOURCE, record(RESOURCE, granted.encode(), identifier, model))
                assert noted == []
                assert rows["checkpoint_permissions"][0]["project_id"] == project
                found += 1
    assert found > 5
