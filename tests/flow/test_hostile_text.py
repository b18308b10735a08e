"""Hostile text in every text field of every resource comes back as it was, or as it is promised.

Nobody lists the fields: the example objects are walked, each text and each key in them is replaced
by each hostile text in turn, and where an ordinary word would have come to stand, there the hostile
one must stand.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, Table

from etl.db.tables import metadata
from etl.db.types import Json, LongText, Name
from etl.fields import Drift, clean
from etl.record import Record, unpack
from etl.resources import discover
from tests.dear import servers_when_long
from tests.hostile import HOSTILE, UNSTORABLE
from tests.mirror import ORIGIN, import_files, rows
from tests.parts import ENDED, checkpoint, event, file, quarantined

ORDINARY = "ordinary"

EXAMPLES = Path(__file__).parents[1] / "examples"
JOB = "ftjob-of-these"


def example_lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines() if line]


#: Objects that hold, all together, every field of their resource.
OBJECTS: dict[str, list[Any]] = {
    "jobs": [
        *example_lines("jobs.jsonl"),
        {
            "id": "ftjob-more",
            "created_at": 1735323648,
            "model": "m",
            "suffix": "s",
            "organisation_id": "o",
            "eval_id": "eval_1",
            "usage_metrics": {"unit": "second", "parts": [{"name": "training"}]},
            "hyperparameters": {"n_epochs": "auto", "new": "word"},
            "integrations": [
                {
                    "type": "wandb",
                    "wandb": {"project": "p", "name": "n", "entity": "e", "run_id": "r"},
                }
            ],
            "method": {
                "type": "reinforcement",
                "reinforcement": {
                    "grader": {"type": "multi", "graders": {"a": {"name": "x", "input": ["y"]}}},
                    "response_format": {"type": "json_schema", "json_schema": {"name": "z"}},
                },
            },
            "new": {"deep": ["text"]},
        },
        {"id": "ftjob-error", "created_at": 1735323648, "error": "a text"},
    ],
    "events": [*example_lines("events.jsonl"), event(data={"step": 1, "deep": {"a": "b"}})],
    "checkpoints": [checkpoint(job_id=JOB)],
    "files": [file("file-1", status_details="fine")],
    "projects": [
        {
            "id": "proj_1",
            "object": "organization.project",
            "name": "Search",
            "created_at": ENDED,
            "status": "active",
            "external_key_id": "x",
        }
    ],
    "checkpoint_permissions": [
        {
            "id": "cp_1",
            "object": "checkpoint.permission",
            "created_at": ENDED,
            "project_id": "proj_1",
        }
    ],
}
#: Text columns that no field of the API comes to stand in as it is.
OURS = {
    *(("jobs", name) for name in ("source", "provider", "id_space", "project_id")),
    *(("job_usage", name) for name in ("unit", "origin")),
    *((name, "job_id") for name in ("job_events", "training_metrics")),
    ("training_metrics", "origin"),
    ("checkpoint_permissions", "fine_tuned_model_checkpoint"),
}
#: A key, but a whole result file is worth more than one name in it (a note says what it was).
REPLACED_IN_KEY = {("training_metrics", "name")}


class Case(NamedTuple):
    """One object with one text replaced."""

    #: As `integrations[].wandb.tags[]`; a key of an object as `metadata{team}`.
    path: str
    #: What the text was replaced by, by its name.
    name: str
    value: str
    #: What its rows are found by.
    id: str
    text: bytes


Step = str | int
#: Where a text stands, and whether it is a key there.
Place = tuple[tuple[Step, ...], bool]


def places(value: Any, path: tuple[Step, ...] = ()) -> Iterator[Place]:
    """Where texts stand in a value, and keys of objects below its first level."""
    if isinstance(value, str):
        yield path, False
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))
    elif isinstance(value, dict):
        for name, item in value.items():
            if path:
                yield (*path, name), True
            yield from places(item, (*path, name))


def spelled(place: Place) -> str:
    path, is_key = place
    text = ""
    for step in path[:-1] if is_key else path:
        text += "[]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") + (f"{{{path[-1]}}}" if is_key else "")


def replaced(value: Any, place: Place, new: str) -> Any:
    """The value with another text in this place."""
    path, is_key = place
    found = made = copy.deepcopy(value)
    for step in path[:-1]:
        found = found[step]
    if is_key:
        items = [(new if name == path[-1] else name, item) for name, item in found.items()]
        found.clear()
        found.update(items)
    else:
        found[path[-1]] = new
    return made


@cache
def cases(resource: str) -> list[Case]:
    """Each text of the resource's objects replaced by an ordinary one, and by each hostile one."""
    found: list[Case] = []
    met: set[str] = set()
    for object_ in OBJECTS[resource]:
        for place in places(object_):
            path = spelled(place)
            if path in met:
                continue
            met.add(path)
            for name, value in {ORDINARY: ORDINARY, **HOSTILE}.items():
                identifier = value if path == "id" else f"{resource[:3]}-{len(found)}"
                made = replaced({**object_, "id": identifier}, place, value)
                # Half of them with the characters themselves, as far as UTF-8 has them.
                is_plain = len(found) % 2 == 0 and name not in UNSTORABLE
                text = json.dumps(made, ensure_ascii=not is_plain).encode()
                found.append(Case(path, name, value, identifier, text))
    return found


