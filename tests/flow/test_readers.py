"""Readers of the mirror: what `db grant-reader` gives and refuses, and what an upgrade keeps."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from etl.cli import main
from etl.db import migrate, readers, views
from etl.db.engine import open_engine
from tests import servers
from tests.conftest import make_schema
from tests.migrations.cutting import cut_after

_numbers = itertools.count()
#: A name that only stands in quotes: capitals, a dash, a space, quotes, a sign of parameters.
ODD = {"postgresql": 'BI-Team\'s "%s" $1', "mariadb": 'BI-Team\'s "%s" `x` %(a)s'}
MAKE = {"postgresql": "CREATE ROLE {} LOGIN", "mariadb": "CREATE USER {}"}


@dataclass
class Mirror:
    """A mirror at this version's schema on a server, and roles that go with it."""

    kind: str
    url: str
    owner: Engine
    made: list[str] = field(default_factory=list)

    def run(self, *statements: str) -> None:
        """As a superuser, in the mirror's database."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for one in statements:
                connection.exec_driver_sql(one, execution_options={"no_parameters": True})
        engine.dispose()

    def quoted(self, name: str) -> str:
        quote = '"' if self.kind == "postgresql" else "`"
        return f"{quote}{name.replace(quote, quote * 2)}{quote}"

    def role(self, name: str) -> str:
        """Make a role whose name begins so; its name."""
        name = f"{name}_{os.getpid()}_{next(_numbers)}"
        self.run(MAKE[self.kind].format(self.quoted(name)))
        self.made.append(name)
        return name

    def noted(self, name: str) -> str:
        """The role as it is kept: a user of MariaDB has its host."""
        return name if self.kind == "postgresql" else f"{name}@%"

    def drop_role(self, name: str) -> None:
        if self.kind == "postgresql":
            self.run(f"DROP OWNED BY {self.quoted(name)}", f"DROP ROLE {self.quoted(name)}")
        else:
            self.run(f"DROP USER {self.quoted(name)}")
        self.made.remove(name)

    def as_role(self, name: str) -> Engine:
        made = make_url(self.url).set(username=name, password=None)
        return open_engine(made.render_as_string(hide_password=False))

    def readable(self, name: str, tables: tuple[str, ...] = ("jobs", "records")) -> set[str]:
        """Which views and tables a role can read, by trying."""
        engine = self.as_role(name)
        found = {one for one in [*views.names(), *tables] if can(engine, f"SELECT 1 FROM {one}")}
        engine.dispose()
        return found

    def command(self, *words: str) -> int:
        return main(["db", *words, "--database-url", self.url])

    def lines(self) -> dict[str, str | None]:
        with self.owner.connect() as connection:
            found = connection.execute(text("SELECT role, revision FROM reader_roles"))
            return {line.role: line.revision for line in found}


def can(engine: Engine, statement: str) -> bool:
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except DBAPIError as error:
        if "denied" not in str(error.orig):
            raise
        return False
    return True


@pytest.fixture(params=["postgresql", "mariadb"])
def mirror(request: pytest.FixtureRequest, database_servers: dict[str, str]) -> Iterator[Mirror]:
    name = f"readers_{os.getpid()}_{next(_numbers)}"
    url = servers.create_database(database_servers[request.param], name)
    made = Mirror(request.param, url, make_schema(url))
    yield made
    for role in list(made.made):
        made.drop_role(role)
    made.owner.dispose()


on_mariadb = pytest.mark.parametrize("mirror", ["mariadb"], indirect=True)
on_postgresql = pytest.mark.parametrize("mirror", ["postgresql"], indirect=True)


def test_a_role_of_any_name_reads_the_views_and_the_way_back_ends_that(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    role, other = mirror.role(ODD[mirror.kind]), mirror.role("other")
    assert mirror.readable(role) == set()
    assert mirror.command("grant-reader", role) == 0
    assert mirror.readable(role) == set(views.names())
    assert mirror.readable(other) == set()
    assert mirror.lines() == {mirror.noted(role): migrate.head()}
    assert mirror.command("grant-reader", role) == 0  # again does no harm
    assert mirror.lines() == {mirror.noted(role): migrate.head()}
    assert mirror.command("revoke-reader", role) == 0
    assert mirror.readable(role) == set()
    assert mirror.lines() == {}
    capsys.readouterr()
    assert mirror.command("revoke-reader", role) == 2
    assert "was not made a reader here; readers are: none" in capsys.readouterr().err


def test_the_sql_for_somebody_else_does_the_same_and_printing_it_does_nothing(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    role = mirror.role(ODD[mirror.kind])
    assert mirror.command("grant-reader", role, "--sql") == 0
    given = capsys.readouterr().out
    assert (mirror.lines(), mirror.readable(role)) == ({}, set())
    mirror.run(*(one for one in given.split(";\n") if one))
    assert mirror.readable(role) == set(views.names())
    assert mirror.lines() == {mirror.noted(role): migrate.head()}
    assert mirror.command("revoke-reader", role, "--sql") == 0
    taken = capsys.readouterr().out
    assert not re.search("CONNECT|USAGE", taken)
    assert mirror.readable(role) == set(views.names())
    mirror.run(*(one for one in taken.split(";\n") if one))
    assert (mirror.lines(), mirror.readable(role)) == ({}, set())


def test_readers_outlast_a_way_down_and_up_and_see_new_views(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    role, gone = mirror.role("bi"), mirror.role("gone")
    for one in (role, gone):
        readers.grant(mirror.owner, one, migrate.head())
    migrate.downgrade(mirror.owner, "0005")
    mirror.drop_role(gone)
    texts = {**views._texts(), ("brand_new", ""): "-- A new one.\nSELECT id FROM jobs"}
    monkeypatch.setattr(views, "_texts", lambda: texts)
    with caplog.at_level(logging.WARNING):
        assert migrate.upgrade(mirror.owner) is True
    assert [one.getMessage() for one in caplog.records] == [
        f"the role {mirror.noted(gone)} is gone; it is no reader of this mirror any more"
    ]
    assert "brand_new" in mirror.readable(role)
    assert mirror.readable(role) == set(views.names())
    assert mirror.lines() == {mirror.noted(role): migrate.head()}
    assert migrate.upgrade(mirror.owner) is False


@pytest.mark.long
@on_mariadb
def test_an_upgrade_that_was_cut_before_the_readers_is_finished_by_the_next(
    mirror: Mirror,
) -> None:
    role = mirror.role("bi")
    readers.grant(mirror.owner, role, migrate.head())
    mirror.run(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {mirror.quoted(role)}")
    migrate.downgrade(mirror.owner, "0005")
    with cut_after(mirror.owner, 1000) as whole:
        migrate.upgrade(mirror.owner)
    mirror.run(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {mirror.quoted(role)}")
    migrate.downgrade(mirror.owner, "0005")
    steps = len(whole) - 1  # the last one notes that the role may read them
    with cut_after(mirror.owner, steps):
        migrate.upgrade(mirror.owner)
    assert mirror.lines() == {f"{role}@%": None}
    assert migrate.left_out(mirror.owner) == [f"the role {role}@% may not read all views yet"]
    assert migrate.is_due(mirror.owner)
    mirror.run(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {mirror.quoted(role)}")
    assert mirror.readable(role) == set()
    assert migrate.upgrade(mirror.owner) is True
    assert mirror.readable(role) == set(views.names())
    assert not migrate.is_due(mirror.owner)


@pytest.mark.long
@on_mariadb
def test_a_user_of_one_host_and_a_role_of_mariadbs_can_be_readers(mirror: Mirror) -> None:
    user = f"someone_{os.getpid()}"
    mirror.run(f"CREATE USER '{user}'@'127.0.0.1'", f"CREATE ROLE group_{user}")
    mirror.run(f"CREATE USER '{user}'@'localhost'")
    try:
        assert mirror.command("grant-reader", f"'{user}'@'127.0.0.1'") == 0
        assert mirror.command("grant-reader", f"{user}@localhost") == 0
        assert mirror.command("grant-reader", f"group_{user}") == 0
        names = {f"{user}@127.0.0.1", f"{user}@localhost", f"group_{user}"}
        assert set(mirror.lines()) == names
        with mirror.owner.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT User, Host, count(*) FROM mysql.tables_priv "
                    "WHERE Db = DATABASE() GROUP BY 1, 2"
                )
            )
            number = len(views.names())
            assert {tuple(line) for line in found} == {
                (user, "127.0.0.1", number),
                (user, "localhost", number),
                (f"group_{user}", "", number),
            }
        assert mirror.readable(user) == set(views.names())
        assert mirror.command("revoke-reader", f"{user}@localhost") == 0
        assert mirror.command("revoke-reader", f"{user}@127.0.0.1") == 0
        assert mirror.readable(user) == set()
    finally:
        mirror.run(
            f"DROP USER '{user}'@'127.0.0.1', '{user}'@'localhost'", f"DROP ROLE group_{user}"
        )


def test_a_role_that_is_not_there_is_refused_and_not_made(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert mirror.command("grant-reader", "No Body") == 2
        said = capsys.readouterr().err
        assert f"the server has no role {mirror.noted('No Body')}. ftmirror makes no" in said
        made = {"postgresql": 'CREATE ROLE "No Body" LOGIN', "mariadb": "CREATE USER `No Body`@`%`"}
        assert f"run: {made[mirror.kind]} " in said
    assert mirror.lines() == {}


@on_postgresql
def test_a_word_that_means_everybody_is_no_role(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    for role, said in (
        ("public", "public is no role but a word of SQL"),
        ("PUBLIC", "PUBLIC is no role but a word of SQL"),
        ("", "is no role"),
        ("a\nb", "control characters and backslashes are not taken"),
        ("a" * 64, "the role's name has 64 bytes; 63 are the most"),
    ):
        assert mirror.command("grant-reader", role, "--sql") == 2
        assert said in capsys.readouterr().err


def test_sqlite_has_no_roles_and_says_what_to_do_instead(
    sqlite_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqlite_engine.url.render_as_string()
    for words in (["grant-reader", "bi"], ["grant-reader", "bi", "--sql"], ["revoke-reader", "bi"]):
        assert main(["db", *words, "--database-url", url]) == 2
        said = capsys.readouterr().err
        assert "SQLite has no roles" in said
        assert "mode=ro" in said


@pytest.mark.long
def test_an_upgrade_by_one_who_may_not_grant_warns_and_goes_on(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    role, owner = mirror.role("bi"), mirror.role("owner")
    readers.grant(mirror.owner, role, migrate.head())
    with caplog.at_level(logging.WARNING):
        if mirror.kind == "mariadb":
            mirror.run(f"GRANT ALL ON {make_url(mirror.url).database}.* TO {owner}")
        else:
            # Its own are the tables, but somebody else's is the schema.
            mirror.run(
                *(f"ALTER TABLE {name} OWNER TO {owner}" for name in tables_of(mirror.owner)),
                *(f"ALTER VIEW {name} OWNER TO {owner}" for name in views.names()),
                f"GRANT CREATE, USAGE ON SCHEMA public TO {owner}",
                "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
                f"REVOKE USAGE ON SCHEMA public FROM {role}",
            )
        engine = mirror.as_role(owner)
        migrate.downgrade(engine, "0005")
        assert migrate.upgrade(engine) is True
        engine.dispose()
    (said,) = [one.getMessage() for one in caplog.records]
    noted = mirror.noted(role)
    assert said.startswith(f"{noted} may not read all views yet: the user {owner}")
    assert said.endswith(f"`ftmirror db grant-reader {noted} --sql` prints what to run")
    assert migrate.current(mirror.owner) == migrate.head()
    assert mirror.lines() == {noted: None}
    assert migrate.upgrade(mirror.owner) is True  # by one who may
    assert mirror.readable(role) == set(views.names())


def tables_of(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.scalars(
                text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            )
        )


@on_postgresql
def test_what_a_role_may_do_by_other_rights_is_warned_of(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    role = mirror.role("busy")
    mirror.run(f"GRANT INSERT ON jobs TO {role}", f"GRANT CREATE ON SCHEMA public TO {role}")
    assert mirror.command("grant-reader", role) == 0
    (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said == (
        f"{role} may do more than look, by rights that it has otherwise: use the table jobs, make "
        "tables in the schema public"
    )
    caplog.clear()
    assert mirror.command("revoke-reader", role) == 0
    engine = mirror.as_role(role)
    assert can(engine, "CREATE TABLE its_own (a INTEGER)")
    engine.dispose()
    mirror.run("DROP TABLE its_own")


@pytest.mark.long
@on_postgresql
def test_the_views_of_another_schema_are_found_where_they_are(mirror: Mirror) -> None:
    role = mirror.role("bi")
    mirror.run('CREATE SCHEMA "Mirror Two"')
    path = "options=-csearch_path%3D%22Mirror%5C%20Two%22"
    url = f"{mirror.url}{'&' if '?' in mirror.url else '?'}{path}"
    assert main(["db", "upgrade", "--database-url", url, "-q"]) == 0
    assert main(["db", "grant-reader", role, "--database-url", url]) == 0
    engine = mirror.as_role(role)
    assert can(engine, 'SELECT 1 FROM "Mirror Two".job_costs')
    assert not can(engine, 'SELECT 1 FROM "Mirror Two".jobs')
    assert not can(engine, "SELECT 1 FROM public.job_costs")
    engine.dispose()


@pytest.mark.long
@on_mariadb
def test_views_whose_definer_is_gone_are_made_anew_by_a_downgrade_to_the_same_schema(
    mirror: Mirror,
) -> None:
    role, definer = mirror.role("bi"), mirror.role("definer")
    database = make_url(mirror.url).database
    mirror.run(f"GRANT ALL ON {database}.* TO {definer} WITH GRANT OPTION")
    engine = mirror.as_role(definer)
    migrate.downgrade(engine, migrate.head())
    readers.grant(engine, role, migrate.head())
    engine.dispose()
    with mirror.owner.connect() as connection:
        kinds = connection.execute(
            text(
                "SELECT DISTINCT SECURITY_TYPE, DEFINER FROM information_schema.VIEWS "
                "WHERE TABLE_SCHEMA = DATABASE()"
            )
        ).all()
    assert [tuple(one) for one in kinds] == [("DEFINER", f"{definer}@%")]
    mirror.drop_role(definer)
    reader = mirror.as_role(role)
    assert not can(reader, "SELECT * FROM job_costs")  # "Access denied", of all things
    reader.dispose()
    assert mirror.command("downgrade", migrate.head(), "--yes") == 0
    assert mirror.readable(role) == set(views.names())


@on_postgresql
def test_what_somebody_else_gave_a_role_is_not_taken_from_it(mirror: Mirror) -> None:
    role = mirror.role("app")
    database = make_url(mirror.url).database
    mirror.run(
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {role}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"CREATE SCHEMA app AUTHORIZATION {role}",
    )
    assert mirror.command("grant-reader", role) == 0
    assert mirror.command("revoke-reader", role) == 0
    engine = mirror.as_role(role)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE app.its_own (a INTEGER)"))
        rights = "SELECT has_schema_privilege('public', 'USAGE')"
        assert connection.scalar(text(rights)) is True
    assert not can(engine, "SELECT 1 FROM job_costs")
    engine.dispose()


@on_postgresql
@pytest.mark.parametrize("flags", [[], ["--sql"]])
def test_a_superuser_is_refused(
    mirror: Mirror, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    role = mirror.role("boss")
    mirror.run(f"ALTER ROLE {role} SUPERUSER")
    assert mirror.command("grant-reader", role, *flags) == 2
    captured = capsys.readouterr()
    assert f"{role} is a superuser and may do anything; name a role that is none" in captured.err
    assert (captured.out, mirror.lines()) == ("", {})


@on_postgresql
def test_a_member_of_the_owner_is_warned_of_and_nothing_untrue_is_said(
    mirror: Mirror, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    role, owner = mirror.role("member"), mirror.role("owner")
    mirror.run(f"ALTER TABLE jobs OWNER TO {owner}", f"GRANT {owner} TO {role}")
    assert mirror.command("grant-reader", role) == 0
    mirror.run("ALTER TABLE jobs OWNER TO CURRENT_USER")
    assert f"{role} may do more than look" in caplog.text
    number = len(views.names())
    assert capsys.readouterr().out == (
        f"{role} may read the {number} views; other rights of its stay\n"
    )


@on_postgresql
def test_somebodys_view_over_ours_is_named_and_what_to_do_with_it(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.run(
        "CREATE SCHEMA desk",
        "CREATE VIEW desk.by_hand AS SELECT jobs FROM public.spend_by_metadata",
    )
    assert mirror.command("downgrade", "0005", "--yes") == 1
    said = capsys.readouterr().err
    assert (
        "the view spend_by_metadata must be made anew, and somebody's own stands on it: view "
        "desk.by_hand depends on view spend_by_metadata. Drop what stands on it, run `ftmirror db "
        "upgrade`, and make it anew"
    ) in said
    assert "CASCADE" not in said
    assert migrate.current(mirror.owner) == migrate.head()
    mirror.run("DROP VIEW desk.by_hand")
    assert mirror.command("downgrade", "0005", "--yes") == 0


@on_mariadb
def test_a_user_with_and_without_its_host_is_one_reader(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    role = mirror.role("bi")
    assert mirror.command("grant-reader", role) == 0
    assert mirror.command("grant-reader", f"{role}@%") == 0
    assert mirror.lines() == {f"{role}@%": "0006"}
    old = f"INSERT INTO reader_roles VALUES ('{role}', UTC_TIMESTAMP(), NULL)"
    mirror.run(old)
    assert migrate.upgrade(mirror.owner) is True  # merges a line as it was once written
    assert mirror.lines() == {f"{role}@%": "0006"}
    mirror.run(old)
    assert mirror.command("revoke-reader", role) == 0
    assert mirror.lines() == {}
    migrate.downgrade(mirror.owner, "0006")
    assert mirror.readable(role) == set()
    mirror.run(old)
    assert mirror.command("revoke-reader", f"{role}@%", "--sql") == 0
    assert f"WHERE role = '{role}';" in capsys.readouterr().out


@on_mariadb
def test_an_owner_who_may_not_read_who_is_a_role_finds_out(mirror: Mirror) -> None:
    user, owner = mirror.role("bi"), mirror.role("owner")
    group = f"group_{user}"
    database = make_url(mirror.url).database
    mirror.run(f"GRANT ALL ON {database}.* TO {owner} WITH GRANT OPTION", f"CREATE ROLE {group}")
    engine = mirror.as_role(owner)
    try:
        for one in (user, f"{user}@%", group):
            readers.grant(engine, one, "0006")
        assert mirror.lines() == {f"{user}@%": "0006", group: "0006"}
        assert f"('{user}'," in readers.statements(engine, user, "0006")[-1]
        readers.revoke(engine, group)
        assert mirror.lines() == {f"{user}@%": "0006"}
        assert readers.revoke(engine, user) == f"{user}@%"
        assert (mirror.lines(), mirror.readable(user)) == ({}, set())
    finally:
        engine.dispose()
        mirror.run(f"DROP ROLE {group}")
