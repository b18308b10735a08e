"""What a batch decides for each record: new, changed, unchanged, older or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update

from etl.batch import Batch, Known, Line, Refusal, Touch, build, read
from etl.db.runs import Tally
from etl.db.store import Store
from etl.db.tables import metadata, quarantine, record_versions, records
from etl.errors import EtlError, RecordError
from etl.fields import Drift
from etl.record import Origin, Record
from etl.resource import Resource, Row, row_of
from etl.resources import jobs
from tests.jobs import OPENAI, as_dict, job, record, text

JOBS = jobs.RESOURCE
SECOND = Origin("second", "openai", "openai", "proj_2")
ELSEWHERE = Origin("azure", "azure", "my-resource")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2, T3 = (T0 + timedelta(hours=hours) for hours in (1, 2, 3))
COUNTS = ("records", "created", "updated", "unchanged", "older", "quarantined")


def writes(batch: Batch) -> bool:
    """Is there anything to write beside the bookkeeping of runs?"""
    return bool(
        batch.created
        or batch.updated
        or batch.versions
        or batch.touched
        or batch.refused
        or batch.drift
    )


def counts(batch: Batch) -> dict[str, int]:
    """The counts that are not 0."""
    assert tuple(batch.counts) == COUNTS
    return {name: count for name, count in batch.counts.items() if count}


def told(lines: Sequence[Line]) -> list[tuple[Record, int, int]]:
    """Which state got which numbers."""
    return [line[:3] for line in lines]


def known(current: Record, version: int = 1, **changes: Any) -> dict[str, Known]:
    """The ledger with one record in it."""
    line = Known(
        version=version,
        last_version=changes.pop("last_version", version),
        origin=current.origin,
        digest=current.digest,
        canonical_digest=current.canonical_digest,
        current=current,
        **changes,
    )
    return {current.id: line}


def importing(current: Record, *items: Record, **changes: Any) -> Batch:
    """What an import of these makes of that."""
    return build(JOBS, items, known(current, **changes), importing=True)


# one record


def test_a_new_record_is_created() -> None:
    one = record(job())
    batch = build(JOBS, [one], {})
    assert told(batch.created) == [(one, 1, 1)]
    assert (batch.updated, batch.versions, batch.touched, batch.refused) == ([], [], [], [])
    assert batch.settled == ["ftjob-1"]
    assert counts(batch) == {"records": 1, "created": 1}
    assert writes(batch)
    assert {table.name: len(rows) for table, rows in batch.rows.items()} == {
        "jobs": 1,
        "job_hyperparameters": 6,
        "job_methods": 1,
        "job_result_files": 1,
        "job_usage": 1,
    }


def test_a_changed_record_is_updated() -> None:
    one, other = record(job(status="running")), record(job())
    batch = build(JOBS, [other], known(one, 3))
    assert told(batch.updated) == [(other, 4, 4)]
    assert (batch.created, batch.versions) == ([], [])
    assert counts(batch) == {"records": 1, "updated": 1}
    assert len(batch.rows[jobs.jobs]) == 1


def test_the_next_number_is_above_every_number_given_out() -> None:
    one, other = record(job(status="running")), record(job())
    assert told(build(JOBS, [other], known(one, 3, last_version=7)).updated) == [(other, 8, 8)]


def test_equal_bytes_write_nothing_and_are_not_even_decoded() -> None:
    bad = record(b"{", id="a")
    line = Known(1, 1, OPENAI, bad.digest, "of something else")
    batch = build(JOBS, [bad], {"a": line})
    assert counts(batch) == {"records": 1, "unchanged": 1}
    assert not writes(batch)
    assert not batch.rows
    assert batch.settled == ["a"]


def test_equal_values_refresh_the_digest_only() -> None:
    one = record(b'{"id":"ftjob-1","created_at":1}', id="ftjob-1")
    other = record(b'{ "created_at":1, "id":"ftjob-1" }', id="ftjob-1")
    batch = build(JOBS, [other], known(one))
    assert batch.touched == [Touch("ftjob-1", other.digest)]
    assert counts(batch) == {"records": 1, "unchanged": 1}
    assert (batch.updated, batch.rows) == ([], {})


def test_one_and_one_point_zero_are_a_change() -> None:
    one = record(b'{"id":"a","created_at":1,"x":1}', id="a")
    other = record(b'{"id":"a","created_at":1,"x":1.0}', id="a")
    assert counts(build(JOBS, [other], known(one))) == {"records": 1, "updated": 1}


def test_drift_is_counted_with_one_example() -> None:
    items = [record(job(f"ftjob-{n}", new=n)) for n in range(3)]
    batch = build(JOBS, items, {})
    assert batch.drift == {("new", "unknown_field"): (3, "0")}


def test_drift_is_counted_once_for_each_version_of_a_record() -> None:
    first, passed, last = (record(job("ftjob-1", new=n), id="ftjob-1") for n in range(3))
    assert build(JOBS, [first, passed, last, last], {}).drift == {
        ("new", "unknown_field"): (3, "0")
    }
    assert build(JOBS, [first], known(first)).drift == {}


def test_a_record_that_only_stands_elsewhere_adds_no_drift() -> None:
    one = record(job("ftjob-1", new=1), id="ftjob-1", position=3)
    batch = build(JOBS, [record(job("ftjob-1", new=1), id="ftjob-1", position=4)], known(one))
    assert (len(batch.moved), batch.drift) == (1, {})


# several states of one record


def test_states_of_one_record_are_applied_in_order() -> None:
    """The last one stands; those passed go to the versions; one row a table."""
    states = [record(job(status=status)) for status in ("queued", "running", "succeeded")]
    batch = build(JOBS, states, {})
    assert told(batch.versions) == [(states[0], 1, 1), (states[1], 2, 2)]
    assert told(batch.created) == [(states[2], 3, 3)]
    assert [as_dict((jobs.jobs, row))["status"] for row in batch.rows[jobs.jobs]] == ["succeeded"]
    assert counts(batch) == {"records": 3, "created": 1, "updated": 2}


def test_states_of_one_known_record() -> None:
    """The known line is superseded by the store itself."""
    first = record(job(status="queued"))
    states = [first, record(job(status="running")), record(job()), record(job())]
    batch = build(JOBS, states, known(first, 4))
    assert told(batch.versions) == [(states[1], 5, 5)]
    assert told(batch.updated) == [(states[2], 6, 6)]
    assert counts(batch) == {"records": 4, "updated": 2, "unchanged": 2}


def test_there_and_back_again_is_two_changes() -> None:
    one, other = record(job(status="running")), record(job(status="paused"))
    batch = build(JOBS, [one, other, one], {})
    assert [line.version for line in batch.versions] == [1, 2]
    assert told(batch.created) == [(one, 3, 3)]


def test_new_bytes_of_a_state_that_came_in_this_batch_refresh_its_digest() -> None:
    one = record(b'{"id":"a","created_at":1}', id="a")
    other = record(b'{"created_at":1,"id":"a"}', id="a")
    batch = build(JOBS, [one, other, other], {})
    assert told(batch.created) == [(one, 1, 1)]
    assert batch.touched == [Touch("a", other.digest)]
    assert counts(batch) == {"records": 3, "created": 1, "unchanged": 2}


# whose record it is


def test_another_id_space_is_refused() -> None:
    one = record(job())
    other = record(job(status="failed"), ELSEWHERE)
    batch = build(JOBS, [other], known(one))
    assert [(bad.record_id, bad.reason) for bad in batch.refused] == [
        (
            "ftjob-1",
            (
                "the id belongs to id space 'openai' (source 'default') "
                "and arrived from id space 'my-resource'"
            ),
        )
    ]
    assert counts(batch) == {"records": 1, "quarantined": 1}
    assert (batch.rows, batch.settled, batch.updated) == ({}, [], [])


def test_another_id_space_is_refused_within_one_batch_too() -> None:
    batch = build(JOBS, [record(job()), record(job(), ELSEWHERE)], {})
    assert counts(batch) == {"records": 2, "created": 1, "quarantined": 1}
    assert batch.created[0].record.origin == OPENAI


def test_another_source_changes_neither_source_nor_project() -> None:
    one = record(job(status="running"))
    unchanged = build(JOBS, [record(job(status="running"), SECOND)], known(one))
    assert counts(unchanged) == {"records": 1, "unchanged": 1}
    assert not writes(unchanged)
    changed = build(JOBS, [record(job(), SECOND)], known(one))
    assert changed.updated[0].record.origin == OPENAI
    row = as_dict((jobs.jobs, changed.rows[jobs.jobs][0]))
    assert (row["source"], row["project_id"]) == ("default", "proj_1")


def test_the_own_source_may_change_the_project() -> None:
    one = record(job())
    batch = build(JOBS, [record(job(), replace(OPENAI, project_id="proj_9"))], known(one))
    assert counts(batch) == {"records": 1, "updated": 1}
    assert as_dict((jobs.jobs, batch.rows[jobs.jobs][0]))["project_id"] == "proj_9"


def test_a_missing_record_that_is_listed_again_is_found() -> None:
    one = record(job())
    batch = build(JOBS, [one], known(one, missing_since=T1))
    assert batch.touched == [Touch("ftjob-1", one.digest, is_back=True)]
    assert counts(batch) == {"records": 1, "unchanged": 1}


def test_a_missing_record_is_taken_over_by_another_source_that_lists_it() -> None:
    one = record(job())
    other = record(job(), SECOND)
    batch = build(JOBS, [other, other], known(one, missing_since=T1))
    assert told(batch.updated) == [(other, 2, 2)]
    assert as_dict((jobs.jobs, batch.rows[jobs.jobs][0]))["source"] == "second"
    assert counts(batch) == {"records": 2, "updated": 1, "unchanged": 1}


def test_an_import_finds_nothing_that_is_missing() -> None:
    one = record(job())
    for item in (one, record(job(), SECOND)):
        batch = importing(one, item, missing_since=T1)
        assert counts(batch) == {"records": 1, "unchanged": 1}
        assert not writes(batch)


# refusals


def test_a_refusal_keeps_the_others() -> None:
    read_badly = Refusal(b"NaN", "not JSON: NaN is not JSON")
    items: list[Record | Refusal] = [
        record(job("a")),
        read_badly,
        record(job("b", created_at=0)),
        record(job("c")),
    ]
    batch = build(JOBS, items, {})
    assert [line.record.id for line in batch.created] == ["a", "c"]
    assert batch.refused == [
        read_badly,
        Refusal(text(job("b", created_at=0)), "`created_at` is no time: 0", "b"),
    ]
    assert batch.settled == ["a", "c"]
    assert counts(batch) == {"records": 4, "created": 2, "quarantined": 2}


def test_a_refused_state_leaves_the_known_one_and_settles_nothing() -> None:
    good, bad = record(job()), record(job(created_at=0))
    batch = build(JOBS, [bad], known(good))
    assert (batch.settled, batch.updated, batch.touched) == ([], [], [])
    assert build(JOBS, [good, bad], {}).settled == []
    assert build(JOBS, [bad, good], {}).settled == ["ftjob-1"]


def test_a_refused_first_state_makes_the_second_the_created_one() -> None:
    good = record(job())
    batch = build(JOBS, [record(job(created_at=0)), good], {})
    assert told(batch.created) == [(good, 1, 1)]
    assert counts(batch) == {"records": 2, "created": 1, "quarantined": 1}


def odd_resource(rows: Any) -> Resource:
    return Resource("jobs", "x", "/x", jobs.jobs, rows)


def test_whatever_a_normaliser_throws_is_a_refusal() -> None:
    def rows(one: Record) -> Iterator[Row | Drift]:
        yield Drift("a", "b", "c")
        raise KeyError(one.id)

    batch = build(odd_resource(rows), [record(job())], {})
    assert [bad.reason for bad in batch.refused] == [
        "this version cannot read it: KeyError: 'ftjob-1'"
    ]
    assert batch.drift == {}


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        ({"stauts": "running"}, "stauts"),
        ({"status": ...}, "status"),
        ({"stauts": 1, "status": ...}, "status, stauts"),
    ],
)
def test_a_row_that_does_not_fit_its_table_is_an_error(change: dict[str, Any], odd: str) -> None:
    """A mistake of ours is loud; it never becomes a NULL, and no record is blamed for it."""

    def rows(one: Record) -> Iterator[Row | Drift]:
        good = next(iter(jobs.rows(one)))
        assert not isinstance(good, Drift)
        values = {**as_dict(good), **change}
        yield row_of(jobs.jobs)(**{k: v for k, v in values.items() if v is not ...})

    with pytest.raises(EtlError, match=f"^a row of jobs does not fit its table: {odd}$") as caught:
        build(odd_resource(rows), [record(job())], {})
    assert not isinstance(caught.value, RecordError)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"id"', "not JSON: Expecting ':' delimiter: line 1 column 6 (char 5)"),
        (b"5", "no JSON object"),
        (b'["a"]', "no JSON object"),
        (b"{}", "`id` is missing"),
        (b'{"id":null}', "`id` is missing"),
        (b'{"id":5}', "`id` is no text: 5"),
        (b'{"id":""}', "`id` is empty"),
        (b'{"id":"a\\u0000"}', "`id` holds U+0000 or a lone surrogate: a\ufffd"),
        (b'{"id":"\\ud800"}', "`id` holds U+0000 or a lone surrogate: \ufffd"),
        (b'{"id":"' + b"a" * 65 + b'"}', "`id` has 65 characters, 64 fit"),
        (b'{"id":5,"x":NaN}', "not JSON: NaN is not JSON"),
    ],
)
def test_what_cannot_be_a_record(payload: bytes, reason: str) -> None:
    assert read(JOBS, payload, OPENAI, T1) == Refusal(payload, reason)


def test_a_broken_record_still_says_which_one_it_is() -> None:
    one = read(JOBS, b'{"id":"a","x":NaN}', OPENAI, T1)
    assert isinstance(one, Record)
    assert build(JOBS, [one], {}).refused == [
        Refusal(one.payload, "not JSON: NaN is not JSON", "a")
    ]


def test_a_good_record() -> None:
    assert read(JOBS, b'{"id":"a"}', OPENAI, T1) == Record(
        "jobs", "a", b'{"id":"a"}', OPENAI, observed_at=T1
    )


# imports never move a record back


def at(time: datetime | None, status: str = "running", **changes: Any) -> Record:
    return record(job(status=status, **changes), observed_at=time)


@pytest.mark.parametrize("said", [None, T1])
@pytest.mark.parametrize("claimed", [None, T0, T1, T3])
def test_an_open_state_never_comes_after_an_end(
    said: datetime | None, claimed: datetime | None
) -> None:
    opened = at(claimed)
    batch = importing(at(said, "succeeded"), opened)
    assert counts(batch) == {"records": 1, "older": 1}
    assert told(batch.versions) == [(opened, 2, 2)]
    assert batch.renumbered == {"ftjob-1": 2}
    assert batch.rows == {}


@pytest.mark.parametrize("claimed", [None, T0, T1, T3])
def test_an_end_comes_after_any_open_state(claimed: datetime | None) -> None:
    batch = importing(at(T1), at(claimed, "failed"))
    assert counts(batch) == {"records": 1, "updated": 1}


@pytest.mark.parametrize(
    ("said", "claimed", "outcome"),
    [
        (T2, T1, "older"),
        (T2, T2, "updated"),
        (T2, T3, "updated"),
        # What the API said stands against what somebody once saved.
        (T2, None, "older"),
        # Two states of no known time: the one that says more is later.
        (None, None, "updated"),
        (None, T1, "updated"),
    ],
)
def test_times_decide_between_two_open_states(
    said: datetime | None, claimed: datetime | None, outcome: str
) -> None:
    batch = importing(at(said, "queued"), at(claimed, "running"))
    assert counts(batch) == {"records": 1, outcome: 1}


def test_progress_decides_where_no_time_does() -> None:
    assert counts(importing(at(None, "running"), at(None, "queued"))) == {"records": 1, "older": 1}
    assert counts(importing(at(None, "running"), at(T1, "queued"))) == {"records": 1, "older": 1}


def test_a_listing_since_then_counts_as_a_time() -> None:
    batch = importing(at(T1, "queued"), at(T2), confirmed_at=T3)
    assert counts(batch) == {"records": 1, "older": 1}
    assert counts(importing(at(None), at(None, "paused"), confirmed_at=T3)) == {
        "records": 1,
        "older": 1,
    }


def test_the_api_itself_may_say_anything() -> None:
    """A sync is now: it also reopens a job."""
    batch = build(JOBS, [at(T3)], known(at(T1, "succeeded")))
    assert counts(batch) == {"records": 1, "updated": 1}


def test_an_older_state_that_cannot_become_rows_is_refused() -> None:
    batch = importing(at(T1, "succeeded"), at(None, created_at=0))
    assert counts(batch) == {"records": 1, "quarantined": 1}


def test_what_follows_in_the_same_file_stands_on_what_came_before() -> None:
    states = [at(None, "queued"), at(None), at(None, "succeeded"), at(None)]
    batch = build(JOBS, states, {}, importing=True)
    assert counts(batch) == {"records": 4, "created": 1, "updated": 2, "unchanged": 1}
    assert told(batch.created) == [(states[2], 3, 3)]


@pytest.mark.parametrize("time", [None, T0, T1])
def test_a_state_that_was_left_behind_is_not_written_again(time: datetime | None) -> None:
    passed, current = at(time, "queued"), at(T1, "running")
    batch = importing(current, passed, superseded=frozenset({passed.canonical_digest}))
    assert counts(batch) == {"records": 1, "unchanged": 1}
    assert not writes(batch)


def test_a_state_that_came_back_later_is_a_change() -> None:
    passed, current = at(T2, "queued"), at(T1, "running")
    batch = importing(current, passed, superseded=frozenset({passed.canonical_digest}))
    assert counts(batch) == {"records": 1, "updated": 1}


# through the store

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def apply(engine: Engine, batches: Sequence[Sequence[Record | Refusal]], *, imports: bool) -> Tally:
    store = Store(engine, lambda _: None, lambda: NOW)
    tally = Tally("default", "jobs", NOW)
    store.begin("full")
    for batch in batches:
        store.apply(JOBS, batch, tally, importing=imports)
    return tally


def dump(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the mirror, and what was ever in quarantine."""
    found = {}
    refused = (quarantine.c.record_id, quarantine.c.payload)
    with engine.connect() as connection:
        for table in (*JOBS.tables, records, record_versions):
            # Of a state that passed, which of its spellings the digest is of does not matter.
            left_out = {"run_id", "digest"} if table is record_versions else {"run_id"}
            columns = [column for column in table.columns if column.name not in left_out]
            rows = connection.execute(select(*columns))
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
        bad = connection.execute(select(*refused).distinct())
        found["quarantine"] = sorted((tuple(row) for row in bad), key=repr)
    return found


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))