def owners(resource: str) -> dict[Table, str]:
    """The tables of a resource, each with the column that names the record."""
    declared = discover()[resource]
    main = {} if declared.table is None else {declared.table: "id"}
    return {**main, **declared.owned}


#: Table, column and what stands there.
Cell = tuple[str, str, Any]


@lru_cache(maxsize=8)
def cells(engine: Engine, resource: str) -> dict[str, list[Cell]]:
    """What stands in typed tables, by record."""
    found: dict[str, list[Cell]] = defaultdict(list)
    for table, owner in owners(resource).items():
        for row in rows(engine, table.name):
            found[row[owner]] += [
                (table.name, column, value)
                for column, value in row.items()
                if isinstance(value, (str, dict, list)) and column != owner
            ]
            found[row[owner]].append((table.name, owner, row[owner]))
    return found


def texts(value: Any) -> Iterator[str]:
    """Every text and every key in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)


def holding(found: list[Cell], value: str) -> set[tuple[str, str]]:
    """The columns in which this text stands, as it is or as a part of JSON."""
    return {(table, column) for table, column, cell in found if value in texts(cell)}


def is_in_key(place: tuple[str, str]) -> bool:
    """Whether this column is a part of its table's key, or names a record of another table."""
    table, column = place
    return place not in REPLACED_IN_KEY and (
        metadata.tables[table].c[column].primary_key or column == "job_id"
    )


def longest(places: set[tuple[str, str]]) -> int:
    """Characters that fit all of these columns."""
    types = [metadata.tables[table].c[column].type for table, column in places]
    return min([getattr(type_, "length", None) or 10**9 for type_ in types], default=10**9)


def notes(resource: str, case: Case) -> set[tuple[str, str]]:
    """Path and kind of what is noted of this one record."""
    record = Record(resource, case.id, case.text, ORIGIN, parent_id=JOB, position=0)
    found = discover()[resource].rows(record)
    return {(one.path, one.kind) for one in found if isinstance(one, Drift)}


def is_noted(found: set[tuple[str, str]], path: str, kind: str) -> bool:
    """Is there a note of this kind at the place, at what it is a part of, or of its parts?"""
    parent = path.partition("{")[0]
    return any(
        kind == noted and (path.startswith(at) or at.startswith(f"{parent}."))
        for at, noted in found
    )


@lru_cache(maxsize=1)
def ledger(engine: Engine) -> dict[tuple[str, str], bytes]:
    return {
        (row["resource"], row["id"]): unpack(row["payload"], row["payload_encoding"])
        for row in rows(engine, "records")
    }


IN_FILES = [name for name in OBJECTS if name != "checkpoint_permissions"]

