"""How little a user of a database server must be allowed: docs/roles.md, run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from etl.cli import main
from etl.db import bulk, views
from etl.db.engine import open_engine
from etl.db.tables import lease_metadata, metadata
from etl.simulator import Simulator, World
from tests.mirror import EVERYTHING, advance, counts, source_of, sync

RECIPE = (Path(__file__).parents[2] / "docs" / "roles.md").read_text(encoding="utf-8")
BLOCKS = dict(
    re.findall(r"^```sql\n-- (\w+: [\w ]+)\n(.*?)^```$", RECIPE, re.DOTALL | re.MULTILINE)
)
USERS = ("ftmirror_owner", "ftmirror_writer", "bi")


def run_sql(url: str, script: str) -> None:
    """Each statement of a script, as a superuser's shell would run it."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    lines = (line for line in script.splitlines() if not line.startswith("--"))
    with engine.connect() as connection:
        for statement in " ".join(lines).split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()


@dataclass
class House:
    """A server on which docs/roles.md was followed."""

    kind: str
    server: str

    def url(self, role: str) -> str:
        (password,) = re.findall(
            rf"{role} (?:LOGIN PASSWORD|IDENTIFIED BY) '([\w-]+)'",
            BLOCKS[f"{self.kind}: superuser"],
        )
        made = make_url(self.server).set(database="ftmirror", username=role, password=password)
        return made.render_as_string(hide_password=False)

    def as_superuser(self, script: str, database: str = "") -> None:
        given = database or ("postgres" if self.kind == "postgresql" else "")
        run_sql(
            make_url(self.server).set(database=given).render_as_string(hide_password=False), script
        )


@pytest.fixture(params=["postgresql", "mariadb"])
def house(request: pytest.FixtureRequest, database_servers: dict[str, str]) -> Iterator[House]:
    made = House(request.param, database_servers[request.param])
    made.as_superuser(BLOCKS[f"{made.kind}: superuser"])
    if made.kind == "postgresql":
        made.as_superuser(BLOCKS["postgresql: superuser in ftmirror"], "ftmirror")
    yield made
    force = " WITH (FORCE)" if made.kind == "postgresql" else ""
    word = "ROLE" if made.kind == "postgresql" else "USER"
    made.as_superuser(f"DROP DATABASE ftmirror{force}")
    for name in USERS:
        made.as_superuser(f"DROP {word} IF EXISTS {name}")


def refused(engine: Engine, statement: str) -> bool:
    """Does the server refuse this for want of rights, and for nothing else?"""
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except DBAPIError as error:
        return bool(re.search("denied|must be owner", str(error.orig)))
    return False


def is_done(engine: Engine, statement: str) -> bool:
    """Is this done, or refused for whatever reason?"""
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except DBAPIError:
        return False
    return True


def test_the_roles_of_the_recipe_can_do_their_work_and_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bulk, "STAGE_FROM", 1)  # every changed row the way of the many
    assert main(["db", "upgrade", "--database-url", house.url("ftmirror_owner"), "-q"]) == 0
    writer = open_engine(house.url("ftmirror_writer"))
    with Simulator(World(3, 30)) as simulator:
        first = sync(writer, source_of(simulator), resources=EVERYTHING)
        advance(simulator, changed=5, new=5)
        second = sync(writer, source_of(simulator), resources=EVERYTHING)
    assert (first.status, second.status) == ("success", "success")
    assert counts(second)["updated"] >= 5
    for statement in (
        "DROP TABLE jobs",
        "CREATE TABLE stranger (a INTEGER)",
        "DROP VIEW job_costs",
    ):
        assert refused(writer, statement), statement
    writer.dispose()
    # A bill of rights for the writer is none for making readers.
    capsys.readouterr()
    url = house.url("ftmirror_writer")
    assert main(["db", "grant-reader", "bi", "--database-url", url, "-q"]) == 1
    assert "the user ftmirror_writer" in capsys.readouterr().err
    url = house.url("ftmirror_owner")
    assert main(["db", "grant-reader", "bi", "--database-url", url, "-q"]) == 0
    captured = capsys.readouterr()
    bi = "bi" if house.kind == "postgresql" else "bi@%"
    assert (captured.out, captured.err) == (
        f"{bi} may read the {len(views.names())} views; other rights of its stay\n",
        "",
    )
    reader = open_engine(house.url("bi"))
    only_looks(reader)
    reader.dispose()
    assert_refused_for_people(house, capsys)
    assert main(["db", "revoke-reader", "bi", "--database-url", url, "-q"]) == 0
    said = capsys.readouterr().out
    if house.kind == "mariadb":
        assert said == "bi@% is no reader any more\n"
        return
    assert said == (
        "bi is no reader any more\n"
        "CONNECT and USAGE stay; docs/roles.md says how to take them back by hand\n"
    )
    assert is_done(reader, "SELECT 1")
    reader.dispose()
    assert refused(reader, "SELECT * FROM job_costs")
    reader.dispose()
    house.as_superuser(BLOCKS["postgresql: owner without readers"], "ftmirror")
    assert not is_done(reader, "SELECT 1")


def assert_refused_for_people(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """A command of `ftmirror` that a reader may not run names who may."""
    assert main(["spend", "--database-url", house.url("bi"), "-q"]) == 1
    said = capsys.readouterr().err
    what = {
        "postgresql": "permission denied for table ftmirror_version. ",
        "mariadb": "SELECT command denied to user 'bi'@",
    }
    assert f"this user of the database may not do that: {what[house.kind]}" in said
    assert (
        ". Run it as the user that runs `ftmirror sync`, and `ftmirror db` as the owner of the "
        "tables (docs/roles.md says what each needs)"
    ) in said


def only_looks(reader: Engine) -> None:
    """Every view is readable, and all else is refused."""
    with reader.connect() as connection:
        for view in views.names():
            connection.execute(text(f"SELECT * FROM {view}"))
        assert connection.scalar(text("SELECT count(*) FROM job_overview")) == 35
    for table in (*metadata.tables, *lease_metadata.tables, "ftmirror_version"):
        assert refused(reader, f"SELECT * FROM {table}"), table
        assert refused(reader, f"DELETE FROM {table}"), table
    for statement in (
        "UPDATE leases SET token = 0",
        "UPDATE jobs SET status = 'succeeded'",
        "INSERT INTO drift (resource, path, kind) VALUES ('jobs', 'a', 'b')",
        "CREATE TABLE stranger (a INTEGER)",
        "CREATE VIEW stranger AS SELECT 1 AS a",
        "DROP VIEW job_costs",
    ):
        assert refused(reader, statement), statement
    for view in views.names():  # most cannot be written through by anybody
        assert not is_done(reader, f"DELETE FROM {view}"), view


@pytest.mark.parametrize("house", ["postgresql"], indirect=True)
def test_tables_that_were_there_before_the_recipe_are_granted_by_its_last_block(
    house: House,
) -> None:
    house.as_superuser(
        "ALTER DEFAULT PRIVILEGES FOR ROLE ftmirror_owner IN SCHEMA public "
        "REVOKE ALL ON TABLES FROM ftmirror_writer",
        "ftmirror",
    )
    owner = house.url("ftmirror_owner")
    assert main(["db", "upgrade", "--database-url", owner, "-q"]) == 0
    writer = open_engine(house.url("ftmirror_writer"))
    assert refused(writer, "SELECT * FROM jobs")
    run_sql(owner, BLOCKS["postgresql: owner"])
    with Simulator(World(3, 3)) as simulator:
        assert sync(writer, source_of(simulator)).status == "success"
    writer.dispose()
