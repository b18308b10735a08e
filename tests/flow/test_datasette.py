"""datasette over a mirror: each view, question and chart, over HTTP, is what the mirror says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
from sqlalchemy import Engine, create_engine, text

from bi import datasette
from bi.datasette import ask, rows, served
from bi.descriptions import DASHBOARD, DATABASE
from bi.descriptions import METADATA as METADATA_FILE
from etl.db import views
from etl.simulator import Simulator, World
from etl.spend.prices import load
from tests.conftest import make_schema
from tests.mirror import EVERYTHING, source_of, sync
from tests.reporting import Visit, fill, job, put_jobs, visit_address

pytestmark = pytest.mark.long

METADATA = json.loads(METADATA_FILE.read_text(encoding="utf-8"))
QUERIES = METADATA["databases"][DATABASE]["queries"]
CHARTS = METADATA["plugins"]["datasette-dashboards"][DASHBOARD]["charts"]
#: What goes on while two ask.
CLOCKS = {"age_seconds", "hours", "shown"}
#: A name that a page must not take for a part of itself.
HOSTILE = "<img src=x onerror=console.error(1)>"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a mirror of a simulated API, by a real sync."""
    path = tmp_path_factory.mktemp("mirror") / "synced.db"
    engine = make_schema(f"sqlite:///{path}")
    with Simulator(World(1, 80)) as simulator:
        done = sync(engine, source_of(simulator), resources=EVERYTHING, book=load(None))
    assert done.status == "success"
    engine.dispose()
    return path


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a mirror with nothing in it yet."""
    path = tmp_path_factory.mktemp("mirror") / "empty.db"
    make_schema(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="module")
def full(mirror: Path) -> Iterator[str]:
    """Where the mirror is served, as a copy that nobody changes."""
    with served(mirror, immutable=True) as address:
        yield address


@pytest.fixture(scope="module")
def bare(empty: Path) -> Iterator[str]:
    """Where the empty mirror is served."""
    with served(empty) as address:
        yield address


def direct(path: Path, sql: str, **given: Any) -> list[dict[str, Any]]:
    """What SQLite itself answers."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(text(sql), given)]
    engine.dispose()
    return found


