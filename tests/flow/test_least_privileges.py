"""How little a user of a database server must be allowed: what SECURITY.md says is enough."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from etl.db import bulk, views
from etl.db.engine import open_engine
from etl.simulator import Simulator, World
from tests import servers
from tests.conftest import make_schema
from tests.mirror import EVERYTHING, advance, counts, source_of, sync
from tests.mirror import rows as rows_of

#: What a user may do who runs `ftmirror sync`, once another has run `ftmirror db upgrade`.
WRITER = {
    "postgresql": (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}",
        "GRANT TEMPORARY ON DATABASE {database} TO {user}",
    ),
    "mariadb": ("GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {user}",),
}
#: What a user may do who only asks.
READER = {
    "postgresql": ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",),
    "mariadb": ("GRANT SELECT ON {database}.* TO {user}",),
}
MAKE = {"postgresql": "CREATE ROLE {user} LOGIN", "mariadb": "CREATE USER {user}"}
#: What PostgreSQL gives everybody unless told otherwise.
TAKE = {
    "postgresql": (
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO PUBLIC",
    ),
    "mariadb": (),
}


def user_of(url: str, kind: str, name: str, rights: tuple[str, ...]) -> Engine:
    """An engine of a user who may do this and no more."""
    parsed = make_url(url)
    user = f"{name}_{os.getpid()}"
    owner = create_engine(parsed, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        for one in (MAKE[kind], *TAKE[kind], *rights):
            connection.exec_driver_sql(one.format(user=user, database=parsed.database))
    owner.dispose()
    made = parsed.set(username=user, password=None)
    return open_engine(made.render_as_string(hide_password=False))


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_writer_needs_no_more_than_rows_and_a_reader_no_more_than_to_look(
    kind: str, database_servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer cannot change the schema, and the reader cannot change a row."""
    monkeypatch.setattr(bulk, "STAGE_FROM", 1)  # every changed row the way of the many
    url = servers.create_database(database_servers[kind], f"privileges_{kind}")
    owner = make_schema(url)
    writer = user_of(url, kind, "writer", WRITER[kind])
    reader = user_of(url, kind, "reader", READER[kind])
    with Simulator(World(3, 30)) as simulator:
        first = sync(writer, source_of(simulator), resources=EVERYTHING)
        advance(simulator, changed=5, new=5)
        second = sync(writer, source_of(simulator), resources=EVERYTHING)
    assert (first.status, second.status) == ("success", "success")
    assert counts(second)["updated"] >= 5
    assert len(rows_of(reader, "jobs")) == 35
    with reader.connect() as connection:
        for view in views.names():
            connection.execute(text(f"SELECT count(*) FROM {view}"))
    for engine, statement in (
        (writer, "DROP TABLE jobs"),
        (writer, "CREATE TABLE stranger (a INTEGER)"),
        (reader, "DELETE FROM jobs"),
        (reader, "UPDATE leases SET token = 0"),
    ):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text(statement))
    for engine in (owner, writer, reader):
        engine.dispose()
