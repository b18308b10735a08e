"""Migrations that are cut: MariaDB keeps what was done so far, and the next one goes on from there.

SQLite and PostgreSQL take a whole migration back, so that there is nothing to go on from.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, Engine, Integer, String, inspect, text
from sqlalchemy.exc import DBAPIError

from etl.db import migrate, steps, views
from etl.db.engine import open_engine
from etl.db.tables import metadata
from etl.db.types import Name
from etl.errors import LeaseLost, StoreError
from etl.simulator import Simulator, World
from tests import servers
from tests.migrations.cutting import SCHEMA, cut_after, cut_everywhere, seen, tables
from tests.mirror import EVERYTHING, contents, rows, source_of, statements, sync, typed

_numbers = itertools.count()
OURS_AFTER_BASE = {"leases", migrate.VERSION_TABLE}


@pytest.fixture
def mariadb(database_servers: dict[str, str]) -> Iterator[Engine]:
    """An empty database that commits each statement of a migration."""
    name = f"cut_{os.getpid()}_{next(_numbers)}"
    engine = open_engine(servers.create_database(database_servers["mariadb"], name))
    yield engine
    engine.dispose()


@pytest.fixture
def empty(empty_database: str) -> Iterator[Engine]:
    """An empty database of each kind."""
    engine = open_engine(empty_database)
    yield engine
    engine.dispose()


def mirrored(engine: Engine, simulator: Simulator) -> dict[str, list[dict[str, Any]]]:
    """Mirror all there is; every typed row."""
    sync(engine, source_of(simulator), resources=EVERYTHING)
    return typed(engine)


def known(engine: Engine) -> set[tuple[str, str]]:
    """Which records the ledger knows."""
    return {(row["resource"], row["id"]) for row in rows(engine, "records")}


def test_an_upgrade_goes_on_wherever_it_was_cut(mariadb: Engine) -> None:
    migrate.upgrade(mariadb)
    with Simulator(World(4, 5)) as simulator:
        mirrored(mariadb, simulator)
    migrate.downgrade(mariadb, "0001")
    with cut_after(mariadb, 1000, SCHEMA) as whole:
        migrate.upgrade(mariadb)
    uncut = contents(mariadb)
    assert "succeeded" in {row["status"] for row in uncut["records"]}
    migrate.downgrade(mariadb, "0001")
    taken = cut_everywhere(
        mariadb,
        lambda: migrate.upgrade(mariadb),
        lambda: migrate.current(mariadb) == migrate.head(),
    )
    assert taken == whole[: len(taken)]  # none is taken twice
    assert len(whole) - len(taken) < len(views.names()) + len(tables(mariadb))  # and their comments
    migrate.upgrade(mariadb)
    assert migrate.differences(mariadb) == []
    assert contents(mariadb) == uncut


def test_a_downgrade_goes_on_wherever_it_was_cut(mariadb: Engine) -> None:
    migrate.upgrade(mariadb)
    with cut_after(mariadb, 1000, SCHEMA) as whole:
        migrate.downgrade(mariadb, "base")
    migrate.upgrade(mariadb)
    taken = cut_everywhere(
        mariadb,
        lambda: migrate.downgrade(mariadb, "base"),
        lambda: tables(mariadb) == OURS_AFTER_BASE,
    )
    assert taken == whole
    assert migrate.current(mariadb) is None
    assert [row["command"] for row in _leases(mariadb)] == ["db downgrade"]


def _leases(engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(line._mapping) for line in connection.execute(text("SELECT * FROM leases"))]


def test_after_a_cut_upgrade_one_can_go_back_to_nothing(mariadb: Engine) -> None:
    with cut_after(mariadb, 1000) as whole:
        migrate.upgrade(mariadb)
    migrate.downgrade(mariadb, "base")
    for taken in range(1, len(whole), 9):
        with cut_after(mariadb, taken):
            migrate.upgrade(mariadb)
        migrate.downgrade(mariadb, "base")
        assert tables(mariadb) == OURS_AFTER_BASE
        assert seen(mariadb) == set()


def test_after_a_cut_upgrade_one_can_stay_at_the_schema_before(mariadb: Engine) -> None:
    """What the cut one had made of the next schema is taken back."""
    migrate.upgrade(mariadb)
    migrate.downgrade(mariadb, "0003")
    before = tables(mariadb)
    with cut_after(mariadb, 8):
        migrate.upgrade(mariadb)
    assert tables(mariadb) == before | {"replays"}
    migrate.downgrade(mariadb, "0003")
    assert tables(mariadb) == before
    assert "is_whole" not in [one["name"] for one in inspect(mariadb).get_columns("quarantine")]


def test_after_a_cut_downgrade_an_upgrade_and_a_run_bring_all_back(mariadb: Engine) -> None:
    """Nothing that is still there takes rows that are gone for unchanged, nor is in their way."""
    migrate.upgrade(mariadb)
    with cut_after(mariadb, 1000) as whole:
        migrate.downgrade(mariadb, "base")
    drops = [taken for taken, step in enumerate(whole) if step.startswith("DROP TABLE")]
    migrate.upgrade(mariadb)
    with Simulator(World(4, 5)) as simulator:
        before = mirrored(mariadb, simulator)
        assert all(before[name] for name in ("jobs", "job_events", "job_checkpoints", "files"))
        records = known(mariadb)
        for taken in (drops[1] - 1, drops[2], drops[7], drops[15]):
            with cut_after(mariadb, taken) as done:
                migrate.downgrade(mariadb, "base")
            assert len(done) == taken
            migrate.upgrade(mariadb)
            assert migrate.differences(mariadb) == []
            assert mirrored(mariadb, simulator) == before
            assert known(mariadb) == records
            assert rows(mariadb, "quarantine") == []


@pytest.mark.parametrize("empty_database", ["sqlite", "postgresql"], indirect=True)
def test_a_cut_migration_is_taken_back_whole_where_it_is_one_transaction(empty: Engine) -> None:
    for taken in (1, 20, 40):
        with cut_after(empty, taken):
            migrate.upgrade(empty)
        assert (migrate.current(empty), tables(empty)) == (None, {"leases"})
    migrate.upgrade(empty)
    whole = tables(empty)
    for taken in (1, 20, 40):
        with cut_after(empty, taken):
            migrate.downgrade(empty, "base")
        assert (migrate.current(empty), tables(empty)) == (migrate.head(), whole)
    assert migrate.differences(empty) == []


def test_views_that_a_cut_upgrade_left_out_are_told_and_made(mariadb: Engine) -> None:
    migrate.upgrade(mariadb)
    assert not migrate.is_due(mariadb)
    migrate.downgrade(mariadb, "0004")
    with cut_after(mariadb, 1000) as whole:
        migrate.upgrade(mariadb)
    first = next(taken for taken, step in enumerate(whole) if step.startswith("CREATE VIEW"))
    migrate.downgrade(mariadb, "0004")
    with cut_after(mariadb, first + 2):
        migrate.upgrade(mariadb)
    assert migrate.current(mariadb) == migrate.head()
    made = seen(mariadb)
    assert len(made) == 2
    left_out = [f"the view {name} is missing" for name in views.names() if name not in made]
    assert migrate.left_out(mariadb) == left_out
    assert migrate.is_due(mariadb)
    migrate.upgrade(mariadb)
    assert seen(mariadb) == set(views.names())
    assert not migrate.is_due(mariadb)


def test_whether_an_upgrade_is_due_asks_for_views_only_where_they_may_lack(empty: Engine) -> None:
    migrate.upgrade(empty)
    with statements(empty) as asked:
        assert not migrate.is_due(empty)
    views_asked_for = [one for one in asked if one.startswith("SHOW FULL TABLES")]
    assert len(views_asked_for) == (1 if empty.dialect.name == "mariadb" else 0)


PROJECTS = (
    "CREATE TABLE projects (title VARCHAR(20))",
    # All our names, and not our types.
    (
        "CREATE TABLE projects (id INTEGER NOT NULL PRIMARY KEY, name TEXT, status VARCHAR(255), "
        "created_at TIMESTAMP NULL, archived_at TIMESTAMP NULL)"
    ),
)


@pytest.mark.parametrize("theirs", PROJECTS, ids=["other names", "the same names"])
def test_somebody_elses_table_of_the_same_name_is_not_adopted(empty: Engine, theirs: str) -> None:
    column, value = ("title", "ours") if "title" in theirs else ("id", 7)
    with empty.begin() as connection:
        connection.execute(text(theirs))
        connection.execute(
            text(f"INSERT INTO projects ({column}) VALUES (:value)"), {"value": value}
        )

    def stays() -> bool:
        with empty.connect() as connection:
            found = connection.scalar(text(f"SELECT {column} FROM projects"))
        return bool(found == value)

    said = "projects.? already exists"
    if empty.dialect.name == "mariadb":
        said = r"there is a table projects already, and it is not ftmirror's: it has id, .* not at"
    for _ in range(2):
        with pytest.raises(StoreError, match=said):
            migrate.upgrade(empty)
        assert stays()
    migrate.downgrade(empty, "base")
    assert stays()
    assert tables(empty) - {migrate.VERSION_TABLE} == {"leases", "projects"}
    with empty.begin() as connection:
        connection.execute(text("ALTER TABLE projects RENAME TO their_projects"))
    assert migrate.upgrade(empty) is True
    assert migrate.differences(empty) == []


def test_a_database_without_ours_keeps_all_its_tables_in_a_downgrade(mariadb: Engine) -> None:
    with mariadb.begin() as connection:
        for name in ("jobs", "drift", "records"):
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)"))
    migrate.downgrade(mariadb, "base")
    assert tables(mariadb) >= {"jobs", "drift", "records"}


def test_somebody_elses_column_or_index_of_the_same_name_is_not_adopted(mariadb: Engine) -> None:
    migrate.upgrade(mariadb)
    migrate.downgrade(mariadb, "0002")
    with mariadb.begin() as connection:
        connection.execute(text("CREATE INDEX records_standing ON records (version)"))
    with pytest.raises(StoreError, match="has an index records_standing already"):
        migrate.upgrade(mariadb)
    with mariadb.begin() as connection:
        connection.execute(text("DROP INDEX records_standing ON records"))
        connection.execute(text("ALTER TABLE quarantine ADD COLUMN parent_id INTEGER"))
    with pytest.raises(StoreError, match="quarantine has a column parent_id already"):
        migrate.upgrade(mariadb)
    with mariadb.begin() as connection:
        connection.execute(text("ALTER TABLE quarantine DROP COLUMN parent_id"))
    migrate.upgrade(mariadb)
    assert migrate.differences(mariadb) == []


def test_each_step_is_taken_under_the_lease(mariadb: Engine) -> None:
    """Where a step is for good, it is a transaction of its own: one that lost its lease stops."""
    migrate.upgrade(mariadb)
    left = 3

    def fence(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise LeaseLost

    with mariadb.begin() as connection:
        context = MigrationContext.configure(connection)
        steps.repeatable(context, fence)
        operations = Operations(context)
        operations.drop_table("replays")
        operations.drop_table("replays")  # done already: nothing to begin
        operations.drop_column("quarantine", "is_whole")
        with pytest.raises(LeaseLost):
            operations.execute("DELETE FROM drift")


def test_a_step_that_a_killed_process_still_finished_counts_as_done(
    mariadb: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the statement it was at, and that may be after the next process looked."""
    with mariadb.begin() as connection, mariadb.connect() as killed:

        def fence(_: object) -> None:
            killed.execute(text("CREATE TABLE late (id VARCHAR(255) COLLATE utf8mb4_nopad_bin)"))

        context = MigrationContext.configure(connection)
        steps.repeatable(context, fence)
        Operations(context).create_table("late", Column("id", Name()))
        assert inspect(connection).has_table("late")


