"""The dbt project: of the views, their words and columns; no secret, and nobody is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, inspect, make_url

from bi import dbt
from bi.environments import ROOT
from etl.db import views

SOURCES = yaml.safe_load((dbt.PROJECT / "models" / "sources.yml").read_text(encoding="utf-8"))
TABLES = {one["name"]: one for one in SOURCES["sources"][0]["tables"]}


def sql_files() -> list[Path]:
    return sorted([*dbt.PROJECT.rglob("models/**/*.sql"), *dbt.PROJECT.rglob("tests/*.sql")])


def accepted(table: str, column: str) -> set[str]:
    """The values that a test of the project accepts."""
    (found,) = [one for one in TABLES[table]["columns"] if one["name"] == column]
    (values,) = [
        one["accepted_values"]["arguments"]["values"]
        for one in found["data_tests"]
        if isinstance(one, dict) and "accepted_values" in one
    ]
    return set(values)


def test_its_sources_are_the_views_and_nothing_that_readers_may_not_see() -> None:
    assert sorted(TABLES) == views.names()


def test_each_column_that_is_tested_is_there(sqlite_engine: Engine) -> None:
    found = inspect(sqlite_engine)
    for name, table in TABLES.items():
        tested = {column["name"] for column in table["columns"]}
        assert tested <= {column["name"] for column in found.get_columns(name)}, name


def test_it_says_of_each_view_what_the_view_says() -> None:
    told = {name: table["description"] for name, table in TABLES.items()}
    assert told == {name: f"{{{{ doc('ftmirror_{name}') }}}}" for name in views.names()}


def test_values_that_it_accepts_are_those_that_the_view_gives() -> None:
    costs = (ROOT / "etl" / "sql" / "views" / "job_costs.sql").read_text(encoding="utf-8")
    certainty = costs.partition("END AS certainty")[0]
    reason = costs.partition("END AS cost_microusd")[2].partition("END AS reason")[0]
    words = {text: set(re.findall(r"(?:THEN|ELSE) '(\w+)'", text)) for text in (certainty, reason)}
    assert accepted("job_costs", "certainty") == words[certainty]
    # Two of them are the job's status.
    assert accepted("job_costs", "reason") == words[reason] | {"failed", "cancelled"}


def test_nothing_is_told_to_anybody_and_no_secret_stands_in_it() -> None:
    project = yaml.safe_load((dbt.PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))
    assert project["flags"]["send_anonymous_usage_stats"] is False
    assert project["models"]["ftmirror"]["+materialized"] == "table"
    profile = yaml.safe_load((dbt.PROJECT / "profiles.yml").read_text(encoding="utf-8"))
    password = profile["ftmirror"]["outputs"]["mirror"]["password"]
    assert password == "{{ env_var('DBT_ENV_SECRET_PGPASSWORD', '') }}"


@pytest.mark.parametrize("path", sql_files(), ids=lambda path: path.stem)
def test_its_queries_ask_views_through_sources_and_its_own_models_only(path: Path) -> None:
    content = re.sub(r"--.*|{%.*?%}", "", path.read_text(encoding="utf-8"))
    asked = re.findall(r"\b(?:from|join)\s+(\S+)", content)
    own = set(re.findall(r"^(\w+) as \(", content, re.MULTILINE))
    assert asked
    assert {one for one in asked if one != "{{"} <= own
    assert set(re.findall(r"source\('ftmirror', '(\w+)'\)", content)) <= set(TABLES)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql+psycopg://reader:p%40ss@db.example:6432/mirror?sslmode=require",
            ("db.example", "6432", "reader", "p@ss", "mirror", "require"),
        ),
        (
            "postgresql+psycopg://postgres:@/mirror?host=/tmp/ftpg/data",
            ("/tmp/ftpg/data", "5432", "postgres", "", "mirror", None),
        ),
    ],
)
def test_a_mirrors_url_becomes_the_environment_that_the_profile_asks(
    url: str, told: tuple[str | None, ...]
) -> None:
    names = ("PGHOST", "PGPORT", "PGUSER", "DBT_ENV_SECRET_PGPASSWORD", "PGDATABASE", "PGSSLMODE")
    found = dbt._connection(make_url(url))
    assert tuple(found.get(name) for name in names) == told


def result(unique_id: str, status: str, rows: int = 0) -> dict[str, Any]:
    return {"unique_id": unique_id, "status": status, "adapter_response": {"rows_affected": rows}}


def test_what_dbt_did_is_a_line_for_each_kind() -> None:
    results = [
        result("model.ftmirror.failed_job_costs", "success", 1160),
        result("test.ftmirror.source_unique_ftmirror_job_costs_job_id.0a1", "pass"),
        result("test.ftmirror.source_not_null_ftmirror_job_costs_job_id.0a2", "warn"),
        result("test.ftmirror.unique_failed_job_costs_job_id.0a3", "pass"),
        result("test.ftmirror.sums_agree", "pass"),
    ]
    assert dbt._built(json.loads(json.dumps({"results": results}))) == [
        "models: 1 success",
        "tests of models: 1 pass",
        "tests of sources: 1 pass, 1 warn",
        "tests of sums: 1 pass",
        "failed_job_costs 1,160 rows",
    ]
