"""Drive a mirror from a test: sync from a simulator, import objects, look at every table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import Engine, Table, event, select

from etl import importing
from etl import sync as syncing
from etl.db import bulk
from etl.db.store import utc_now
from etl.db.tables import metadata
from etl.pipe import RunResult
from etl.record import Origin
from etl.resources import discover
from etl.settings import Secret, Source
from etl.simulator import Simulator

#: What a run may write even when nothing changed.
BOOKKEEPING = {"sync_runs", "sync_resource_runs", "frontiers", "child_progress", "leases"}
ORIGIN = Origin("default", "openai", "openai")


def source_of(simulator: Simulator, **changes: Any) -> Source:
    """A source that reads this simulator."""
    given: dict[str, Any] = {
        "base_url": simulator.url,
        "api_key": Secret.from_text("the test", "sk-test-key"),
    }
    return Source(**{**given, **changes})


def sync(
    engine: Engine,
    *sources: Source,
    resources: Iterable[str] = ("jobs",),
    mode: str = "full",
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    **order: Any,
) -> RunResult:
    """One run over these sources; retries do not really wait."""
    known = discover()
    chosen = [known[name] for name in known if name in set(resources)]
    wanted = syncing.Order(sources, chosen, mode=mode, **order)
    return syncing.sync(engine, wanted, lambda _: None, sleep=lambda _: None, now=now, clock=clock)


#: What can be read with a project's key.
EVERYTHING = ("jobs", "events", "checkpoints", "files", "metrics")


def import_objects(
    engine: Engine, objects: Iterable[Any], directory: Path, **changes: Any
) -> RunResult:
    """Import these objects from a JSONL file."""
    path = directory / "objects.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))
    return import_files(engine, [path], **changes)


def import_files(engine: Engine, paths: Iterable[Path], **changes: Any) -> RunResult:
    """Import these files."""
    given: dict[str, Any] = {
        "files": [str(path) for path in paths],
        "origin": ORIGIN,
        "resources": discover(),
    }
    order = importing.Order(**{**given, **changes})
    return importing.import_files(engine, order, lambda _: None)


def counts(result: RunResult) -> dict[str, int]:
    """What a run did to records, without what it did nothing of."""
    names = ("created", "updated", "unchanged", "older", "missing", "quarantined")
    return {name: result.counts[name] for name in names if result.counts[name]}


def rows(engine: Engine, table: str) -> list[dict[str, Any]]:
    """Every row of a table, ordered by its key."""
    found = metadata.tables[table]
    with engine.connect() as connection:
        lines = connection.execute(select(found).order_by(*found.primary_key.columns))
        return [dict(line._mapping) for line in lines]


def typed(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table that resources declare."""
    names = [table.name for resource in discover().values() for table in resource.tables]
    return {name: rows(engine, name) for name in names}


def contents(engine: Engine, without: Iterable[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but some."""
    return {name: rows(engine, name) for name in metadata.tables if name not in set(without)}


def advance(simulator: Simulator, changed: int, new: int) -> dict[str, list[str]]:
    """Let the simulator's world go on; the ids that changed and those that are new."""
    root = simulator.url.removesuffix("/v1")
    body = json.dumps({"changed": changed, "new": new}).encode()
    with urlopen(Request(f"{root}/__simulator/advance", body, method="POST")) as answer:
        return dict(json.load(answer))


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Every statement that reaches the database meanwhile; COMMIT and ROLLBACK too."""
    seen: list[str] = []

    def execute(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(" ".join(statement.split()))

    def commit(_: Any) -> None:
        seen.append("COMMIT")

    def copy(connection: Any, table: Table, rows: Any, into: str | None = None) -> None:
        seen.append(f"COPY {into or table.name}")  # goes past SQLAlchemy, and so past its events
        plain_copy(connection, table, rows, into)

    plain_copy = bulk._copy
    event.listen(engine, "before_cursor_execute", execute)
    event.listen(engine, "commit", commit)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "_copy", copy)
            patch.setitem(bulk._INSERT, "postgresql", copy)
            yield seen
    finally:
        event.remove(engine, "before_cursor_execute", execute)
        event.remove(engine, "commit", commit)