def test_what_nobody_could_take_twice_is_refused_in_a_migration(mariadb: Engine) -> None:
    with mariadb.begin() as connection:
        context = MigrationContext.configure(connection)
        steps.repeatable(context, lambda _: None)
        operations = Operations(context)
        table = operations.create_table("some", Column("id", Integer, primary_key=True))
        operations.alter_column("some", "id", type_=BigInteger, existing_nullable=False)
        for refused in (
            lambda: operations.rename_table("some", "other"),
            lambda: operations.alter_column(
                "some", "id", new_column_name="key", existing_type=Integer
            ),
            lambda: operations.bulk_insert(table, [{"id": 1}]),
            lambda: operations.create_unique_constraint("once", "some", ["id"]),
            lambda: operations.drop_constraint("once", "some", type_="unique"),
        ):
            with pytest.raises(NotImplementedError, match="done already when a migration was cut"):
                refused()
        assert tables(mariadb) == {"some"}


def test_others_that_use_alembic_in_this_process_meet_no_change(mariadb: Engine) -> None:
    migrate.upgrade(mariadb)
    with mariadb.connect() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with pytest.raises(DBAPIError, match="already exists"):
            operations.create_table("replays", Column("resource", String(64), primary_key=True))


def test_a_migration_names_the_tables_it_makes_without_a_database(mariadb: Engine) -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migrate._config())
    made: dict[str, object] = {}
    for revision, _ in migrate.history():
        found = script.get_revision(revision)
        assert found is not None
        made |= steps.made_by(found.module, mariadb.dialect)
    assert set(made) == set(metadata.tables)
    assert tables(mariadb) == set()


