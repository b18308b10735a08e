"""MariaDB's INSERT of many rows writes values into the statement: no value gets out of its quotes.

Not even on a server, or by a URL, that would have a backslash mean nothing, or half a letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, make_url, select

from etl.db import bulk
from etl.db.engine import open_engine, writing
from etl.resources.jobs import job_metadata
from tests import servers
from tests.conftest import make_schema

#: What ends or begins a text somewhere, and letters of which GBK, Big5 or Shift-JIS see halves.
TRICKS = [*"'\"`\\%\n\x1a\x08;", "--", "/*", "\u7e97", "\u00bf", "\u8a9e"]
INJECTIONS = [
    "'), ('x', 'y', 'z'); -- ",
    "\\'), ('x', 'y', 'z'); -- ",
    "\u7e97\\'), ('x', 'y', 'z'); -- ",
    "\u00bf'), ('x', 'y', 'z'); -- ",
    "\\",
    "\\\\'",
    '\\"',
    "''",
]
texts = st.lists(
    st.one_of(
        st.lists(st.sampled_from(TRICKS), max_size=8).map("".join),
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
        st.sampled_from(INJECTIONS),
    ),
    max_size=12,
)

#: Words of a URL that would change what a text in a statement means.
HOSTILE_QUERIES = {
    "nothing": {},
    "the mode": {"sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"},
    "the charset": {"charset": "gbk"},
    "a first command": {"init_command": "SET NAMES gbk"},
    "a first command for the mode": {"init_command": "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'"},
}


@contextmanager
def hostile_server(url: str) -> Iterator[str]:
    """The server set up so that nothing is as it usually is, and a user who has to take it so."""
    parsed = make_url(url)
    name = str(parsed.database)
    admin = create_engine(parsed, isolation_level="AUTOCOMMIT")
    changes = {
        "sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH",
        "init_connect": "SET NAMES gbk, sql_mode=NO_BACKSLASH_ESCAPES",
        "character_set_client": "gbk",
        "character_set_connection": "gbk",
        "character_set_results": "gbk",
    }
    with admin.connect() as connection:
        before = {
            variable: connection.exec_driver_sql(f"SELECT @@GLOBAL.{variable}").scalar_one()
            for variable in changes
        }
        connection.exec_driver_sql(f"CREATE USER {name}_user")
        connection.exec_driver_sql(f"GRANT ALL ON {name}.* TO {name}_user")
        try:
            for variable, value in changes.items():
                connection.exec_driver_sql(f"SET GLOBAL {variable} = %s", (value,))
            made = parsed.set(username=f"{name}_user", password=None)
            yield made.render_as_string(hide_password=False)
        finally:
            for variable, value in before.items():
                connection.exec_driver_sql(f"SET GLOBAL {variable} = %s", (value,))
            connection.exec_driver_sql(f"DROP USER {name}_user")
    admin.dispose()


def session(engine: Engine) -> dict[str, str]:
    """What a text means on the engine's connections."""
    names = ("sql_mode", "character_set_client", "character_set_connection", "time_zone")
    with engine.connect() as connection:
        return {
            name: connection.exec_driver_sql(f"SELECT @@SESSION.{name}").scalar_one()
            for name in names
        }


def refuse_surprises(engine: Engine) -> None:
    """The session is as `etl.db.bulk` needs it."""
    found = session(engine)
    assert not {"NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"} & set(found["sql_mode"].split(","))
    assert "STRICT_ALL_TABLES" in found["sql_mode"]
    assert found["character_set_client"] == found["character_set_connection"] == "utf8mb4"
    assert found["time_zone"] == "+00:00"


def stored(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(select(job_metadata)))


@pytest.mark.parametrize("query", HOSTILE_QUERIES.values(), ids=HOSTILE_QUERIES)
def test_no_value_gets_out_of_its_quotes(
    query: dict[str, str], database_servers: dict[str, str]
) -> None:
    """Whatever it is, whatever was set: inserted, and as a changed row, it comes back as it was."""
    name = f"literals_{list(HOSTILE_QUERIES.values()).index(query)}"
    url = servers.create_database(database_servers["mariadb"], name)
    make_schema(url).dispose()
    with hostile_server(url) as hostile:
        engine = open_engine(
            make_url(hostile).update_query_dict(query).render_as_string(hide_password=False)
        )
        refuse_surprises(engine)

        @settings(
            max_examples=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(texts)
        def attacked(values: list[str]) -> None:
            rows = [(f"ftjob-{value}"[:60], str(n), value) for n, value in enumerate(values)]
            with writing(engine) as connection:
                connection.execute(delete(job_metadata))
                bulk.insert_rows(connection, job_metadata, rows)
            assert stored(engine) == sorted(rows)
            changed = [(job, number, f"{value}'\\") for job, number, value in rows]
            with writing(engine) as connection:
                bulk.upsert_rows(connection, job_metadata, changed)
            assert stored(engine) == sorted(changed)

        attacked()
        engine.dispose()


def test_a_connection_that_was_lost_is_made_anew_as_strict(
    database_servers: dict[str, str],
) -> None:
    """Nothing connects again behind the back of what sets a connection up."""
    url = servers.create_database(database_servers["mariadb"], "literals_lost")
    with hostile_server(url) as hostile:
        engine, admin = open_engine(hostile), create_engine(url)
        with engine.connect() as connection:
            number = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        with admin.connect() as connection:
            connection.exec_driver_sql(f"KILL {int(number)}")
        refuse_surprises(engine)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one() != number
        engine.dispose()
        admin.dispose()


@pytest.mark.parametrize("value", [b"'", ["'"], {"'": 1}, type("Text", (str,), {})("'")], ids=repr)
def test_only_plain_values_are_written(value: object) -> None:
    """What is neither text, number, truth nor nothing has no literal, whatever it is derived of."""
    with pytest.raises(KeyError):
        bulk._LITERAL[type(value)](value)