@pytest.mark.parametrize("time", [None, T1])
def test_an_import_repeated_changes_nothing(sqlite_engine: Engine, time: datetime | None) -> None:
    states = [
        at(time, "queued"),
        at(time, "running"),
        at(time, "running", seed=7),
        at(time, "failed"),
    ]
    first = apply(sqlite_engine, [states], imports=True)
    before = dump(sqlite_engine)
    for order in (states, states[::-1], states[1:3]):
        again = apply(sqlite_engine, [order], imports=True)
        assert again.counts["unchanged"] == len(order)
        assert dump(sqlite_engine) == before
    assert (first.counts["created"], first.counts["updated"]) == (1, 3)


ids = st.sampled_from(["a", "A"])
origins = st.sampled_from([OPENAI, OPENAI, SECOND, ELSEWHERE])
times = st.sampled_from([None, None, T1, T2, T3])
payloads: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"status": "queued"},
        {"status": "running"},
        {"status": "running", "seed": 7},
        {"status": "succeeded"},
        {"status": "succeeded", "metadata": {"a": "b"}},
        {"status": "failed", "created_at": 0},
        {"status": "odd", "new": "x"},
    ]
)


@st.composite
def items(draw: st.DrawFn) -> Record | Refusal:
    value = job(draw(ids), **draw(payloads))
    payload = text(value) + b" " * draw(st.integers(0, 1))
    if draw(st.integers(0, 9)) == 0:
        return Refusal(payload[:5], "cut")
    return Record("jobs", value["id"], payload, draw(origins), observed_at=draw(times))


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(items(), max_size=3),
    st.lists(items(), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_a_batch_does_what_its_records_would_do_one_by_one(
    sqlite_engine: Engine,
    before: list[Record | Refusal],
    sequence: list[Record | Refusal],
    imports: bool,
    missing: bool,
) -> None:
    outcomes = []
    for batches in ([sequence], [[item] for item in sequence]):
        empty(sqlite_engine)
        apply(sqlite_engine, [[item] for item in before], imports=False)
        if missing:
            with sqlite_engine.begin() as connection:
                connection.execute(update(records).values(missing_since=T1))
        tally = apply(sqlite_engine, batches, imports=imports)
        outcomes.append((dump(sqlite_engine), tally.counts))
    assert outcomes[0] == outcomes[1]
