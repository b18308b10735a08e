"""Whatever JSON a server or a file may hold: each record becomes rows or goes to quarantine.

Never an exception, never a record that is lost, never a row that the database refuses in silence.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine

from tests.arbitrary import kinds
from tests.dear import servers_when_long

BOUNDED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Records in place of records, and all else.
MANY, FEW = settings(BOUNDED, max_examples=40), settings(BOUNDED, max_examples=12)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Thousands of warnings that nobody reads would cost most of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@servers_when_long
@pytest.mark.parametrize("place", ["jobs", "jobs in a file"])
def test_any_job(engine: Engine, tmp_path: Path, place: str) -> None:
    try_out(engine, tmp_path, place, MANY)


@servers_when_long
@pytest.mark.parametrize(
    "place", ["pages", "events", "checkpoints", "lists of events", "files", "result files"]
)
def test_anything_else(engine: Engine, tmp_path: Path, place: str) -> None:
    try_out(engine, tmp_path, place, FEW)


def try_out(engine: Engine, directory: Path, place: str, bounds: settings) -> None:
    with kinds(engine, directory) as known:
        (kind,) = [one for one in known if one.name == place]
        bounds(given(kind.drawn)(kind.run))()
