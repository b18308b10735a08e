"""Whatever JSON a server or a file may hold: each record becomes rows or goes to quarantine.

Never an exception, never a record that is lost, never a row that the database refuses in silence.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from etl.db.tables import quarantine, records
from etl.importing import Order as ImportOrder
from etl.importing import import_files
from etl.pipe import RunResult
from etl.resources import discover, jobs
from etl.settings import Secret, Source
from etl.sync import Order, sync
from tests.http_server import Reply, Server, serve
from tests.jobs import OPENAI, job

BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(BOUNDED, max_examples=60)
FEW = settings(BOUNDED, max_examples=25)

odd_texts = st.sampled_from(
    ["", "auto", "\x00", "\ud800", "x" * 70, "x" * 300, "'; --", "\x1b[2J", "ft:ft:", "1e5", "-1"]
) | st.sampled_from(
    ["2024-01-01", "9" * 19, "\U0001f600", "ft.ft-" + "0" * 32, "\\u0000", "a\tb\n", "NaN"]
)
odd_numbers = st.sampled_from(
    [0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**18, 10**40, 10**400]
) | st.sampled_from([-0.0, 0.5, 1e300, 5e-324, -1e15, 253402300800.5, float("nan"), float("inf")])
names = st.sampled_from(["id", "type", "hyperparameters", "wandb", "dpo", "job", "tags", "code"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_numbers | odd_texts | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | odd_texts | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
identifiers = st.sampled_from(["ftjob-a", "ftjob-A", "ftjob-a ", "ftjob-\U0001f600", "ftjob-b"])
statuses = st.sampled_from(["queued", "running", "succeeded", "failed", "paused", "odd"])

FULL = job(
    error={"code": "c", "message": "m", "param": "p"},
    metadata={"a": "b", "A": "c"},
    usage_metrics={"a": 1.0},
    integrations=[{"type": "wandb", "wandb": {"project": "p", "tags": ["a", "b"]}}],
    method={
        "type": "reinforcement",
        "reinforcement": {"hyperparameters": {"n_epochs": "auto"}, "grader": {"a": 1}},
    },
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def mutated_jobs(draw: st.DrawFn) -> Any:
    """A job that looks real, with some of it gone or of another kind."""
    value = json.loads(json.dumps(FULL)) | {"id": draw(identifiers), "status": draw(statuses)}
    for _ in range(draw(st.integers(0, 4))):
        there = places(value)
        if not there:
            break
        container, key = draw(st.sampled_from(there))
        if draw(st.booleans()):
            container[key] = draw(values)
        else:
            del container[key]
    if draw(st.integers(0, 4)) == 0:
        value[draw(names | odd_texts)] = draw(values)
    return value


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """One record as text: JSON, or nearly."""
    value = draw(mutated_jobs() | values)
    try:
        text = json.dumps(value, ensure_ascii=draw(st.booleans())).encode()
    except UnicodeEncodeError:
        text = json.dumps(value).encode()
    spoil = draw(st.integers(0, 19))
    if spoil == 0:
        return text.replace(b'"a"', b'"\xff"')
    if spoil == 1 and text.endswith(b"}"):
        return text[:-1] + b',"seed":1,"seed":1}'
    if spoil == 2 and text.endswith(b"}"):
        return text[:-1] + b',"deep":' + b"[" * 300 + b"]" * 300 + b"}"
    return text


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Thousands of warnings that nobody reads would cost most of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def counted(engine: Engine) -> tuple[int, int, int]:
    """Rows of jobs, lines of the ledger, lines of quarantine without a reason."""
    empty = select(func.count()).select_from(quarantine).where(quarantine.c.reason == "")
    with engine.connect() as connection:
        main, ledger = (
            connection.scalar(select(func.count()).select_from(table))
            for table in (jobs.jobs, records)
        )
        return main or 0, ledger or 0, connection.scalar(empty) or 0


def check(engine: Engine, result: RunResult, items: list[bytes]) -> None:
    """All that came in is accounted for, and the tables agree."""
    counts = result.counts
    assert result.error is None
    assert result.status in ("success", "partial")
    assert counts["records"] == len(items)
    assert counts["records"] == sum(
        counts[name] for name in ("created", "updated", "unchanged", "older", "quarantined")
    )
    main, ledger, unexplained = counted(engine)
    assert (main, unexplained) == (ledger, 0)


def syncing(engine: Engine, server: Server, body: list[bytes]) -> Callable[[list[bytes]], None]:
    source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))
    # Each list has nothing of the one before: what is gone is believed to be gone.
    order = Order([source], [jobs.RESOURCE], mode="full", accept_missing=True)

    def run(items: list[bytes]) -> None:
        body[:] = [b'{"data":[' + b",".join(items) + b'],"has_more":false}']
        check(engine, sync(engine, order, lambda _: None), items)
        again = sync(engine, order, lambda _: None)
        check(engine, again, items)
        assert again.status == "success"

    return run


def through_pages(engine: Engine, bounds: settings) -> None:
    body: list[bytes] = []
    with serve(lambda _: Reply(body[0])) as server:
        run = syncing(engine, server, body)
        bounds(given(st.lists(texts(), max_size=6))(run))()


def through_files(engine: Engine, file: Path, bounds: settings) -> None:
    order = ImportOrder([str(file)], OPENAI, discover())

    def run(items: list[bytes]) -> None:
        file.write_bytes(b"[" + b",".join(items) + b"]")
        check(engine, import_files(engine, order, lambda _: None), items)
        again = import_files(engine, order, lambda _: None)
        check(engine, again, items)
        assert again.status == "success"
        assert again.counts["created"] == again.counts["updated"] == 0

    bounds(given(st.lists(texts(), max_size=6))(run))()


def test_any_page_on_sqlite(sqlite_engine: Engine) -> None:
    through_pages(sqlite_engine, MANY)


def test_any_file_on_sqlite(sqlite_engine: Engine, tmp_path: Path) -> None:
    through_files(sqlite_engine, tmp_path / "jobs.json", MANY)


def test_any_page_on_each_database(engine: Engine) -> None:
    through_pages(engine, FEW)


def test_any_file_on_each_database(engine: Engine, tmp_path: Path) -> None:
    through_files(engine, tmp_path / "jobs.json", FEW)