#: The path, the name of the text, and what is wrong with it.
Wrong = tuple[str, str, str]


def misplaced(engine: Engine, resource: str) -> Iterator[Wrong]:
    """Texts that do not stand where an ordinary one stands: equal, or replaced with a note."""
    found, kept = cells(engine, resource), ledger(engine)
    refused = {payload for name, _, payload in quarantined(engine) if name == resource}
    expected: set[tuple[str, str]] = set()
    for case in cases(resource):
        if case.name == ORDINARY:
            expected = holding(found[case.id], ORDINARY)
            continue
        if case.text in refused:
            continue
        stored = clean(case.value)
        noted = notes(resource, case) if stored != case.value or len(stored) > 64 else set()
        if kept.get((resource, case.id)) != case.text:
            yield case.path, case.name, "the ledger has other bytes"
        lost = expected - holding(found[case.id], stored)
        if len(case.value) > longest(expected):
            lost = set() if is_noted(noted, case.path, "too_long") else expected
        if lost:
            yield case.path, case.name, f"is not in {sorted(lost)}"
        if expected and stored != case.value:
            if not is_noted(noted, case.path, "replaced_characters"):
                yield case.path, case.name, "was replaced without a note"
            if any(map(is_in_key, expected)):
                yield case.path, case.name, "was replaced in a key"


def wrongly_refused(engine: Engine, resource: str) -> Iterator[Wrong]:
    """Texts in quarantine that could be a key, or are no part of one, or are elsewhere as well."""
    found, kept = cells(engine, resource), ledger(engine)
    refused = {payload for name, _, payload in quarantined(engine) if name == resource}
    expected: set[tuple[str, str]] = set()
    times = 0
    for case in cases(resource):
        if case.name == ORDINARY:
            expected = holding(found[case.id], ORDINARY)
        elif case.text in refused:
            times += 1
            is_unfit = case.name in UNSTORABLE or len(case.value) > longest(expected)
            if not is_unfit or not any(map(is_in_key, expected)):
                yield case.path, case.name, "is in quarantine"
            if case.id in found or (resource, case.id) in kept:
                yield case.path, case.name, "is in quarantine and in the mirror"
    assert times >= 4  # the id, at least
    assert len(refused) == times  # each with its exact bytes


def untried(engine: Engine, resource: str) -> set[tuple[str, str]]:
    """Text columns to which no text of the objects above came."""
    found = cells(engine, resource)
    ordinary = [case for case in cases(resource) if case.name == ORDINARY]
    tried = set().union(*(holding(found[case.id], ORDINARY) for case in ordinary))
    there = {
        (table.name, column.name)
        for table, owner in owners(resource).items()
        for column in table.columns
        if isinstance(column.type, (Name, LongText, Json))
        and (column.name != owner or column.name == "id")
    }
    return there - tried - OURS


@servers_when_long
def test_each_hostile_text_stands_where_an_ordinary_one_would(
    engine: Engine, tmp_path: Path
) -> None:
    """Equal, or U+FFFD for what no database stores, with a note; the ledger has the exact bytes.

    Only what cannot be a key is refused: it is in quarantine with its exact bytes.
    """
    for resource in IN_FILES:
        path = tmp_path / f"{resource}.jsonl"
        path.write_bytes(b"".join(case.text + b"\n" for case in cases(resource)))
        import_files(engine, [path], resource=resource, job=JOB)
    for resource in IN_FILES:
        assert list(misplaced(engine, resource)) == [], resource
        assert list(wrongly_refused(engine, resource)) == [], resource
        assert untried(engine, resource) == set(), resource
    found = {(row["resource"], row["path"], row["kind"]) for row in rows(engine, "drift")}
    assert ("jobs", "model", "replaced_characters") in found
    assert ("jobs", "method.reinforcement.grader", "replaced_characters") in found
    assert ("events", "data", "replaced_characters") in found
    assert ("files", "filename", "replaced_characters") in found
    assert ("projects", "name", "replaced_characters") in found
