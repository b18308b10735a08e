"""Stopped or squeezed in the middle: what was written is whole, and the lease is free."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, RootTransaction, event, update
from sqlalchemy.exc import OperationalError

from etl.batch import Refusal
from etl.db import bulk, lease, store
from etl.db.engine import open_engine
from etl.db.runs import Tally
from etl.db.tables import leases
from etl.errors import EtlError, LeaseHeld, UsageError
from etl.record import Record
from etl.resource import row_of
from etl.resources import discover
from etl.simulator import Simulator, World
from tests.http_server import Reply, serve
from tests.mirror import ORIGIN, counts, import_files, rows, source_of, sync


def page(*jobs: Any, has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(jobs), "has_more": has_more}


def job(identifier: str, **changes: Any) -> dict[str, Any]:
    plain = {"object": "fine_tuning.job", "created_at": 1700000000, "status": "queued"}
    return {**plain, "id": identifier, **changes}


def test_an_interrupt_in_the_middle_of_a_batch_leaves_the_lease_free(engine: Engine) -> None:
    """SQLite kept its lock as long as the interrupt was under way, and the last words met it."""

    def interrupt(_: Any, __: Any, statement: str, ___: Any, ____: Any, many: bool) -> None:
        if "job_usage" in statement or ("job_metadata" in statement and many):
            raise KeyboardInterrupt

    with Simulator(World(1, 100)) as simulator:
        event.listen(engine, "before_cursor_execute", interrupt)
        with pytest.MonkeyPatch.context() as patch:
            if engine.dialect.name == "postgresql":  # its COPY goes past SQLAlchemy's events
                patch.setitem(bulk._INSERT, "postgresql", _raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                sync(engine, source_of(simulator))
        event.remove(engine, "before_cursor_execute", interrupt)
        assert rows(engine, "jobs") == []
        (run,) = rows(engine, "sync_runs")
        assert (run["status"], run["error"]) == ("failed", "interrupted")
        assert counts(sync(engine, source_of(simulator))) == {"created": 100}


def test_an_interrupt_in_the_middle_of_a_commit_is_told_as_one(engine: Engine) -> None:
    """SQLAlchemy makes an AssertionError of it."""
    numbers = itertools.count()
    commit = RootTransaction._do_commit

    def interrupted(transaction: RootTransaction) -> None:
        if next(numbers) == 2:
            raise KeyboardInterrupt
        commit(transaction)

    with Simulator(World(1, 100)) as simulator:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RootTransaction, "_do_commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sync(engine, source_of(simulator))
        (run,) = rows(engine, "sync_runs")
        assert (run["status"], run["error"]) == ("failed", "interrupted")
        sync(engine, source_of(simulator))
    assert len(rows(engine, "jobs")) == 100


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_connection_is_closed_leaves_no_traceback_in_the_log(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def fail(_: Any) -> None:
        raise error

    connection = sqlite_engine.connect()
    raw: Any = connection.connection.dbapi_connection
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_engine.dialect, "do_close", fail)
        with pytest.raises(error):
            connection.invalidate()
    raw.close()
    assert caplog.records == []


def _raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_skipped_beat_leaves_no_impatient_connection_behind(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    lease.ensure(engine)
    with lease.hold(engine, "test") as held:
        writer = store.Store(engine, held.fence)
        with writer.transaction():
            held.beat()
        for _ in range(3):
            with engine.connect() as connection:
                timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                assert timeout == 10_000
    engine.dispose()


def test_a_beat_that_the_database_refuses_is_no_crash(engine: Engine) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("UPDATE", None, Exception("read-only"))

    with lease.hold(engine, "test") as held:
        event.listen(engine, "before_cursor_execute", refuse)
        held.beat()
        event.remove(engine, "before_cursor_execute", refuse)
        assert not held.is_lost


def test_a_holder_whose_transaction_took_long_keeps_the_lease(engine: Engine) -> None:
    """Its renewal shows only once it commits; who waited for that must look again."""
    with lease.hold(engine, "first") as held:
        with engine.begin() as connection:
            old = connection.execute(leases.select()).one()
            long_ago = old.renewed_at.replace(year=2020)
            connection.execute(update(leases).values(renewed_at=long_ago))
            line = connection.execute(
                leases.select().add_columns(lease.database_now(engine.dialect.name).label("now"))
            ).one()
        held.beat()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lease, "_look", lambda *_: line)
            with pytest.raises(LeaseHeld), lease.hold(engine, "second"):
                pass
        assert not held.is_lost
        held.beat()
        assert not held.is_lost


def test_the_table_of_leases_may_be_made_by_several_at_once(empty_database: str) -> None:
    engines = [open_engine(empty_database) for _ in range(6)]
    failed: list[EtlError] = []

    def make(engine: Engine) -> None:
        try:
            lease.ensure(engine)
        except EtlError as error:
            failed.append(error)

    threads = [threading.Thread(target=make, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("identifier", ["x" * 300, "a\x00b"], ids=["long", "U+0000"])
def test_a_bad_id_where_a_batch_ends_stops_nothing(engine: Engine, identifier: str) -> None:
    """The next page begins after it, so it is a cursor, though it can be no key."""
    jobs = [job(f"ftjob-{number}") for number in range(2150)]
    jobs[1999]["id"] = identifier
    pages = [page(*jobs[start : start + 50], has_more=start < 2100) for start in range(0, 2150, 50)]
    with serve([Reply(one) for one in pages]) as server, Simulator(World(1, 5)) as simulator:
        first = source_of(simulator, base_url=server.url)
        result = sync(engine, first, source_of(simulator, name="second"))
    assert result.status == "partial"
    assert counts(result) == {"created": 2154, "quarantined": 1}


def test_a_record_larger_than_the_server_takes_is_quarantined_alone(engine: Engine) -> None:
    """MariaDB hangs up on 16 MiB and more; the others take it."""
    large = json.dumps(job("ftjob-large", error={"message": "訓" * 3_500_000})).encode()
    large = json.dumps(json.loads(large), ensure_ascii=False).encode() + b" " * 9_000_000
    small = json.dumps(job("ftjob-small")).encode()
    with lease.hold(engine, "test") as held:
        writer = store.Store(engine, held.fence)
        writer.begin("full")
        tally = Tally("default", "jobs", writer.now())
        items: list[Record | Refusal] = [
            Record("jobs", "ftjob-small", small, ORIGIN),
            Record("jobs", "ftjob-large", large, ORIGIN),
        ]
        writer.apply(discover()["jobs"], items, tally)
    stored = [row["id"] for row in rows(engine, "jobs")]
    if engine.dialect.name == "mariadb":
        assert stored == ["ftjob-small"]
        (line,) = rows(engine, "quarantine")
        assert "raise its max_allowed_packet" in line["reason"]
        assert "only the first 65,536 of" in line["reason"]
    else:
        assert stored == ["ftjob-large", "ftjob-small"]


def test_an_import_that_failed_in_one_part_does_not_call_itself_a_success(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    resource = discover()["jobs"]

    def failing(record: Record) -> Iterator[Any]:
        for row in resource.rows(record):
            if record.id == "ftjob-7" and row[0] is resource.table:
                yield row_of(resource.table)(id=record.id)
            else:
                yield row

    from dataclasses import replace

    broken = replace(resource, rows=failing)
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(job(f"ftjob-{n}")) + "\n" for n in range(1200)))
    result = import_files(sqlite_engine, [path], resources={"jobs": broken})
    assert result.status == "failed"
    assert "a row of jobs does not fit its table" in str(result.error)


def test_a_key_of_the_envelope_that_is_no_utf8_is_no_crash(sqlite_engine: Engine) -> None:
    body = b'{"data":[{"id":"ftjob-1","created_at":1700000000}],"has_more":false,"\xff":1}'
    with serve([Reply(body)]) as server, Simulator(World(1, 5)) as simulator:
        result = sync(
            sqlite_engine,
            source_of(simulator, base_url=server.url),
            source_of(simulator, name="second"),
        )
    assert result.status == "partial"
    assert counts(result) == {"created": 5}


def test_a_retry_after_beyond_all_calendars_is_no_crash(sqlite_engine: Engine) -> None:
    headers = {"Retry-After": "Thu, 01 Jan 99999999999999999999 00:00:00 GMT"}
    replies = [Reply(b"{}", status=429, headers=headers), Reply(page(job("ftjob-1")))]
    with serve(replies) as server, Simulator(World(1, 5)) as simulator:
        result = sync(sqlite_engine, source_of(simulator, base_url=server.url))
    assert counts(result) == {"created": 1}


def test_a_damaged_gzip_is_named(sqlite_engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    packed = bytearray(gzip.compress(json.dumps(job("ftjob-1")).encode() * 50))
    packed[20:40] = b"\x00" * 20
    path.write_bytes(bytes(packed))
    with pytest.raises(UsageError, match=r"x\.json\.gz: "):
        import_files(sqlite_engine, [path])


def test_a_bug_in_reading_is_not_lost_in_the_reader(sqlite_engine: Engine) -> None:
    """An error that nobody thought of, met by the thread that reads ahead, still ends the run."""
    with Simulator(World(1, 5)) as simulator, pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.lists.read", _raise_bug)
        with pytest.raises(ZeroDivisionError):
            sync(sqlite_engine, source_of(simulator))
    (run,) = rows(sqlite_engine, "sync_runs")
    assert run["status"] == "failed"
    assert not issubclass(ZeroDivisionError, EtlError)


def _raise_bug(*_: Any) -> None:
    raise ZeroDivisionError