def still(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a clock says."""
    return [{key: one[key] for key in one.keys() - CLOCKS} for one in found]


def line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def chart_query(chart: dict[str, Any]) -> str:
    """As it is asked where nothing is filtered."""
    sql = chart["query"]
    for part in (" [[ AND spent_on >= :since ]]", " [[ AND spent_on <= :until ]]"):
        sql = sql.replace(part, "").replace(part.replace("spent_on", "c.spent_on"), "")
    assert "[[" not in sql
    return str(sql)


def given(path: Path, sql: str) -> dict[str, str]:
    """What a question wants to be told: the job with most steps."""
    if ":job_id" not in sql:
        return {}
    most = "SELECT job_id FROM training_curves GROUP BY job_id ORDER BY count(*) DESC, job_id"
    return next(iter(direct(path, most)), {"job_id": "ftjob-none"})


@pytest.mark.parametrize("view", views.names())
def test_each_view_is_served_as_it_is(full: str, mirror: Path, view: str) -> None:
    found = still(rows(full, f"/{DATABASE}/{view}"))
    said = still(direct(mirror, f"SELECT * FROM {view}"))
    assert sorted(map(line, found)) == sorted(map(line, said))
    # Without an admin key there is neither a bill nor a permission, and nothing went wrong.
    nothing = ("billed_line_items", "open_findings", "shared_checkpoints")
    assert (len(found) > 0) == (view not in nothing)


@pytest.mark.parametrize("name", QUERIES)
def test_each_question_is_answered_as_the_mirror_itself_does(
    full: str, mirror: Path, name: str
) -> None:
    sql = QUERIES[name]["sql"]
    asked = given(mirror, sql)
    found = rows(full, f"/{DATABASE}/{name}", **asked)
    assert still(found) == still(direct(mirror, sql, **asked))
    assert found


@pytest.mark.parametrize("name", CHARTS)
def test_each_chart_draws_what_the_mirror_says(full: str, mirror: Path, name: str) -> None:
    sql = chart_query(CHARTS[name])
    found = rows(full, f"/{CHARTS[name]['db']}", sql=sql)
    assert still(found) == still(direct(mirror, sql))
    assert len(found) > 0


def test_the_sum_of_the_charts_is_that_of_the_view(full: str, mirror: Path) -> None:
    (whole,) = direct(mirror, "SELECT sum(cost_microusd) AS micro FROM spend_by_month")
    for name in ("months", "models"):
        drawn = rows(full, f"/{DATABASE}", sql=chart_query(CHARTS[name]))
        assert round(sum(one["cost_usd"] for one in drawn) * 10**6) == whole["micro"] > 0


def test_an_empty_mirror_answers_everything(bare: str, empty: Path) -> None:
    for name in (*views.names(), *QUERIES):
        asked = given(empty, QUERIES.get(name, {}).get("sql", ""))
        assert rows(bare, f"/{DATABASE}/{name}", **asked) == [], name
    for name, chart in CHARTS.items():
        found = rows(bare, f"/{DATABASE}", sql=chart_query(chart))
        field = chart["display"].get("field")
        assert found == ([{field: "nothing yet"}] if field else []), name


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM jobs",
        "INSERT INTO jobs (id) VALUES ('a')",
        "DROP VIEW job_costs",
        "PRAGMA user_version = 3",
        "ATTACH DATABASE '/tmp/other.db' AS other",
        "WITH a AS (SELECT 1) DELETE FROM jobs",
    ],
)
def test_a_write_is_refused(full: str, bare: str, mirror: Path, empty: Path, sql: str) -> None:
    before = [hashlib.sha256(path.read_bytes()).digest() for path in (mirror, empty)]
    for address in (full, bare):
        assert datasette.refusal(address, sql) != ""
        body = Request(f"{address}/{DATABASE}", b"sql=DELETE", method="POST")
        with pytest.raises(OSError, match=r"40[35]"):
            datasette._OPENER.open(body, timeout=30)
    assert before == [hashlib.sha256(path.read_bytes()).digest() for path in (mirror, empty)]


def test_a_mirror_that_is_synced_meanwhile_is_served_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "growing.db"
    engine = make_schema(f"sqlite:///{path}")
    with served(path) as address:
        assert rows(address, f"/{DATABASE}/spend_by_month") == []
        fill(engine)
        months = [one["month"] for one in rows(address, f"/{DATABASE}/spend_by_month")]
        assert sorted(months) == ["2025-01", "2025-03"]
    engine.dispose()


def test_tables_and_views_are_explained_and_what_is_ours_alone_is_hidden(full: str) -> None:
    told = {one["name"]: one for one in ask(full, f"/{DATABASE}")["tables"]}
    assert told["leases"]["hidden"]
    assert not told["jobs"]["hidden"]
    told = ask(full, "/-/metadata")["databases"][DATABASE]["tables"]["spend_by_month"]
    assert told["description"] == views.summary("spend_by_month")


# In a browser


def complaints(seen: Visit) -> list[str]:
    """What the browser complained of, but for Vega's word that an axis has nothing to show."""
    return [one for one in seen.console if "WARN Infinite extent" not in one]


def test_the_dashboard_is_drawn_and_asks_nobody_else(
    full: str, mirror: Path, tmp_path: Path
) -> None:
    seen = visit_address(datasette.dashboard(full), tmp_path)
    assert seen.console == []
    assert [one for one in seen.requests if not one.startswith(full)] == []
    assert len([one for one in seen.requests if "/ftmirror.json?sql=" in one]) == len(CHARTS)
    (cost,) = direct(mirror, chart_query(CHARTS["cost"]))
    assert f">{cost['cost']}</p>" in seen.dom
    for one in direct(mirror, chart_query(CHARTS["models"])):
        assert f">{one['base_model']}</text>" in seen.dom
        assert f">${one['cost_usd']:,.2f}</text>" in seen.dom
    assert "nothing yet</" not in seen.dom


def test_a_dashboard_of_nothing_says_so_in_each_of_its_parts(bare: str, tmp_path: Path) -> None:
    seen = visit_address(datasette.dashboard(bare), tmp_path)
    assert complaints(seen) == []
    assert seen.dom.count(">nothing yet</") == len(CHARTS)


def test_a_name_that_is_a_script_is_drawn_as_text(tmp_path: Path) -> None:
    path = tmp_path / "hostile.db"
    engine: Engine = make_schema(f"sqlite:///{path}")
    fill(engine)
    bad = job(
        *("ftjob-x", "2025-03-06 10:00", "2025-03-06 11:00"),
        status="failed",
        error_code=HOSTILE,
        project_id=HOSTILE,
    )
    put_jobs(engine, [bad])
    engine.dispose()
    with served(path, immutable=True) as address:
        seen = visit_address(datasette.dashboard(address), tmp_path)
        page = visit_address(f"{address}/{DATABASE}/failures_by_code", tmp_path)
    for one in (seen, page):
        assert complaints(one) == []
        assert "<img src=" not in one.dom
        assert "&lt;img src=x" in one.dom
