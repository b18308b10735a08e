"""What datasette is told: fresh, of all that is there, with questions that each database takes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, MetaData, Table, inspect, text
from sqlalchemy.types import Integer

from bi import descriptions, environments
from etl.db import migrate, views
from tests.reporting import fill, fill_bills

METADATA = json.loads(descriptions.METADATA.read_text(encoding="utf-8"))
OURS = METADATA["databases"][descriptions.DATABASE]
CHARTS = METADATA["plugins"]["datasette-dashboards"][descriptions.DASHBOARD]["charts"]
#: What questions ask whoever asks them.
GIVEN = {"job_id": "ftjob-a"}


@pytest.mark.parametrize("path", descriptions.texts(), ids=lambda path: path.name)
def test_what_is_written_there_is_what_would_be_written_now(path: Path) -> None:
    """After a change: `python -m bi.descriptions`."""
    assert path.read_text(encoding="utf-8") == descriptions.texts()[path]


def test_every_table_and_view_of_a_mirror_is_known_and_no_other(sqlite_engine: Engine) -> None:
    found = inspect(sqlite_engine)
    there = {*found.get_table_names(), *found.get_view_names()}
    assert there == {*OURS["tables"], migrate.VERSION_TABLE}
    for name, told in OURS["tables"].items():
        columns = {column["name"] for column in found.get_columns(name)}
        assert set(told.get("columns", ())) <= columns, name
        assert {*told.get("units", ()), *told.get("facets", ())} <= columns, name
        assert {told.get("sort_desc", "")} <= {*columns, ""}, name


def test_no_question_stands_before_a_table_or_a_view() -> None:
    """Where two have one name, datasette shows the question."""
    assert set(OURS["queries"]) & set(OURS["tables"]) == set()


def test_every_view_says_what_its_file_says() -> None:
    told = {name: OURS["tables"][name]["description"] for name in views.names()}
    assert told == {name: views.summary(name) for name in views.names()}


def test_a_comment_of_a_column_is_told_with_its_unit() -> None:
    table = Table(
        "jobs",
        MetaData(),
        Column("queue_seconds", Integer, comment="How long it waited."),
        Column("run_seconds", Integer, comment="Whole seconds that it ran."),
        Column("created_at", Integer),
        Column("model", Integer),
        comment="Jobs of it.",
    )
    assert descriptions._table(table) == {
        "description": "Jobs of it.",
        "columns": {
            "queue_seconds": "How long it waited (seconds).",
            "run_seconds": "Whole seconds that it ran.",
            "created_at": "In UTC.",
        },
    }


def test_columns_of_a_view_are_told_where_a_file_explains_them(tmp_path: Path) -> None:
    columns = '[columns]\nday = ["text", "A UTC day."]\njobs = "How many."\n'
    (tmp_path / "spend_by_day.toml").write_text(columns)
    assert descriptions.described(tmp_path)["spend_by_day"] == {
        "description": views.summary("spend_by_day"),
        "columns": {"day": "A UTC day.", "jobs": "How many."},
    }


@pytest.mark.parametrize("name", ["datasette", "dbt"])
def test_every_package_of_a_tool_is_pinned_with_hashes_and_without_an_address(name: str) -> None:
    pins = environments.requirements(name).read_text(encoding="utf-8")
    assert "://" not in pins
    lines = [line for line in pins.splitlines() if line and line[0] not in " #"]
    assert len(lines) > 20
    assert all("==" in line and line.endswith("\\") for line in lines)
    assert pins.count("--hash=sha256:") >= len(lines)


def test_html_charts_show_numbers_and_times_only() -> None:
    """datasette-dashboards puts the cells of these two kinds into the page as HTML."""
    names = {name for name, chart in CHARTS.items() if chart["library"] in ("metric", "table")}
    assert names == {"cost", "jobs", "unpriced", "in-step"}
    assert {chart["library"] for chart in CHARTS.values()} == {"metric", "vega-lite"}


def answers(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """What each question is answered, times and numbers alike on every database."""
    found = {}
    with engine.connect() as connection:
        for name, question in OURS["queries"].items():
            given = {key: value for key, value in GIVEN.items() if f":{key}" in question["sql"]}
            rows = connection.execute(text(question["sql"]), given)
            found[name] = [tuple(map(plain, row)) for row in rows]
    return found


def plain(value: Any) -> Any:
    if isinstance(value, (int, float, Decimal)):
        return round(float(value), 6)
    return value if value is None else str(value)


def test_every_question_is_answered_alike_on_every_database(
    engine: Engine, sqlite_engine: Engine
) -> None:
    for one in (engine, sqlite_engine):
        fill(one)
        fill_bills(one)
    found = answers(engine)
    assert found == answers(sqlite_engine)
    assert len(found) >= 10
    assert found["cost_of_each_month"][0] == ("2025-03", 4.0, 2100500.0, 6.3, 0.3, 1.0, 1.0)
    assert found["dearest_jobs"][0][0] == "ftjob-a"
    assert found["dearest_failed_jobs"][0][:5] == (
        *("ftjob-c", "failed", "gpt-4o-mini-2024-07-18", "server_error"),
        0.3,
    )
    assert found["trained_past_the_best"] == []
    assert found["time_in_queue"] == [
        ("2025-03", 1.0, 1800.0, 1800.0),
        ("2025-01", 1.0, 600.0, 600.0),
    ]
    assert found["one_curve"][1][:3] == (2.0, 1.5, 1.25)


def test_every_question_takes_an_empty_mirror(engine: Engine) -> None:
    assert {name for name, rows in answers(engine).items() if rows} == set()
