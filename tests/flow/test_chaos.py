"""A short slice of `make chaos`: everything that goes wrong there goes wrong here once or twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chaos import faults, keys, kills, overlap
from chaos.databases import NAMES, Database, Server, Sqlite
from chaos.ground import SYNC, Case, Ground, laid
from chaos.processes import Bell, Runner, Zygote, zygote

SEED = 7


@pytest.fixture(scope="module")
def zygotes() -> Iterator[tuple[Zygote, Zygote]]:
    with zygote() as first, zygote() as second:
        yield first, second


@pytest.fixture(params=list(NAMES))
def database(
    request: pytest.FixtureRequest, tmp_path: Path, database_servers: dict[str, str]
) -> Iterator[Database]:
    name = request.param
    if name == "sqlite":
        yield Sqlite(tmp_path)
        return
    server = Server(name, database_servers[name])
    yield server
    server.close()


@pytest.fixture
def ground(database: Database, zygotes: tuple[Zygote, Zygote], tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        bell = stack.enter_context(Bell())
        runner = Runner(zygotes[0], bell, tmp_path)
        yield stack.enter_context(laid(database, runner, bell, tmp_path, SEED, jobs=(5, 2)))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What runs in this process warns of each fault that it meets."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def said(words: str) -> None:
    """Progress, which nobody reads here."""


def test_who_was_killed_or_met_another_at_work_leaves_a_mirror_that_one_run_completes(
    ground: Ground, zygotes: tuple[Zygote, Zygote], tmp_path: Path
) -> None:
    first = [Case("one sync on schema", "schema", SYNC)]
    killed = kills.rounds(ground, SEED, 2, said, first)
    assert killed.failures == []
    assert killed.survived == killed.rounds == 2
    together = overlap.pairs(ground, zygotes, SEED, 1, said, ["schema"])
    assert together.failures == []
    found = keys.written(tmp_path)
    assert found.searched > 10
    assert found.places == []


def test_a_failing_api_and_a_failing_connection_cost_runs_and_no_record(
    database: Database,
) -> None:
    bench = faults.FaultBench(database, SEED, 8, said)
    trials = [bench.faulty(faults.HIGH, SEED), bench.revoked(SEED)]
    if database.name != "sqlite":
        trials.append(bench.cut_off(SEED))
    assert [str(one) for one in trials if not one.is_equal] == []
    assert all(one.runs <= faults.MOST_RUNS for one in trials)
