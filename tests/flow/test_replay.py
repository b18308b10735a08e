"""Replay: the typed tables, made anew from the ledger, are as sync and import wrote them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, func, select, update

from etl import importing
from etl.db import bulk
from etl.db.engine import open_engine
from etl.db.tables import drift, quarantine, record_versions, records
from etl.errors import RecordError
from etl.fields import Drift
from etl.record import Record
from etl.replay import Replayed, replay
from etl.resource import Resource, Row
from etl.resources import discover
from etl.resources.events import job_events
from etl.resources.jobs.tables import job_hyperparameters, job_metadata, jobs
from etl.resources.metrics.tables import training_metrics
from etl.simulator import Simulator, World
from tests import corpus
from tests.arbitrary import EVENT, texts
from tests.flow.test_arbitrary_json import FEW
from tests.flow.test_corpus_children import objects, result_files
from tests.jobs import OPENAI, job
from tests.mirror import (
    EVERYTHING,
    advance,
    contents,
    import_objects,
    rows,
    source_of,
    statements,
    sync,
    typed,
)
from tests.parts import ENDED, Api, checkpoint
from tests.parts import event as event_object
from tests.parts import run as sync_parts

Tables = dict[str, list[dict[str, Any]]]


def rebuilt(engine: Engine, *names: str, **options: Any) -> Replayed:
    """Replay these resources, or all."""
    known = discover()
    chosen = [one for name, one in known.items() if not names or name in names]
    return replay(engine, chosen, lambda _: None, **options)


def kept(engine: Engine) -> Tables:
    """All tables but the log of runs."""
    return contents(engine, ("sync_runs", "sync_resource_runs"))


def empty(engine: Engine) -> None:
    """Take every row of every typed table away, and the drift."""
    tables = {table for one in discover().values() for table in one.tables}
    with engine.begin() as connection:
        for table in [*tables, drift]:
            connection.execute(delete(table))


def odd_jobs(numbers: Sequence[int], **changes: Any) -> Iterator[dict[str, Any]]:
    """Jobs with something that no column knows."""
    for number in numbers:
        color = {"color": f"{number}"} if number % 2 else {}
        yield job(f"ftjob-{number:03}", **{**color, "seed": str(number), **changes})


def with_rows(
    name: str, change: Any, *, refused: Sequence[str] = (), shown: Any = None
) -> Resource:
    """A resource whose normaliser is another one."""
    resource = discover()[name]

    def normalised(record: Record) -> Iterator[Row | Drift]:
        if record.id in refused:
            raise RecordError("this version has no idea")
        if shown is not None:
            shown.append(record.id)
        for row in resource.rows(record):
            yield row if isinstance(row, Drift) else (row[0], change(*row))

    return replace(resource, rows=normalised)


def unchanged(_: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values


def test_tables_that_were_emptied_come_back_as_sync_wrote_them(
    engine: Engine, tmp_path: Path
) -> None:
    """All kinds of records, of two sources, in several versions, imported ones and drift."""
    with Simulator(World(5, 12)) as simulator:
        first, second = source_of(simulator), source_of(simulator, name="second")
        sync(engine, first, second, resources=EVERYTHING)
        advance(simulator, 6, 2)
        import_objects(engine, [*odd_jobs(range(8))], tmp_path)
        import_objects(engine, [*odd_jobs(range(4), status="running")], tmp_path)
        import_objects(engine, [*odd_jobs(range(6), eval_id="eval_1")], tmp_path)
        sync(engine, first, second, resources=EVERYTHING)
    before = kept(engine)
    assert len(before["record_versions"]) > 10
    assert len(before["drift"]) == 2
    assert all(before[table.name] for table in (jobs, job_events, training_metrics))
    empty(engine)
    answer = rebuilt(engine)
    assert answer.run.status == "success"
    assert kept(engine) == before
    assert answer.run.counts["records"] == len(before["records"])
    assert answer.strays == {}
    assert rebuilt(engine).run.status == "success"
    assert kept(engine) == before


def test_drift_is_counted_once_for_each_version(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Of what came, what it superseded, and what was imported later though said before."""
    import_objects(sqlite_engine, [job("ftjob-1", "queued", color="blue")], tmp_path)
    import_objects(sqlite_engine, [job("ftjob-1", color="red"), job("ftjob-2")], tmp_path)
    import_objects(sqlite_engine, [job("ftjob-1", "running", color="old")], tmp_path)
    before = rows(sqlite_engine, "drift")
    assert [(one["path"], one["occurrences"], one["example"]) for one in before] == [
        ("color", 3, "blue")
    ]
    with sqlite_engine.begin() as connection:
        connection.execute(update(drift).values(occurrences=99, example="?"))
        connection.execute(drift.insert().values({**before[0], "path": "gone"}))
    rebuilt(sqlite_engine, "events")
    assert len(rows(sqlite_engine, "drift")) == 2
    answer = rebuilt(sqlite_engine, "jobs")
    assert rows(sqlite_engine, "drift") == before
    assert answer.drift == {"jobs": 1}