def test_statuses_of_the_past_are_filled_in_part_by_part(empty: Engine) -> None:
    """A million payloads do not go into memory at once."""
    migrate.upgrade(empty)
    migrate.downgrade(empty, "0001")
    line = (
        "INSERT INTO record_versions (resource, id, version, id_space, source, provider, payload, "
        "payload_encoding, digest, canonical_digest, changed_at, run_id) VALUES ('jobs', :id, "
        ":version, 'openai', 'default', 'openai', :payload, 'text', '', '', "
        "'2026-01-01 00:00:00.000000', 1)"
    )
    past = [
        {"id": f"ftjob-{job:03}", "version": version, "payload": f'{{"status": "s{version}"}}'}
        for job in range(100)
        for version in range(1, 12)
    ]
    past[700]["payload"] = "no JSON"
    with empty.begin() as connection:
        connection.execute(text(line), past)
    with statements(empty) as asked:
        migrate.upgrade(empty)
    parts = [one for one in asked if one.startswith("SELECT record_versions.id")]
    assert len(parts) == 4  # 500, 500, 100, none
    statuses = [row["status"] for row in rows(empty, "record_versions")]
    wanted: list[str | None] = [f"s{version}" for _ in range(100) for version in range(1, 12)]
    wanted[700] = None
    assert statuses == wanted
