"""Many rows at once, on each database: what comes back is what was given, whatever it was."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from etl.db import bulk
from etl.db.engine import writing
from etl.db.tables import frontiers
from etl.resources.jobs import job_hyperparameters, job_metadata, jobs
from tests import servers
from tests.conftest import make_schema
from tests.mirror import statements

#: Texts that some way of writing a statement, or COPY, might take for something else.
ODD = [
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    "'",
    "''",
    "\\",
    "\\'",
    "\\\\'; DROP TABLE jobs; --",
    '"quoted"',
    "100%",
    "%s %(name)s %%",
    ":name ? $1",
    "tab\there",
    "line\nfeed",
    "carriage\r\nreturn",
    "\x01\x02\x1a\x7f",
    "é ü ß 模型 🙂",
    "VALUES (%s, %s)",
    "ON CONFLICT",
]


def metadata_rows(values: list[str]) -> list[tuple[Any, ...]]:
    return [("ftjob-1", f"name-{number}", value) for number, value in enumerate(values)]


def stored(engine: Engine, table: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        lines = connection.execute(select(table).order_by(*table.primary_key.columns))
        return [tuple(line) for line in lines]


def empty(engine: Engine, table: Any) -> None:
    with writing(engine) as connection:
        connection.execute(delete(table))


@pytest.mark.parametrize("times", [1, 20])
def test_odd_texts_come_back_as_they_were(engine: Engine, times: int) -> None:
    """Inserted, and as changed rows, few and many."""
    rows = metadata_rows(ODD * times)
    with writing(engine) as connection:
        bulk.insert_rows(connection, job_metadata, rows)
    assert sorted(stored(engine, job_metadata)) == sorted(rows)
    changed = [(job, name, value + "'\\") for job, name, value in rows]
    with writing(engine) as connection:
        bulk.upsert_rows(connection, job_metadata, changed)
    assert sorted(stored(engine, job_metadata)) == sorted(changed)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), max_size=20))
def test_any_text_comes_back_as_it_was(engine: Engine, values: list[str]) -> None:
    empty(engine, job_metadata)
    rows = metadata_rows(values)
    with writing(engine) as connection:
        bulk.insert_rows(connection, job_metadata, rows)
    assert sorted(stored(engine, job_metadata)) == sorted(rows)


def test_numbers_truth_and_nothing_come_back_as_they_were(engine: Engine) -> None:
    numbers = [0.0, -0.5, 1.8, 1e-300, 1.7976931348623157e308, 5e-324, 0.1 + 0.2, None]
    rows = [
        ("ftjob-1", "job", f"name-{number}", "x", value, bool(number % 2))
        for number, value in enumerate(numbers)
    ]
    with writing(engine) as connection:
        bulk.insert_rows(connection, job_hyperparameters, rows)
    assert stored(engine, job_hyperparameters) == rows

    row = dict.fromkeys(jobs.columns.keys())
    row |= {"id": "ftjob-1", "source": "s", "provider": "p", "id_space": "i"}
    row |= {"created_at": "2024-02-29 23:59:59", "finished_at": "2024-03-01 00:00:00.250000"}
    row |= {"trained_tokens": 2**63 - 1, "seed": -(2**63), "shared_with_openai": True}
    row |= {"usage_metrics": '{"a": [1, "\\\\u0041", "\'"]}'}
    with writing(engine) as connection:
        bulk.insert_rows(connection, jobs, [tuple(row.values())])
    with engine.connect() as connection:
        (found,) = connection.execute(select(jobs)).mappings()
    assert (found["trained_tokens"], found["seed"]) == (2**63 - 1, -(2**63))
    assert found["shared_with_openai"] is True
    assert found["usage_metrics"] == {"a": [1, "\\u0041", "'"]}
    assert str(found["created_at"]) == "2024-02-29 23:59:59+00:00"
    assert str(found["finished_at"]) == "2024-03-01 00:00:00.250000+00:00"
    assert found["model"] is None


def test_a_changed_row_keeps_what_it_is_told_to_keep(engine: Engine) -> None:
    row = ("s", "jobs", "", '["a"]', None, "here", None, None)
    assert len(row) == len(frontiers.columns)
    with writing(engine) as connection:
        bulk.insert_rows(connection, frontiers, [row])
        changed = ("s", "jobs", "", '["b"]', None, "there", None, None)
        bulk.upsert_rows(connection, frontiers, [changed], keep=("newest_ids",))
    assert stored(engine, frontiers) == [("s", "jobs", "", ["a"], None, "there", None, None)]


def test_no_rows_are_no_statement(engine: Engine) -> None:
    with statements(engine) as seen, writing(engine) as connection:
        bulk.insert_rows(connection, job_metadata, [])
        bulk.upsert_rows(connection, job_metadata, [])
    assert not any("job_metadata" in one for one in seen)


def test_statements_of_mariadb_stay_short(database_servers: dict[str, str]) -> None:
    """4 MB are four statements of a megabyte at most; a row that is longer has its own."""
    url = servers.create_database(database_servers["mariadb"], "long_statements")
    engine = make_schema(url)
    rows = metadata_rows(["x" * 1000] * 4000 + ["y" * 3_000_000])
    lengths: list[int] = []
    with statements(engine) as seen, writing(engine) as connection:
        bulk.insert_rows(connection, job_metadata, rows)
        lengths = [len(one) for one in seen if re.match("INSERT INTO job_metadata", one)]
    assert len(lengths) == 5
    assert all(length < 1.1 * 1024 * 1024 for length in lengths[:-1])
    assert len(stored(engine, job_metadata)) == 4001
    engine.dispose()


def test_a_dialect_has_its_word_in_each_table() -> None:
    assert bulk.PACE.keys() == bulk._INSERT.keys() == bulk._UPSERT.keys()
