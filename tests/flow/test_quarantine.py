"""What lies in quarantine is read again by a version that understands it, and leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl import quarantine as trying
from etl.db.tables import quarantine
from etl.errors import RecordError, UsageError
from etl.record import Record
from etl.resource import Resource
from etl.resources import discover
from tests.conftest import make_schema
from tests.mirror import ORIGIN, counts, import_objects, rows, typed
from tests.parts import NOW, Api, quarantined, run, told

HOUR = timedelta(hours=1)


@pytest.fixture
def api() -> Api:
    """Three jobs that ended long ago."""
    made = Api()
    for name in "abc":
        made.add(f"ftjob-{name}", events=told(f"ftjob-{name}", 3))
    return made


def old_version(patch: pytest.MonkeyPatch, *names: str, version: int = 1) -> None:
    """Make the resources as a version had them that stumbles over some records."""
    for name in names:
        patch.setitem(discover(), name, _stumbling(discover()[name], version))


def _stumbling(resource: Resource, version: int) -> Resource:
    def rows(record: Record) -> Iterator[Any]:
        if record.id in ("ftckpt-c", "file-train-c", "file-result-a") or record.id[-1] in "b1":
            raise RecordError(f"version {version} does not know such a thing")
        yield from resource.rows(record)

    return replace(resource, rows=rows)


def retry(engine: Engine, **order: Any) -> trying.Retried:
    given: dict[str, Any] = {"resources": discover(), "origins": {"default": ORIGIN}}
    return trying.retry(engine, trying.Order(**{**given, **order}), lambda _: None)


def test_a_later_version_reads_what_an_earlier_one_could_not(
    engine: Engine, api: Api, tmp_path: Path
) -> None:
    with api.served() as source:
        with pytest.MonkeyPatch.context() as patch:
            old_version(patch, "jobs", "events", "checkpoints", "files", "metrics")
            run(engine, source)
            assert len(quarantined(engine)) == 7
        retried = retry(engine)
        assert (retried.resolved, retried.remaining) == (7, [])
        assert counts(retried.result) == {"created": 7}
        assert quarantined(engine) == []
        run(engine, source, now=NOW + HOUR)  # what hangs off the job that was not there
        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        run(fresh, source)
    assert typed(engine) == typed(fresh)
    fresh.dispose()


def test_what_cannot_be_read_stays_with_the_reason_of_today(
    sqlite_engine: Engine, api: Api
) -> None:
    with api.served() as source, pytest.MonkeyPatch.context() as patch:
        old_version(patch, "jobs")
        run(sqlite_engine, source)
    (line,) = rows(sqlite_engine, "quarantine")
    with pytest.MonkeyPatch.context() as patch:
        old_version(patch, "jobs", version=2)
        retried = retry(sqlite_engine)
    assert retried.resolved == 0
    ((left, why),) = retried.remaining
    assert (left.id, why) == (line["id"], None)
    (after,) = rows(sqlite_engine, "quarantine")
    assert after["reason"] == "version 2 does not know such a thing"
    assert after["last_seen_at"] == line["last_seen_at"]  # nobody sent it


def test_an_older_state_never_moves_a_record_back(engine: Engine, api: Api) -> None:
    with api.served() as source:
        with pytest.MonkeyPatch.context() as patch:
            old_version(patch, "jobs")
            run(engine, source)
        with engine.begin() as connection:  # the API's good answer is seen under another name
            connection.execute(update(quarantine).values(source="research"))
        api.change("ftjob-b", user_provided_suffix="new")
        run(engine, source, now=NOW + HOUR, mode="full")
        retried = retry(engine)
    assert (retried.resolved, counts(retried.result)) == (1, {"older": 1})
    (job,) = [row for row in rows(engine, "jobs") if row["id"] == "ftjob-b"]
    assert job["user_provided_suffix"] == "new"


def test_what_is_no_record_is_left_to_sync(sqlite_engine: Engine, api: Api, tmp_path: Path) -> None:
    api.contents["file-result-a"] = b"step,train_loss\n" + b"1,0.5\n" * 20_000
    with api.served(max_response_bytes=50_000) as source:
        run(sqlite_engine, source)
    import_objects(
        sqlite_engine, [{"object": "fine_tuning.job.event", "id": "ftevent-x"}], tmp_path
    )
    retried = retry(sqlite_engine)
    assert (retried.resolved, retried.result.counts["records"]) == (0, 0)
    assert [(line.record_id, why) for line, why in retried.remaining] == [
        ("file-result-a", trying.NO_RECORD),
        ("ftevent-x", trying.UNKNOWN_PARENT),
    ]


def test_lines_are_picked_by_number_and_resource(sqlite_engine: Engine, tmp_path: Path) -> None:
    objects = [{"object": "fine_tuning.job", "id": f"ftjob-{name}"} for name in "ab"]
    import_objects(sqlite_engine, objects, tmp_path)
    assert [line.id for line, _ in retry(sqlite_engine, ids=(2,)).remaining] == [2]
    assert retry(sqlite_engine, resource="events").remaining == []
    with pytest.raises(UsageError, match="quarantine has no open line 3"):
        retry(sqlite_engine, ids=(3,))
