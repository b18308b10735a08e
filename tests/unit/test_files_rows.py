"""One file becomes a row."""

from __future__ import annotations

from typing import Any

import pytest

from etl.errors import RecordError
from etl.resources import files
from etl.simulator import World
from tests.children import Noted, made, record


def file(**changes: Any) -> dict[str, Any]:
    return {
        "object": "file",
        "id": "file-1",
        "purpose": "fine-tune",
        "filename": "train.jsonl",
        "bytes": 120000,
        "created_at": 1746484800,
        "status": "processed",
        **changes,
    }


def read(value: Any) -> tuple[dict[str, Any], Noted]:
    rows, noted = made(files.RESOURCE, record(files.RESOURCE, value, "file-1"))
    assert rows.keys() == {"files"}
    return rows["files"][0], noted


def test_a_file() -> None:
    assert read(file(expires_at=1749076800, status_details=None)) == (
        {
            "id": "file-1",
            "filename": "train.jsonl",
            "bytes": 120000,
            "purpose": "fine-tune",
            "created_at": "2025-05-05 22:40:00",
            "expires_at": "2025-06-04 22:40:00",
            "status": "processed",
        },
        [],
    )


def test_a_file_that_says_next_to_nothing() -> None:
    assert read({"id": "file-1", "created_at": None, "expires_at": 0}) == (
        {
            "id": "file-1",
            "filename": None,
            "bytes": None,
            "purpose": None,
            "created_at": None,
            "expires_at": None,
            "status": None,
        },
        [],
    )


def test_why_a_file_was_refused_is_known_and_not_kept() -> None:
    assert read(file(status="error", status_details="bad line"))[1] == []


def test_what_is_odd_is_noted() -> None:
    row, noted = read(file(bytes="12", created_at="2025-05-05T22:40:00Z", sha256="ab", object="f"))
    assert (row["bytes"], row["created_at"]) == (12, "2025-05-05 22:40:00")
    assert noted == [
        ("object", "unknown_value", "f"),
        ("bytes", "wrong_type", "12"),
        ("created_at", "wrong_type", "2025-05-05T22:40:00Z"),
        ("sha256", "unknown_field", "ab"),
    ]


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("processed", True),
        ("error", True),
        ("deleted", True),
        (None, True),
        (["running"], True),
        ("uploaded", False),
        ("pending", False),
        ("running", False),
    ],
)
def test_final(status: Any, final: bool) -> None:
    assert files.is_final(record(files.RESOURCE, file(status=status))) is final


def test_what_is_no_object_is_no_file() -> None:
    assert files.is_final(record(files.RESOURCE, b"[]", "file-1"))
    with pytest.raises(RecordError, match=r"^a file is a JSON object, this is not$"):
        read(b"[]")


def test_every_file_of_the_simulator() -> None:
    world = World(7, 30)
    listed = world.files(None, 1000, None, rising=False).items
    for identifier, text in listed:
        rows, noted = made(files.RESOURCE, record(files.RESOURCE, text.encode(), identifier))
        assert noted == []
        assert rows["files"][0]["bytes"] == len(world.file_content(identifier))
    assert len(listed) > 30
