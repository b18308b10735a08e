"""Up, down, up with data, and equal to the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import inspect

from etl.db import migrate
from etl.db.engine import open_engine
from etl.db.tables import metadata
from etl.errors import SchemaOutOfDate, UsageError
from etl.simulator import Simulator, World
from tests import servers
from tests.mirror import contents, counts, source_of, sync, typed


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
    with pytest.raises(UsageError, match="revision 'nine' is not known; known are: base, 0001"):
        migrate.downgrade(engine, "nine")
    engine.dispose()


def test_an_empty_database_is_out_of_date_and_says_what_to_run(empty_database: str) -> None:
    engine = open_engine(empty_database)
    said = r"no ftmirror tables yet\. Run `ftmirror db upgrade`"
    with pytest.raises(SchemaOutOfDate, match=said):
        migrate.require_current(engine)
    engine.dispose()


def test_sql_of_the_whole_schema_needs_no_connection() -> None:
    for url in ("postgresql://nobody@127.0.0.1:1/none", "mariadb://nobody@127.0.0.1:1/none"):
        text = migrate.sql(url)
        for table in metadata.tables:
            assert f"CREATE TABLE {table} (" in text


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
