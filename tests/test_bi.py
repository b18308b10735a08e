"""The dashboards of config/superset, without Superset: whole, true to the views, and portable."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from bi import bundle, comparing, contexts, pythons
from etl.db import views
from etl.resources import discover
from etl.settings import Secret
from etl.simulator import Simulator, World
from etl.spend.prices import load
from tests.dear import servers_when_long
from tests.mirror import source_of, sync

CHARTS = {path.stem: chart for path, chart in bundle.charts().items()}
DATASETS = {one["uuid"]: one for one in bundle.datasets().values()}
ADMIN = Secret.from_text("the test", "sk-admin-1")


def dataset_of(chart: dict[str, Any]) -> dict[str, Any]:
    return DATASETS[chart["dataset_uuid"]]


def source(dataset: dict[str, Any]) -> str:
    """What stands after FROM."""
    return f"({dataset['sql']}) d" if dataset["sql"] else str(dataset["table_name"])


def expressions(dataset: dict[str, Any]) -> dict[str, str]:
    """Every name that a chart may use, and the SQL that it stands for."""
    columns = {
        one["column_name"]: one.get("expression") or one["column_name"]
        for one in dataset["columns"]
    }
    return columns | {one["metric_name"]: one["expression"] for one in dataset["metrics"]}


def asked(chart: dict[str, Any]) -> dict[str, Any]:
    (query,) = json.loads(chart["query_context"])["queries"]
    return dict(query)


def columns_of(query: dict[str, Any]) -> list[str]:
    return [one if isinstance(one, str) else one["sqlExpression"] for one in query["columns"]]


def statement(chart: dict[str, Any]) -> str:
    """The SQL that Superset makes of a chart's question."""
    query, known = asked(chart), expressions(dataset_of(chart))
    columns = [known[name] for name in columns_of(query)]
    metrics = [known[name] for name in query.get("metrics", [])]
    words = [f"SELECT {', '.join([*columns, *metrics])} FROM {source(dataset_of(chart))}"]
    if query["extras"]["where"]:
        words.append(f"WHERE {query['extras']['where']}")
    if columns and "metrics" in query:
        words.append(f"GROUP BY {', '.join(columns)}")
    if query["orderby"]:
        order = [f"{known[name]}{'' if rising else ' DESC'}" for name, rising in query["orderby"]]
        words.append(f"ORDER BY {', '.join(order)}")
    if "row_limit" in query:
        words.append(f"LIMIT {query['row_limit']}")
    return " ".join(words)


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A mirror of a simulated project with its bill, on each kind of database."""
    with Simulator(World(3, 24)) as simulator:
        project = simulator.world.money.project_ids[0]
        one = source_of(simulator, admin_key=ADMIN, project=project)
        for changed, new in ((0, 0), (4, 1)):
            simulator.world.advance(changed, new)
            result = sync(engine, one, resources=discover(), mode="auto", book=load(None))
            assert result.status == "success"
    return engine


def test_every_uuid_leads_somewhere_and_stands_once() -> None:
    database = bundle.database()
    documents = [database, *DATASETS.values(), *CHARTS.values(), *bundle.dashboards().values()]
    uuids = [one["uuid"] for one in documents]
    assert len({UUID(one) for one in uuids}) == len(uuids)
    assert {one["database_uuid"] for one in DATASETS.values()} == {database["uuid"]}
    assert {one["dataset_uuid"] for one in CHARTS.values()} == set(DATASETS)
    shown = [uuid for one in bundle.dashboards().values() for uuid in bundle.charts_of(one)]
    assert sorted(shown) == sorted(one["uuid"] for one in CHARTS.values())
    files = {path.stem for path in (bundle.HERE / "charts").glob("*.yaml")}
    assert files == set(CHARTS) == set(comparing.questions())


def test_dashboards_show_each_chart_under_its_own_name_in_rows_of_twelve() -> None:
    names = {one["uuid"]: one["slice_name"] for one in CHARTS.values()}
    for dashboard in bundle.dashboards().values():
        position = dashboard["position"]
        for row in position["GRID_ID"]["children"]:
            metas = [position[child]["meta"] for child in position[row]["children"]]
            assert sum(meta["width"] for meta in metas) == 12, row
            for meta in metas:
                assert meta["sliceName"] == names[meta["uuid"]]


def test_no_file_has_a_password_and_the_packed_one_has_only_what_it_is_given() -> None:
    for path in bundle.HERE.rglob("*.yaml"):
        for found in re.findall(r"://[^:/@\s]*:([^@\s]*)@", path.read_text()):
            assert found == bundle.MASK, path


@pytest.mark.parametrize("name", CHARTS)
def test_a_charts_question_is_the_one_that_its_parameters_ask(name: str) -> None:
    chart = CHARTS[name]
    assert json.loads(chart["query_context"]) == contexts.query_context(chart["params"])
    assert chart["viz_type"] == chart["params"]["viz_type"]
    used = {*columns_of(asked(chart)), *asked(chart).get("metrics", [])}
    used |= {name for name, _ in asked(chart)["orderby"]}
    used |= set(chart["params"].get("column_config", {}))
    assert used <= set(expressions(dataset_of(chart)))


def test_a_dataset_has_the_columns_of_its_view(sqlite_engine: Engine) -> None:
    for dataset in DATASETS.values():
        plain = [one["column_name"] for one in dataset["columns"] if "expression" not in one]
        with sqlite_engine.connect() as connection:
            answer = connection.execute(text(f"SELECT * FROM {source(dataset)}"))
            assert list(answer.keys()) == plain, dataset["table_name"]


def test_datasets_read_views_and_nothing_else() -> None:
    for dataset in DATASETS.values():
        read = re.findall(r"(?:FROM|JOIN) (\w+)", dataset["sql"] or f"FROM {source(dataset)}")
        assert set(read) <= set(views.names()), dataset["table_name"]


@servers_when_long
def test_charts_show_what_the_views_say(filled: Engine) -> None:
    for name, question in comparing.questions().items():
        low = comparing.of_views(filled, question)
        shown = comparing.of_views(filled, comparing.Question(statement(CHARTS[name]), None))
        high = comparing.of_views(filled, question)
        assert comparing.same(low, shown, high), f"{name}: {low.rows[:5]} and {shown.rows[:5]}"
        if not name.startswith("freshness") and name != "training_loss_mean":
            assert low.rows, name


@servers_when_long
def test_charts_of_an_empty_mirror_answer_with_nothing(engine: Engine) -> None:
    for name, question in comparing.questions().items():
        shown = comparing.of_views(engine, comparing.Question(statement(CHARTS[name]), None))
        assert comparing.same(comparing.of_views(engine, question), shown, shown), name
        assert len(shown.rows) <= 1, name


def test_a_figure_that_differs_by_a_cent_is_seen() -> None:
    def answer(*rows: tuple[float | str | None, ...]) -> comparing.Answer:
        return comparing.Answer(list(rows), None)

    told = answer(("gpt-4o", 10_000_000.01), ("none", None))
    assert comparing.same(told, answer(("gpt-4o", 10_000_000.01), ("none", None)), told)
    assert not comparing.same(told, answer(("gpt-4o", 10_000_000.02), ("none", None)), told)
    assert not comparing.same(told, answer(("gpt-4o", 10_000_000.01), ("none", 0.0)), told)
    assert not comparing.same(told, answer(("gpt-4o", 10_000_000.01)), told)
    older = replace(told, rows=[("gpt-4o", 10_000_000.03), ("none", None)])
    assert comparing.same(told, answer(("gpt-4o", 10_000_000.02), ("none", None)), older)


def test_without_a_python_that_superset_takes_it_says_what_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3.13"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pythons.NoPython) as said:
        pythons.python()
    assert "looked for: " in str(said.value)
    assert "python3.12, python3.11, python3" in str(said.value)
