"""Up, down, up with data, and equal to the tables."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from etl.db import ledger, migrate, views
from etl.db.engine import open_engine
from etl.db.tables import metadata, records
from etl.errors import SchemaOutOfDate, StoreError, UsageError
from etl.simulator import Simulator, World
from tests import servers
from tests.mirror import EVERYTHING, contents, counts, source_of, sync, typed


def test_migrating_gives_the_tables_that_are_declared(empty_database: str) -> None:
    engine = open_engine(empty_database)
    assert migrate.current(engine) is None
    assert migrate.upgrade(engine) is True
    assert migrate.current(engine) == migrate.head()
    assert migrate.differences(engine) == []
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())
    assert migrate.upgrade(engine) is False
    engine.dispose()


def test_down_to_base_leaves_only_the_leases(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    migrate.downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) == {"leases", migrate.VERSION_TABLE}
    assert migrate.upgrade(engine) is True
    engine.dispose()


def test_the_index_of_what_decides_is_where_the_payloads_are_in_the_way(
    empty_database: str,
) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    on_mariadb = {"records_standing"} if engine.dialect.name == "mariadb" else set()
    assert {one["name"] for one in inspect(engine).get_indexes("records")} == on_mariadb
    # One column that it lacks, and each look would go to the rows after all.
    (index,) = records.indexes
    assert set(ledger._STANDING) <= set(index.columns.keys())
    migrate.downgrade(engine, "0001")
    assert inspect(engine).get_indexes("records") == []
    engine.dispose()


@pytest.mark.parametrize("empty_database", ["mariadb"], indirect=True)
def test_a_migration_that_was_cut_is_run_again(empty_database: str) -> None:
    """MariaDB has made the index for good before the database is said to be at the new schema."""
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '0002'")
    assert migrate.upgrade(engine) is True
    assert migrate.differences(engine) == []
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '0003'")
        for index in records.indexes:
            index.drop(connection, checkfirst=True)
    migrate.downgrade(engine, "0002")
    assert migrate.current(engine) == "0002"
    engine.dispose()


def test_up_down_up_with_data_gives_the_same_mirror_again(empty_database: str) -> None:
    """What a downgrade drops is only a copy: the next sync brings it back."""
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with Simulator(World(4, 120)) as simulator:
        sync(engine, source_of(simulator))
        before = typed(engine)
        assert len(before["jobs"]) == 120
        migrate.downgrade(engine, "base")
        migrate.upgrade(engine)
        assert typed(engine) == {table: [] for table in before}
        assert counts(sync(engine, source_of(simulator))) == {"created": 120}
    assert typed(engine) == before
    engine.dispose()


def test_a_downgrade_to_any_schema_loses_no_row_for_ever(empty_database: str) -> None:
    """What lost its rows is not taken for unchanged by the ledger that is still there."""
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with Simulator(World(4, 20)) as simulator:
        sync(engine, source_of(simulator), resources=EVERYTHING)
        before = typed(engine)
        assert all(before[name] for name in ("job_events", "job_checkpoints", "files"))
        for revision in reversed([one for one, _ in migrate.history()][:-1]):
            migrate.downgrade(engine, revision)
            migrate.upgrade(engine)
            sync(engine, source_of(simulator), resources=EVERYTHING)
            assert typed(engine) == before
    engine.dispose()


def test_an_upgrade_that_is_not_needed_keeps_the_data(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with Simulator(World(4, 20)) as simulator:
        sync(engine, source_of(simulator))
        before = contents(engine)
        assert migrate.upgrade(engine) is False
        assert contents(engine) == before
    engine.dispose()


def test_an_unknown_revision_names_the_known_ones(empty_database: str) -> None:
    engine = open_engine(empty_database)
    with pytest.raises(
        UsageError, match="revision 'nine' is not known; known are: base, 0001, 0002"
    ):
        migrate.downgrade(engine, "nine")
    engine.dispose()


def test_an_empty_database_is_out_of_date_and_says_what_to_run(empty_database: str) -> None:
    engine = open_engine(empty_database)
    said = r"no ftmirror tables yet\. Run `ftmirror db upgrade`"
    with pytest.raises(SchemaOutOfDate, match=said):
        migrate.require_current(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/none",
        "mariadb://nobody@127.0.0.1:1/none",
        "mysql://nobody@127.0.0.1:1/none",
        "sqlite:///none.db",
    ],
)
def test_sql_of_the_whole_schema_needs_no_connection(url: str) -> None:
    up, down = migrate.sql(url), migrate.sql(url, down_to="base")
    assert ("CREATE INDEX records_standing" in up) == url.startswith(("mariadb", "mysql"))
    assert ("DROP INDEX records_standing" in down) == url.startswith(("mariadb", "mysql"))
    for table in metadata.tables:
        assert f"CREATE TABLE {table} (" in up
        assert f"DROP TABLE {table};" in down
    assert "CREATE TABLE leases (" in up
    assert "leases" not in down
    for index in ("quarantine_by_digest", "job_events_by_job", "training_metrics_by_origin"):
        assert f"CREATE INDEX {index} ON " in up
    for column in ("records ADD COLUMN status", "quarantine ADD COLUMN is_whole"):
        assert f"ALTER TABLE {column} " in up
    for view in views.names():
        assert f"CREATE VIEW {view} AS\n" in up
        assert f"DROP VIEW {view};" in down
    assert up.rindex("CREATE TABLE ") < up.index("CREATE VIEW ")
    assert down.rindex("DROP VIEW ") < down.index("DROP TABLE ")
    assert "VIEW" not in migrate.sql(url, down_to=migrate.head())
    revisions = [revision for revision, _ in migrate.history()]
    for lower, revision in itertools.pairwise(revisions):
        part = migrate.sql(url, down_to=lower)
        assert down.startswith(part.split("COMMIT;")[0].rstrip())
        assert f"SET version_num='{lower}' WHERE {migrate.VERSION_TABLE}" in part
        assert f"version_num='{revision}'" in up


def test_the_sql_that_is_printed_makes_and_takes_the_schema(empty_database: str) -> None:
    engine = open_engine(empty_database)

    def run(script: str) -> None:
        with engine.begin() as connection:
            for statement in re.split(r";\n+", script):
                if statement.strip() not in ("", "BEGIN", "COMMIT"):
                    plain = {"no_parameters": True}
                    connection.exec_driver_sql(statement, execution_options=plain)

    run(migrate.sql(empty_database))
    assert migrate.current(engine) == migrate.head()
    assert migrate.differences(engine) == []
    run(migrate.sql(empty_database, down_to="base"))
    left = set(inspect(engine).get_table_names()) - {migrate.VERSION_TABLE}
    assert left == {"leases", "reader_roles"}
    assert migrate.upgrade(engine) is True
    engine.dispose()


def seen(engine: Engine) -> set[str]:
    return set(inspect(engine).get_view_names())


def test_views_go_down_and_up_with_the_tables(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    assert seen(engine) == set(views.names())
    migrate.downgrade(engine, migrate.head())
    assert seen(engine) == set(views.names())
    migrate.downgrade(engine, "0001")
    assert seen(engine) == set()
    assert migrate.upgrade(engine) is True
    assert seen(engine) == set(views.names())
    assert migrate.differences(engine) == []
    engine.dispose()


def test_a_missing_view_is_told_and_the_next_upgrade_makes_it(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW job_history"))
    assert migrate.differences(engine) == ["the view job_history is missing"]
    assert migrate.upgrade(engine) is True
    assert migrate.differences(engine) == []
    assert migrate.upgrade(engine) is False
    engine.dispose()


def test_a_view_of_an_earlier_version_is_told_and_dropped(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW old_costs AS SELECT job_id FROM job_times"))
        connection.execute(text("CREATE VIEW somebodys AS SELECT id FROM jobs"))
    assert migrate.differences(engine) == []
    monkeypatch.setattr(views, "RETIRED", frozenset({"old_costs"}))
    assert migrate.differences(engine) == ["the view old_costs is of another version"]
    migrate.upgrade(engine)
    assert seen(engine) == {*views.names(), "somebodys"}
    engine.dispose()


def test_somebody_elses_view_of_the_same_name_is_not_dropped(empty_database: str) -> None:
    engine = open_engine(empty_database)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW job_times AS SELECT 7 AS seven"))
    with pytest.raises(StoreError, match="job_times"):
        migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT seven FROM job_times")) == 7
    engine.dispose()


def test_the_newest_migration_names_the_views_it_was_made_with() -> None:
    """Databases that are at a revision keep its views, so a changed view needs a new revision."""
    assert migrate.views_digest(migrate.head()) == views.digest(), (
        f'the views changed: make a migration, with VIEWS = "{views.digest()}"'
    )
    assert migrate.views_digest("0001") is None


def test_migrations_are_named_by_their_revision() -> None:
    """The newest revision is read from file names, so a name that lies would hide a migration."""
    for path in (migrate.directory() / "versions").glob("*.py"):
        assert re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.py", path.name), (
            f"name it <revision>_<words>.py, as 0007_files.py: {path.name}"
        )
        assert f'revision = "{path.name[:4]}"' in path.read_text()


def test_a_migration_imports_nothing_of_ours_but_the_types() -> None:
    for path in Path(migrate.directory() / "versions").glob("*.py"):
        imports = re.findall(r"^(?:from|import) (etl[\w. ]*)", path.read_text(), re.MULTILINE)
        assert set(imports) <= {"etl.db import types"}


def test_a_mysql_url_at_a_mariadb_server_works(database_servers: dict[str, str]) -> None:
    """People write `mysql://` for both; which collations there are, the server says."""
    url = servers.create_database(database_servers["mariadb"], "written_as_mysql")
    engine = open_engine(url.replace("mariadb+pymysql://", "mysql://"))
    assert engine.dialect.name == "mysql"
    migrate.upgrade(engine)
    with Simulator(World(4, 20)) as simulator:
        sync(engine, source_of(simulator))
        assert counts(sync(engine, source_of(simulator))) == {"unchanged": 20}
    assert migrate.differences(engine) == []
    engine.dispose()