def test_an_event_that_was_moved_stays_where_the_list_has_it(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """A saved one stood alone; that it was found elsewhere counts its drift no second time."""
    found = [event_object(f"ftevent-{number}", ENDED - 10 + number, odd=1) for number in (3, 2, 1)]
    import_objects(sqlite_engine, found[:1], tmp_path, job="ftjob-1")
    api = Api()
    api.add("ftjob-1", events=found)
    with api.served() as source:
        sync(sqlite_engine, source, resources=EVERYTHING)
    before = kept(sqlite_engine)
    assert [row["position"] for row in before["job_events"]] == [0, 1, 2]
    assert [one["occurrences"] for one in before["drift"]] == [3]
    empty(sqlite_engine)
    rebuilt(sqlite_engine)
    assert kept(sqlite_engine) == before


def test_real_objects_become_the_same_rows_again(sqlite_engine: Engine, tmp_path: Path) -> None:
    engine = sqlite_engine
    import_objects(engine, corpus.every_state(), tmp_path)
    job_ids = [row["id"] for row in rows(engine, "jobs")]
    for name in ("events", "checkpoints"):
        import_objects(engine, objects(name), tmp_path, resource=name, job=job_ids[0])
    files = result_files()
    for number, (name, content) in enumerate(files.items()):
        found = Record("metrics", name, content, OPENAI, parent_id=job_ids[number])
        _store(engine, found)
    before = kept(engine)
    assert len(before["training_metrics"]) > 100
    assert before["drift"]
    empty(engine)
    assert rebuilt(engine).run.status == "success"
    assert kept(engine) == before


def _store(engine: Engine, record: Record) -> None:
    from etl.db import lease
    from etl.db.runs import Tally
    from etl.db.store import Store

    with lease.hold(engine, "test") as held:
        store = Store(engine, held.fence)
        store.begin("full")
        store.apply(discover()[record.resource], [record], Tally("default", "metrics", store.now()))


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_any_history_replays_to_equal_tables(
    sqlite_engine: Engine, tmp_path: Path, quiet: None
) -> None:
    """Whatever was imported and superseded; what could not be read is no part of the ledger."""
    path = tmp_path / "jobs.json"
    order = importing.Order([str(path)], OPENAI, discover(), job="ftjob-b")

    def history(batches: list[list[bytes]]) -> None:
        for items in batches:
            path.write_bytes(b"[" + b",".join(items) + b"]")
            importing.import_files(sqlite_engine, order, lambda _: None)
        before = kept(sqlite_engine)
        assert rebuilt(sqlite_engine, "jobs", "events").run.status == "success"
        assert kept(sqlite_engine) == before

    one = texts() | texts(EVENT, "ftevent-")
    FEW(given(st.lists(st.lists(one, max_size=6), min_size=1, max_size=3))(history))()


def test_a_changed_normaliser_changes_the_rows_and_nothing_else(
    engine: Engine, tmp_path: Path
) -> None:
    import_objects(engine, [*odd_jobs(range(10))], tmp_path)
    before = kept(engine)
    place = jobs.columns.keys().index("seed")

    def other(table: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if table is jobs:
            return (*values[:place], 7, *values[place + 1 :])
        return values

    replay(engine, [with_rows("jobs", other)], lambda _: None)
    after = kept(engine)
    assert {row["seed"] for row in after["jobs"]} == {7}
    assert after == {**before, "jobs": [{**row, "seed": 7} for row in before["jobs"]]}


def test_a_reader_sees_old_rows_or_new_ones_and_never_none(engine: Engine, tmp_path: Path) -> None:
    """Looked at, on another connection, at each statement of the replay."""
    import_objects(engine, [*odd_jobs(range(9), metadata={"a": "b"})], tmp_path)
    reader = open_engine(engine.url.render_as_string(hide_password=False))
    place = jobs.columns.keys().index("seed")
    seen: set[tuple[int, ...]] = set()
    query = select(
        *(
            select(func.count()).select_from(table).scalar_subquery()
            for table in (jobs, job_metadata, job_hyperparameters)
        ),
        select(func.count()).where(jobs.c.seed == 7).scalar_subquery(),
    )

    def look(*_: Any) -> None:
        with reader.connect() as connection:
            seen.add(tuple(connection.execute(query).one()))

    def other(table: Any, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*values[:place], 7, *values[place + 1 :]) if table is jobs else values

    with pytest.MonkeyPatch.context() as patch:
        name = engine.dialect.name
        patch.setitem(bulk.PACE, name, bulk.PACE[name]._replace(records=3))
        event.listen(engine, "before_cursor_execute", look)
        replay(engine, [with_rows("jobs", other)], lambda _: None)
        event.remove(engine, "before_cursor_execute", look)
    look()
    reader.dispose()
    # The seeds are texts, so that 7 is that of one job before.
    assert {one[:3] for one in seen} == {(9, 9, 54)}
    assert {one[3] for one in seen} == {1, 4, 7, 9}


def test_rows_of_no_record_go_and_are_counted(engine: Engine, tmp_path: Path) -> None:
    import_objects(engine, [*odd_jobs(range(3))], tmp_path)
    before = kept(engine)
    with engine.begin() as connection:
        for table, column in (
            (jobs, "id"),
            (job_metadata, "job_id"),
            (job_hyperparameters, "job_id"),
        ):
            values = _values(engine, table)
            strays = [{**values, column: f"ftjob-stray-{number:04}"} for number in range(1100)]
            connection.execute(table.insert(), strays)
    rebuilt(engine, "events")
    assert len(rows(engine, "jobs")) == 1103
    answer = rebuilt(engine, "jobs")
    assert answer.strays == {"jobs": 1100, "job_metadata": 1100, "job_hyperparameters": 1100}
    assert kept(engine) == before


def _values(engine: Engine, table: Any) -> dict[str, Any]:
    with engine.connect() as connection:
        found = connection.execute(select(table)).first()
    if found is not None:
        return dict(found._mapping)
    return {"job_id": "", "name": "a", "value": "b"}


@pytest.fixture
def sharing(engine: Engine) -> Engine:
    """A job with an event and a checkpoint of one name, and a result file: all with metrics."""
    api = Api()
    measured = event_object("1", type="metrics", data={"step": 1, "train_loss": 0.5})
    api.add(
        "ftjob-1",
        events=[measured],
        checkpoints=[checkpoint("1")],
        content=b"step,train_loss\n1,0.25\n",
    )
    with api.served() as source:
        sync_parts(engine, source)
    return engine


def origins(engine: Engine) -> list[tuple[str, str]]:
    return sorted((row["origin"], row["origin_id"]) for row in rows(engine, "training_metrics"))


SHARED = [("checkpoint", "1"), ("event", "1"), ("result_file", "file-result-1")]


@pytest.mark.parametrize("name", ["events", "checkpoints", "metrics"])
def test_one_of_several_owners_of_a_table_leaves_the_rows_of_the_others(
    sharing: Engine, name: str
) -> None:
    """Servers that number their objects give an event and a checkpoint the same id."""
    before = kept(sharing)
    assert origins(sharing) == SHARED
    rebuilt(sharing, name)
    assert kept(sharing) == before


def test_a_changed_event_leaves_the_metrics_of_a_checkpoint_of_its_name(sharing: Engine) -> None:
    from etl.db import lease
    from etl.db.runs import Tally
    from etl.db.store import Store

    again = event_object("1", message="other", data={})
    record = Record("events", "1", json.dumps(again).encode(), OPENAI, "ftjob-1", 0)
    record = replace_origin(sharing, record)
    with lease.hold(sharing, "test") as held:
        store = Store(sharing, held.fence)
        store.begin("full")
        store.apply(discover()["events"], [record], Tally("default", "events", store.now()))
    assert origins(sharing) == [SHARED[0], SHARED[2]]


def replace_origin(engine: Engine, record: Record) -> Record:
    """The record as of the source that mirrored it."""
    import msgspec

    (line,) = [row for row in rows(engine, "records") if row["resource"] == record.resource]
    origin = replace(OPENAI, project_id=line["project_id"])
    return msgspec.structs.replace(record, origin=origin)


def test_strays_in_a_shared_table_are_those_of_the_resource_that_is_replayed(
    sharing: Engine,
) -> None:
    """What nobody calls its own goes once all who share the table are replayed."""
    strays = [
        {
            "job_id": "ftjob-1",
            "origin": origin,
            "origin_id": "2",
            "step": 1,
            "name": "a",
            "value": 1.0,
        }
        for origin in ("event", "checkpoint", "of an older version")
    ]
    with sharing.begin() as connection:
        connection.execute(training_metrics.insert(), strays)
    assert rebuilt(sharing, "events").strays == {"training_metrics": 1}
    assert len(origins(sharing)) == 5
    assert rebuilt(sharing, "events", "metrics").strays == {}
    assert rebuilt(sharing).strays == {"training_metrics": 2}
    assert origins(sharing) == SHARED


def test_what_can_no_longer_be_read_keeps_its_rows_and_goes_to_quarantine(
    engine: Engine, tmp_path: Path
) -> None:
    import_objects(engine, [*odd_jobs(range(5))], tmp_path)
    before = kept(engine)
    worse = with_rows("jobs", unchanged, refused=["ftjob-002"])
    answer = replay(engine, [worse], lambda _: None)
    assert (answer.run.status, answer.run.counts["quarantined"]) == ("partial", 1)
    assert answer.run.error == (
        "default: 1 record of jobs could not be read: the rows are as before"
    )
    after = kept(engine)
    (line,) = after["quarantine"]
    assert (line["record_id"], line["reason"]) == ("ftjob-002", "this version has no idea")
    assert (line["id_space"], line["is_whole"]) == ("openai", True)
    (count,) = [one["occurrences"] for one in after["drift"] if one["path"] == "seed"]
    assert count == 4
    for table in set(before) - {"quarantine", "drift"}:
        assert after[table] == before[table], table
    # Seen again it is still unread, so that is no success; once it can be read, all is as it was.
    assert replay(engine, [worse], lambda _: None).run.status == "partial"
    assert len(rows(engine, "quarantine")) == 1
    assert rebuilt(engine, "jobs").run.status == "success"
    assert rows(engine, "quarantine")[0]["resolved_at"] is not None
    assert {**kept(engine), "quarantine": []} == before


def test_a_replay_resolves_nothing_that_it_did_not_refuse_itself(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """The same text under another id space is refused, whoever can read it."""
    (one,) = odd_jobs([1])
    import_objects(sqlite_engine, [one], tmp_path)
    other = replace(OPENAI, source="default", id_space="elsewhere")
    import_objects(sqlite_engine, [one], tmp_path, origin=other)
    before = kept(sqlite_engine)
    assert [line["resolved_at"] for line in before["quarantine"]] == [None]
    assert rebuilt(sqlite_engine).run.status == "success"
    assert kept(sqlite_engine) == before


def test_rows_that_the_database_refuses_are_sought_and_the_others_written(
    engine: Engine, tmp_path: Path
) -> None:
    """A normaliser's mistake that only the database sees: one row that comes twice."""
    import_objects(engine, [*odd_jobs(range(40))], tmp_path)
    resource = discover()["jobs"]

    def twice(record: Record) -> Iterator[Row | Drift]:
        for row in resource.rows(record):
            yield row
            if record.id in ("ftjob-007", "ftjob-039") and row[0] is job_hyperparameters:
                yield row

    before = kept(engine)
    empty(engine)
    answer = replay(engine, [replace(resource, rows=twice)], lambda _: None)
    assert (answer.run.status, answer.run.counts["quarantined"]) == ("partial", 2)
    ids = [row["id"] for row in before["jobs"] if row["id"] not in ("ftjob-007", "ftjob-039")]
    assert [row["id"] for row in rows(engine, "jobs")] == ids
    reasons = {row["reason"].split(":")[0] for row in rows(engine, "quarantine")}
    assert reasons == {"the database refuses it"}
    rebuilt(engine, "jobs")
    assert typed(engine) == {name: before[name] for name in typed(engine)}


def test_a_superseded_state_that_cannot_be_read_is_told_and_quarantines_nothing(
    sqlite_engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import_objects(sqlite_engine, [job("ftjob-1", "queued", color="blue")], tmp_path)
    import_objects(sqlite_engine, [job("ftjob-1")], tmp_path)
    before = kept(sqlite_engine)
    resource = discover()["jobs"]

    def strict(record: Record) -> Iterator[Row | Drift]:
        if b"queued" in record.payload:
            raise RecordError("no")
        yield from resource.rows(record)

    answer = replay(sqlite_engine, [replace(resource, rows=strict)], lambda _: None)
    assert (answer.run.status, answer.unread_versions) == ("success", {"jobs": 1})
    assert "jobs: 1 superseded state cannot be read any more" in caplog.text
    assert kept(sqlite_engine) == {**before, "drift": []}


def test_drift_that_a_changed_normaliser_finds_is_told_once(
    sqlite_engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import_objects(sqlite_engine, [*odd_jobs(range(3))], tmp_path)
    resource = discover()["jobs"]

    def curious(record: Record) -> Iterator[Row | Drift]:
        yield from resource.rows(record)
        yield Drift("model", "unknown_value", "gpt-4o")

    for _ in range(2):
        replay(sqlite_engine, [replace(resource, rows=curious)], lambda _: None)
    told_of = [one.getMessage() for one in caplog.records if "`model`" in one.getMessage()]
    assert told_of == ["new in jobs: `model` (unknown_value), as gpt-4o"]


@pytest.mark.parametrize("bound", ["records", "bytes", "bytes once unpacked"])
def test_a_batch_is_bounded_by_records_and_by_bytes(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Of result files fewer bytes make a batch: each becomes many rows."""
    lines = b"".join(b"%d,0.25\n" % step for step in range(10))
    # The last step of many counts: the text becomes a hundredth when it is compressed.
    content = b"step,train_loss\n" + lines * (600 if bound == "bytes once unpacked" else 20)
    for number in range(6):
        _store(sqlite_engine, Record("metrics", f"file-{number}", content, OPENAI, "ftjob-1"))
    before = typed(sqlite_engine)
    if bound == "records":
        monkeypatch.setitem(bulk.PACE, "sqlite", bulk.PACE["sqlite"]._replace(records=2))
    else:
        monkeypatch.setattr("etl.rebuilding.BATCH_BYTES", 8 * 2 * len(content))
    with statements(sqlite_engine) as seen:
        rebuilt(sqlite_engine, "metrics")
    written = [one for one in seen if one.startswith("INSERT INTO training_metrics")]
    assert len(written) == 3
    assert typed(sqlite_engine) == before


def test_a_replay_is_no_reading_of_any_list(sqlite_engine: Engine) -> None:
    """Freshness is what sync made it, and the log says what was done."""
    from datetime import UTC, datetime

    from etl import reports

    with Simulator(World(5, 20)) as simulator:
        sync(sqlite_engine, source_of(simulator))
    now = datetime.now(UTC)
    before = reports.status(sqlite_engine, [("default", "jobs")], now)
    rebuilt(sqlite_engine)
    assert reports.status(sqlite_engine, [("default", "jobs")], now) == before
    (run, _) = reports.past_runs(sqlite_engine, 2)
    assert (run["mode"], run["status"], run["records"], run["unchanged"]) == (
        "replay",
        "success",
        20,
        20,
    )
    (part,) = run["resources"]
    assert (part["source"], part["resource"], part["is_whole"]) == ("default", "jobs", False)


def test_an_empty_ledger_replays_to_empty_tables(engine: Engine) -> None:
    answer = rebuilt(engine)
    assert (answer.run.status, answer.run.sources) == ("success", [])
    with engine.connect() as connection:
        for table in (records, record_versions, quarantine):
            assert connection.scalar(select(func.count()).select_from(table)) == 0
