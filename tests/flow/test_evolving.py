"""A history that goes on for many runs, cut anywhere, ends up as the source has it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from etl.db.tables import records
from etl.verify import verify
from tests.conftest import make_schema
from tests.evolving import Evolving, small_pages, ticking
from tests.mirror import EVERYTHING, rows, source_of, sync, typed

RUNS = 50

pytestmark = pytest.mark.long


def test_after_many_cut_runs_one_undisturbed_run_makes_the_mirror_equal_to_the_source(
    engine: Engine, tmp_path: Path
) -> None:
    _follow(engine, Evolving(7, 30), "openai", tmp_path)


def test_so_it_does_for_azure(sqlite_engine: Engine, tmp_path: Path) -> None:
    _follow(sqlite_engine, Evolving(11, 30, "azure"), "azure", tmp_path)


def _follow(engine: Engine, story: Evolving, provider: str, tmp_path: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    with small_pages(7), story.served() as simulator:
        source = source_of(simulator, provider=provider, id_space=provider)
        partial = 0
        for number in range(RUNS):
            story.go_on()
            story.restless = 3 if number % 3 == 0 else 0
            result = sync(
                engine,
                source,
                resources=EVERYTHING,
                mode="full" if number % 17 == 16 else "auto",
                now=story.now,
                clock=ticking(),
                time_limit=story.dice.randint(1, 60) if number % 4 else None,
            )
            assert result.status in ("success", "partial")
            partial += result.status == "partial"
            for identifier, digest in _standing(engine):
                seen[identifier].add(digest)
        assert partial > 10

        story.restless = 0
        story.wait(timedelta(days=2))
        last = sync(engine, source, resources=EVERYTHING, now=story.now)
        assert (last.status, last.mode) == ("success", "full")

        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        sync(fresh, source, resources=EVERYTHING, now=story.now)
        assert verify(engine, [source], lambda _: None, children=40, now=story.now).verdict == (
            "equal"
        )
        again = sync(engine, source, resources=EVERYTHING, mode="incremental", now=story.now)
        assert again.status == "success"
    open_jobs = sum(
        row["status"] not in ("succeeded", "failed", "cancelled") for row in rows(fresh, "jobs")
    )
    assert again.counts["requests"] <= 1 + 4 * open_jobs
    _assert_equal(engine, fresh, set(story.removed))
    _assert_history(engine, seen)
    open_lines = [row for row in rows(engine, "quarantine") if row["resolved_at"] is None]
    assert open_lines == []
    fresh.dispose()


def _standing(engine: Engine) -> list[tuple[str, str]]:
    """The jobs, each with what its current state is known by."""
    query = select(records.c.id, records.c.digest).where(records.c.resource == "jobs")
    with engine.connect() as connection:
        return [(line.id, line.digest) for line in connection.execute(query)]


def _assert_equal(engine: Engine, fresh: Engine, removed: set[str]) -> None:
    """Every row of the source; what is more belongs to jobs that vanished."""
    gone = {
        row["id"]
        for row in rows(engine, "records")
        if row["resource"] == "jobs" and row["missing_since"] is not None
    }
    assert gone <= removed
    ours, theirs = typed(engine), typed(fresh)
    for table, expected in theirs.items():
        found = ours[table]
        if table == "files":  # also those of jobs that vanished
            theirs_ids = {row["id"] for row in expected}
            found = [row for row in found if row["id"] in theirs_ids]
        else:
            name = "id" if table == "jobs" else "job_id"
            found = [row for row in found if row.get(name) not in gone]
        assert found == expected, table


def _assert_history(engine: Engine, seen: dict[str, set[str]]) -> None:
    kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table in ("records", "record_versions"):
        for row in rows(engine, table):
            if row["resource"] == "jobs":
                kept[row["id"]].append(row)
    for identifier, digests in seen.items():
        versions = sorted(kept[identifier], key=lambda row: row["version"])
        assert digests <= {row["digest"] for row in versions}
        assert [row["version"] for row in versions] == list(range(1, len(versions) + 1))
        for before, after in pairwise(versions):
            old, new = json.loads(before["payload"]), json.loads(after["payload"])
            differs = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
            assert {one.split(".")[0] for one in after["changed_fields"].split(", ")} == differs
    with engine.connect() as connection:
        told = connection.execute(
            text("SELECT job_id, version, status FROM job_history ORDER BY job_id, version")
        ).all()
    expected = sorted(
        (identifier, row["version"], json.loads(row["payload"])["status"])
        for identifier, lines in kept.items()
        for row in lines
    )
    assert [tuple(line) for line in told] == expected
