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
from etl.resources.jobs.tables import jobs
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


def test_it_is_read_at_a_path_the_client_knows(resource: Resource) -> None:
    """A list where it says that it reads one, and what has no parents is a list of its own."""
    reads = "list" if resource.parents is None else resource.parents.reads
    is_list = paths.find(resource.path).cursor is not None
    assert is_list == (reads in ("list", "growing list"))
    assert paths.is_filled(resource.path) == (resource.parents is None)


def test_one_record_is_read_by_its_id_where_it_can_be(resource: Resource) -> None:
    """What may still change can be asked for again, or it would have to be listed for that."""
    if resource.item_path is not None:
        assert paths.find(resource.item_path).cursor is None
        assert not paths.is_filled(resource.item_path)
    assert (resource.open_rows is None) == (resource.item_path is None)


def test_what_it_hangs_off_can_be_asked_for(resource: Resource) -> None:
    """One path for one value; a job says whose key opens it; an end is known where it counts."""
    parents = resource.parents
    if parents is None:
        return
    assert parents.columns
    assert resource.path.count("{") == 1
    for column in parents.columns:
        assert column.table is jobs or "job_id" in column.table.c
    assert (parents.ended_at is not None) == (parents.until == "settled")
    if parents.reads == "growing list":
        assert parents.named_by is not None
        assert parents.named_by.table is resource.table
        assert "position" in parents.named_by.table.c


def test_its_main_table_is_keyed_by_the_records_id(resource: Resource) -> None:
    """A resource without a table of its own owns what its records become."""
    assert resource.id_length <= 255
    if resource.table is None:
        assert resource.owned
        return
    assert [column.name for column in resource.table.primary_key] == ["id"]
    assert isinstance(resource.table.c.id.type, Name)


def test_what_it_owns_is_found_by_the_owner(resource: Resource) -> None:
    """The rows of one owner are replaced whole: it is the first column of a key or an index."""
    for table, owner in resource.owned.items():
        firsts = {next(iter(table.primary_key)).name}
        firsts |= {next(iter(index.columns)).name for index in table.indexes}
        assert owner in firsts


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
    assert "toys" in discover()
    metadata.create_all(sqlite_engine)  # what its migration would do
    with Simulator(World(3, 30)) as simulator:
        first = sync(sqlite_engine, source_of(simulator), resources=("jobs", "toys"))
        second = sync(sqlite_engine, source_of(simulator), resources=("jobs", "toys"))
    assert first.status == "success"
    toys = rows(sqlite_engine, "toys")
    assert len(toys) > 30
    assert all(row["filename"] for row in toys)
    assert counts(first) == {"created": 30 + len(toys)}
    assert counts(second) == {"unchanged": 30 + len(toys)}
    assert {row["resource"] for row in rows(sqlite_engine, "records")} == {"jobs", "toys"}
