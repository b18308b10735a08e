"""What tables and views mean stands in the databases that keep that, and stays what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import Engine, inspect, text

from etl.cli import main
from etl.db import comments, explained, migrate, views
from etl.db.engine import open_engine
from etl.db.tables import lease_metadata, metadata
from etl.errors import StoreError
from etl.simulator import Simulator, World
from tests.mirror import EVERYTHING, contents, source_of, statements, sync

KEEP = pytest.mark.parametrize("empty_database", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def migrated(empty_database: str) -> Iterator[Engine]:
    """A mirror as `db upgrade` makes it."""
    made = open_engine(empty_database)
    migrate.upgrade(made)
    yield made
    made.dispose()


def change(engine: Engine, *orders: str) -> None:
    with engine.begin() as connection:
        for order in orders:
            connection.execute(text(order))


#: What somebody does by hand: the table's comment, and a column's.
BY_HAND = {
    "postgresql": ("COMMENT ON TABLE jobs IS 'mine'", "COMMENT ON COLUMN jobs.status IS NULL"),
    "mariadb": (
        "ALTER TABLE jobs COMMENT 'mine'",
        "ALTER TABLE jobs MODIFY status VARCHAR(255) COLLATE utf8mb4_nopad_bin",
    ),
}


@KEEP
def test_after_an_upgrade_every_table_and_column_says_what_it_is(migrated: Engine) -> None:
    seen = inspect(migrated)
    for table in (*metadata.tables.values(), *lease_metadata.tables.values()):
        assert seen.get_table_comment(table.name) == {"text": table.comment}
        found = {one["name"]: one["comment"] for one in seen.get_columns(table.name)}
        assert found == {column.name: column.comment for column in table.columns}


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_so_do_views_where_the_database_keeps_that(migrated: Engine) -> None:
    query = text("SELECT obj_description(to_regclass(:view), 'pg_class')")
    with migrated.connect() as connection:
        for name, view in explained.views().items():
            assert connection.scalar(query, {"view": name}) == view.summary
            found = {one["name"]: one["comment"] for one in inspect(migrated).get_columns(name)}
            assert found == {column.name: column.comment for column in view.columns}


@KEEP
def test_a_comment_that_was_changed_by_hand_is_told_and_mended(
    migrated: Engine, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(migrated, *BY_HAND[migrated.dialect.name])
    at = ["--database-url", empty_database]
    assert main(["db", "check", *at]) == 5
    assert capsys.readouterr().out == "comments of jobs differ: its own, status\n"
    assert main(["db", "upgrade", *at]) == 0
    said = capsys.readouterr()
    assert said.out == f"schema {migrate.head()}\n"
    assert "2 comments on tables, views and columns were written" in said.err
    assert main(["db", "check", *at]) == 0
    capsys.readouterr()
    assert main(["db", "upgrade", *at]) == 0
    assert capsys.readouterr().out == f"schema {migrate.head()}: nothing to do\n"


@KEEP
def test_a_text_that_changed_reaches_the_database_and_nothing_else_does(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With quotes, backslashes and all that drivers take for something else; the rows stay."""
    with Simulator(World(4, 20)) as simulator:
        sync(migrated, source_of(simulator), resources=EVERYTHING)
    before = contents(migrated)
    odd = "50 % of 'it', %s, %(name)s, 100%% \\ :here – §"
    tables = [*metadata.tables.values(), *lease_metadata.tables.values()]
    for table in tables:
        monkeypatch.setattr(table, "comment", odd)
        for column in table.columns:
            monkeypatch.setattr(column, "comment", f"{column.name}: {odd}")
    assert len(migrate.differences(migrated)) == len(tables)
    with statements(migrated) as sent:
        assert migrate.upgrade(migrated) is True
    altered = [one for one in sent if one.startswith(("ALTER", "COMMENT"))]
    assert len(altered) == len(tables)
    assert migrate.differences(migrated) == []
    assert inspect(migrated).get_columns("jobs")[0]["comment"] == f"id: {odd}"
    assert contents(migrated) == before


@pytest.mark.parametrize("empty_database", ["mariadb"], indirect=True)
def test_on_mariadb_only_comments_change_of_what_a_table_is(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> list[str]:
        with migrated.connect() as connection:
            shown = [connection.execute(text(f"SHOW CREATE TABLE {one}")) for one in names]
            return [one.all()[0][1] for one in shown]

    names = [*metadata.tables, *lease_metadata.tables]
    before = made()
    for name in names:
        found = {**metadata.tables, **lease_metadata.tables}[name]
        for column in found.columns:
            monkeypatch.setattr(column, "comment", "Otherwise.")
    migrate.upgrade(migrated)
    otherwise = made()
    assert otherwise != before
    monkeypatch.undo()
    migrate.upgrade(migrated)
    assert made() == before


@pytest.mark.parametrize("empty_database", ["mariadb"], indirect=True)
def test_a_column_that_is_otherwise_is_refused_and_not_rebuilt(migrated: Engine) -> None:
    change(migrated, "ALTER TABLE jobs MODIFY seed VARCHAR(20) COMMENT 'mine'")
    with pytest.raises(StoreError, match="INSTANT"):
        migrate.upgrade(migrated)
    (seed,) = (one for one in inspect(migrated).get_columns("jobs") if one["name"] == "seed")
    assert str(seed["type"]).startswith("VARCHAR(20)")


@KEEP
def test_a_schema_that_is_current_is_asked_for_no_comments(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What every sync asks before it begins: whether an upgrade is due."""

    def asked(_: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(comments, "differing", asked)
    assert not migrate.is_due(migrated)
    migrate.require_current(migrated)
    with pytest.raises(AssertionError):
        migrate.upgrade(migrated)


@KEEP
def test_comments_that_differ_are_no_fault_of_the_mirror(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version's better words wait for `db upgrade`, and nothing else does."""
    monkeypatch.setattr(metadata.tables["jobs"], "comment", "Better.")
    assert migrate.differences(migrated) == ["comments of jobs differ: its own"]
    assert migrate.differences(migrated, with_comments=False) == []


def test_sqlite_is_asked_for_none(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'mirror.db'}")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert comments.differing(connection) == {}
        assert comments.statements(engine.dialect) == []
    assert migrate.upgrade(engine) is False
    engine.dispose()


def test_many_columns_of_a_table_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {("jobs", one): "x" for one in ("", "a", "b", "c", "d", "e")}
    monkeypatch.setattr(comments, "differing", lambda _: wanted)
    (line,) = comments.differences(None)  # type: ignore[arg-type]
    assert line == "comments of jobs differ: its own, a, b, c and 2 more"


def test_the_sql_that_is_printed_has_the_comments() -> None:
    for_postgresql = migrate.sql("postgresql://nobody@127.0.0.1:1/none")
    assert "COMMENT ON VIEW job_costs IS 'What a job cost by the price book: " in for_postgresql
    assert "COMMENT ON COLUMN jobs.id IS 'The job''s id, as ftjob-…';" in for_postgresql
    for_mariadb = migrate.sql("mariadb://nobody@127.0.0.1:1/none")
    assert for_mariadb.count("ALGORITHM = INSTANT;") == len(metadata.tables) + len(
        lease_metadata.tables
    )
    assert "COMMENT" not in migrate.sql("sqlite:///none.db")


def test_the_digest_of_views_does_not_know_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    before = views.digest()
    monkeypatch.setattr(explained, "views", dict)
    assert views.digest() == before
