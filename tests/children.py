"""What hangs off jobs, as records, and the rows made from them."""

from __future__ import annotations

from typing import Any

from etl.fields import Drift
from etl.record import Record
from etl.resource import Resource
from tests.jobs import OPENAI, as_dict, text

Rows = dict[str, list[dict[str, Any]]]
Noted = list[tuple[str, str, str]]


def record(
    resource: Resource,
    value: Any,
    id: str | None = None,  # noqa: A002 - the API's name
    parent_id: str | None = None,
    position: int | None = None,
) -> Record:
    """A record of a resource; bytes are taken as they are."""
    payload = value if isinstance(value, bytes) else text(value)
    identifier = id or value["id"]
    return Record(resource.name, identifier, payload, OPENAI, parent_id, position)


def made(resource: Resource, one: Record) -> tuple[Rows, Noted]:
    """The rows of a record by table, and its drift."""
    tables: Rows = {}
    drift: Noted = []
    for row in resource.rows(one):
        if isinstance(row, Drift):
            drift.append((row.path, row.kind, row.example))
        else:
            assert row[0] in resource.tables
            tables.setdefault(row[0].name, []).append(as_dict(row))
    return tables, drift


def measured(rows: Rows) -> dict[tuple[int, str], float]:
    """The values of `training_metrics` by step and name; no key may come twice."""
    lines = rows.get("training_metrics", [])
    found = {(line["step"], line["name"]): line["value"] for line in lines}
    assert len(found) == len(lines)
    assert all(type(value) is float for value in found.values())
    return found
