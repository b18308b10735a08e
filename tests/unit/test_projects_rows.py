"""One project becomes a row."""

from __future__ import annotations

from typing import Any

import pytest

from etl.errors import RecordError
from etl.resources import projects
from etl.simulator import World
from tests.children import Noted, made, record


def project(**changes: Any) -> dict[str, Any]:
    return {
        "object": "organization.project",
        "id": "proj_1",
        "name": "Search",
        "created_at": 1746484800,
        "archived_at": None,
        "status": "active",
        **changes,
    }


def read(value: Any) -> tuple[dict[str, Any], Noted]:
    rows, noted = made(projects.RESOURCE, record(projects.RESOURCE, value, "proj_1"))
    assert rows.keys() == {"projects"}
    return rows["projects"][0], noted


def test_an_active_project() -> None:
    assert read(project(external_key_id="key_1", residency={"geography": "eu"})) == (
        {
            "id": "proj_1",
            "name": "Search",
            "status": "active",
            "created_at": "2025-05-05 22:40:00",
            "archived_at": None,
        },
        [],
    )


def test_an_archived_project_without_a_name() -> None:
    row, noted = read(project(name=None, status="archived", archived_at=1746571200))
    assert (row["name"], row["status"], row["archived_at"], noted) == (
        None,
        "archived",
        "2025-05-06 22:40:00",
        [],
    )


def test_what_is_odd_is_noted() -> None:
    row, noted = read(project(created_at=None, status=None, title="Search", object="project"))
    assert (row["created_at"], row["status"]) == (None, None)
    assert noted == [("object", "unknown_value", "project"), ("title", "unknown_field", "Search")]


def test_what_is_no_object_is_no_project() -> None:
    with pytest.raises(RecordError, match=r"^a project is a JSON object, this is not$"):
        read(b"null")


def test_every_project_of_the_simulator() -> None:
    listed = World(7, 10).money.projects(archived=True)
    for identifier, text in listed:
        one = record(projects.RESOURCE, text.encode(), identifier)
        rows, noted = made(projects.RESOURCE, one)
        assert (rows["projects"][0]["id"], noted) == (identifier, [])
    assert len(listed) == 4
