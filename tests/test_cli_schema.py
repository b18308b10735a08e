"""`ftmirror schema`: what people and tools are given to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl.cli import main
from etl.db import explained, views
from etl.db.tables import lease_metadata, metadata
from etl.resources import discover


def test_it_needs_no_database_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["schema", "--database-url", "postgresql://nobody@127.0.0.1:1/none"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# Data dictionary\n")
    assert said.err == ""
    assert list(tmp_path.iterdir()) == []


def test_json_has_every_table_and_view_with_every_column(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schema", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    discover()
    assert {
        one["name"]: [column["name"] for column in one["columns"]] for one in found["tables"]
    } == {
        table.name: table.columns.keys()
        for table in (*metadata.tables.values(), *lease_metadata.tables.values())
    }
    assert {one["name"] for one in found["views"]} == set(views.names())
    (job_id,) = (
        column
        for table in found["tables"]
        if table["name"] == "job_events"
        for column in table["columns"]
        if column["name"] == "job_id"
    )
    assert job_id == {
        "name": "job_id",
        "type": "text",
        "comment": "The job.",
        "is_key": False,
        "is_nullable": False,
        "refers_to": ["jobs.id"],
        "may_lack": False,
    }


@pytest.mark.parametrize("form", ["md", "json", "mermaid", "dbml"])
def test_with_names_only_these_are_shown(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--format", form, "--table", "jobs", "--table", "job_metadata"]) == 0
    said = capsys.readouterr().out
    assert "jobs" in said
    assert "job_metadata" in said
    assert "job_methods" not in said
    assert "job_costs" not in said


def test_a_view_is_shown_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--table", "job_costs"]) == 0
    said = capsys.readouterr().out
    assert "\nHow sure is what all of it cost?\n\n```sql\nSELECT certainty, " in said
    assert explained.views()["job_costs"].columns[0].comment in said


def test_a_name_that_is_not_there_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--table", "job_cost"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: there is no table or view 'job_cost'; did you mean job_costs?\n"


def test_a_diagram_of_views_alone_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--format", "mermaid", "--table", "job_costs"]) == 2
    assert capsys.readouterr().err == (
        "error: a diagram shows tables, and views only are named: job_costs\n"
    )
