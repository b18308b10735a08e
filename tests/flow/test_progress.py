"""What a run tells of how far it is: how many parents it asks, of records and of jobs how many."""

from __future__ import annotations

from collections import defaultdict

import pytest
from sqlalchemy import Engine

from etl import replay as replaying
from etl import sync as syncing
from etl import verify as verifying
from etl.db.runs import Tally
from etl.resources import discover
from etl.simulator import Simulator, World
from tests.mirror import EVERYTHING, rows, source_of, statements, sync

#: Of one resource, each step: how many are done, and of how many.
Steps = dict[str, list[tuple[int | None, int | None]]]


class Watching:
    def __init__(self) -> None:
        self.seen: Steps = defaultdict(list)

    def __call__(self, tally: Tally) -> None:
        self.seen[tally.resource].append((tally.done, tally.total))


def test_of_what_hangs_off_others_each_parent_asked_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there are more than are looked up at once, and several columns name them."""
    monkeypatch.setattr("etl.db.progress.AT_ONCE", 4)
    step = Watching()
    known = discover()
    with Simulator(World(1, 12)) as simulator:
        order = syncing.Order([source_of(simulator)], [known[name] for name in EVERYTHING])
        syncing.sync(engine, order, step, sleep=lambda _: None)
    files = len(rows(engine, "files"))
    for name, parents in {"events": 12, "checkpoints": 12, "files": files}.items():
        done = [one for one, _ in step.seen[name] if one is not None]
        assert done == sorted(done), name
        assert step.seen[name][-1] == (done[-1], done[-1]), name
        assert step.seen[name][0][1] is not None, name
        assert done[-1] >= parents, name
    assert step.seen["events"][0][1] == 12
    assert step.seen["jobs"][0] == (None, None)


def test_where_nothing_is_due_nothing_is_counted(sqlite_engine: Engine) -> None:
    with Simulator(World(1, 5)) as simulator:
        source = source_of(simulator)
        sync(sqlite_engine, source, resources=EVERYTHING)
        sync(sqlite_engine, source, resources=EVERYTHING)
        with statements(sqlite_engine) as seen:
            sync(sqlite_engine, source, resources=("checkpoints",), mode="incremental")
    assert not [one for one in seen if "AS parents" in one]


def test_a_replay_knows_what_the_ledger_holds_and_a_verification_what_the_mirror_does(
    sqlite_engine: Engine,
) -> None:
    replayed, verified = Watching(), Watching()
    with Simulator(World(1, 12)) as simulator:
        source = source_of(simulator)
        sync(sqlite_engine, source, resources=("jobs", "events"))
        replaying.replay(sqlite_engine, [discover()["jobs"]], replayed)
        verifying.verify(sqlite_engine, [source], verified, children=3, seed="a")
    assert replayed.seen["jobs"][-1] == (None, 12)
    assert verified.seen["jobs"][-1] == (None, 12)
    assert [total for _, total in verified.seen["events"]] == [3] * len(verified.seen["events"])
    assert {done for done, _ in verified.seen["events"]} == {0, 1, 2}
