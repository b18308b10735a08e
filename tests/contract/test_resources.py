"""Every resource keeps its declaration's promises; a new one is one file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

import etl.resources
from etl.api import paths
from etl.db.tables import metadata
from etl.db.types import Name
from etl.resource import Resource
from etl.resources import discover
from etl.simulator import Simulator, World
from tests.mirror import counts, rows, source_of, sync

TOY = '''
"""Uploaded files, as little of them as a test needs."""

from collections.abc import Iterator

from sqlalchemy import Column, Table

from etl.db.tables import metadata
from etl.db.types import Name
from etl.fields import Drift, Fields
from etl.record import Record
from etl.resource import Resource, Row, row_of

toys = Table(
    "toys", metadata, Column("id", Name(64), primary_key=True), Column("filename", Name())
)


ToyRow = row_of(toys)


def rows(record: Record) -> Iterator[Row | Drift]:
    fields = Fields(record.value, [])
    yield ToyRow(id=record.id, filename=fields.text("filename", 255))


RESOURCE = Resource(name="toys", object="file", path="/files", table=toys, rows=rows)
'''


@pytest.fixture(params=sorted(discover()))
def resource(request: pytest.FixtureRequest) -> Resource:
    return discover()[request.param]


def test_it_is_listed_at_a_path_the_client_knows(resource: Resource) -> None:
    assert paths.find(resource.path).cursor is not None


def test_its_main_table_is_keyed_by_the_records_id(resource: Resource) -> None:
    assert [column.name for column in resource.table.primary_key] == ["id"]
    assert isinstance(resource.table.c.id.type, Name)
    assert resource.id_length <= 255


def test_what_it_owns_names_the_owner_first_in_its_key(resource: Resource) -> None:
    """The rows of one owner are replaced whole, so they must be found by the owner."""
    for table, owner in resource.owned.items():
        assert next(iter(table.primary_key)).name == owner


def test_its_names_fit_every_database(resource: Resource) -> None:
    for table in resource.tables:
        names = [table.name, *(column.name for column in table.columns)]
        assert all(len(name.encode()) <= 63 and name == name.lower() for name in names)


@pytest.fixture
def toy_resource(tmp_path: Path) -> Iterator[None]:
    """One new file among the resources, taken away again."""
    (tmp_path / "toys.py").write_text(TOY)
    etl.resources.__path__.append(str(tmp_path))
    discover.cache_clear()
    yield
    etl.resources.__path__.remove(str(tmp_path))
    sys.modules.pop("etl.resources.toys", None)
    if "toys" in metadata.tables:
        metadata.remove(metadata.tables["toys"])
    discover.cache_clear()


def test_a_new_resource_is_one_file_and_shows_up_in_sync(
    toy_resource: None, sqlite_engine: Engine
) -> None:
    assert sorted(discover()) == ["jobs", "toys"]
    metadata.create_all(sqlite_engine)  # what its migration would do
    with Simulator(World(3, 30)) as simulator:
        first = sync(sqlite_engine, source_of(simulator))
        second = sync(sqlite_engine, source_of(simulator))
    assert first.status == "success"
    toys = rows(sqlite_engine, "toys")
    assert len(toys) > 30
    assert all(row["filename"] for row in toys)
    assert counts(first) == {"created": 30 + len(toys)}
    assert counts(second) == {"unchanged": 30 + len(toys)}
    assert {row["resource"] for row in rows(sqlite_engine, "records")} == {"jobs", "toys"}
