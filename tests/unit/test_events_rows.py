"""One event becomes a row, and one more for each thing it measured."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from etl.errors import RecordError
from etl.resources import events
from etl.resources.jobs import jobs
from etl.simulator import World
from tests import corpus
from tests.children import Noted, Rows, made, measured, record

EXAMPLES = Path(__file__).parent.parent / "examples" / "events.jsonl"


def event(**changes: Any) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": "ftevent-1",
        "created_at": 1746485700,
        "level": "info",
        "message": "Hello",
        "data": {},
        "type": "message",
        **changes,
    }


def read(
    value: Any, position: int | None = 0, parent_id: str | None = "ftjob-1"
) -> tuple[Rows, Noted]:
    one = record(events.RESOURCE, value, "ftevent-1", parent_id, position)
    return made(events.RESOURCE, one)


def step(data: Any, **changes: Any) -> tuple[dict[tuple[int, str], float], Noted]:
    """What an event of type `metrics` measured, and what was noted."""
    rows, noted = read(event(type="metrics", data=data, **changes))
    return measured(rows), noted


def examples() -> list[dict[str, Any]]:
    return [json.loads(line) for line in EXAMPLES.read_text().splitlines()]


def test_a_step_of_2025() -> None:
    text = EXAMPLES.read_bytes().splitlines()[0]
    rows, noted = made(
        events.RESOURCE,
        record(events.RESOURCE, text, "ftevent-Example0Metrics0000001", "ftjob-1", 12),
    )
    common = {
        "job_id": "ftjob-1",
        "origin": "event",
        "origin_id": "ftevent-Example0Metrics0000001",
        "step": 10,
    }
    assert noted == []
    assert rows == {
        "job_events": [
            {
                "id": "ftevent-Example0Metrics0000001",
                "job_id": "ftjob-1",
                "position": 12,
                "created_at": "2025-05-05 22:55:00",
                "level": "info",
                "type": "metrics",
                "message": "Step 10/20: training loss=0.47, validation loss=0.51",
                "data": (
                    '{"step":10,"total_steps":20,"train_loss":0.4731,'
                    '"train_mean_token_accuracy":1,"valid_loss":0.5126,'
                    '"valid_mean_token_accuracy":0.875}'
                ),
            }
        ],
        "training_metrics": [
            {**common, "name": "train_loss", "value": 0.4731},
            {**common, "name": "train_mean_token_accuracy", "value": 1.0},
            {**common, "name": "valid_loss", "value": 0.5126},
            {**common, "name": "valid_mean_token_accuracy", "value": 0.875},
        ],
    }


def test_a_step_of_reinforcement_is_told_by_paths() -> None:
    rows, noted = read(examples()[2])
    assert noted == []
    assert measured(rows) == {
        (3, "train_mean_reward"): 0.41,
        (3, "usage.graders.exact.train_prompt_tokens_mean"): 120.5,
        (3, "usage.graders.style.train_prompt_tokens_mean"): 80.0,
        (3, "usage.samples.train_completion_tokens_mean"): 900.0,
        (3, "errors.graders.exact.count"): 0.0,
        (3, "scores.train_reward_mean"): 0.41,
        (3, "timing.step.sampling"): 30.5,
        (3, "timing.step.full_iteration"): 61.25,
        (3, "timing.graders.0.seconds"): 1.5,
        (3, "timing.graders.1.seconds"): 2.0,
        (3, "model_graders_token_usage.gpt-4o-2024-08-06.train_prompt_tokens"): 1200.0,
    }


@pytest.mark.parametrize("data", [None, {}, []])
def test_an_event_without_data_has_none(data: Any) -> None:
    rows, noted = read(event(data=data))
    assert (list(rows), rows["job_events"][0]["data"], noted) == (["job_events"], None, [])


def test_an_event_of_azure_that_tells_the_bill_measures_it() -> None:
    rows, noted = read(examples()[3])
    assert noted == []
    assert measured(rows) == {(0, "training_tokens_billed"): 5000.0}
    assert rows["job_events"][0]["message"] == "Training tokens billed: 5000"
    assert rows["job_events"][0]["data"] is None


@pytest.mark.parametrize("level", ["info", "warn", "warning", "error", None])
def test_a_level_is_kept_as_sent(level: str | None) -> None:
    rows, noted = read(event(level=level))
    assert (rows["job_events"][0]["level"], noted) == (level, [])


def test_what_is_not_known_is_noted_and_kept_where_it_has_a_column() -> None:
    rows, noted = read(event(level="fatal", type="graph", object="evt", hint="x"))
    assert rows["job_events"][0]["level"] == "fatal"
    assert rows["job_events"][0]["type"] == "graph"
    assert noted == [
        ("object", "unknown_value", "evt"),
        ("type", "unknown_value", "graph"),
        ("level", "unknown_value", "fatal"),
        ("hint", "unknown_field", "x"),
    ]


def test_an_event_of_another_type_that_says_a_step_is_measured_too() -> None:
    rows, noted = read(event(type=None, data={"step": 4, "train_loss": 0.5}))
    assert (measured(rows), noted) == ({(4, "train_loss"): 0.5}, [])


def test_a_moderation_has_no_metrics() -> None:
    rows, noted = read(event(type="moderation_checks", data={"blocked": False, "results": [1]}))
    assert (list(rows), noted) == (["job_events"], [])


def test_a_step_may_be_written_as_a_float() -> None:
    assert step({"step": 80.0, "train_loss": 1}) == ({(80, "train_loss"): 1.0}, [])


@pytest.mark.parametrize(
    ("data", "noted"),
    [
        ({"train_loss": 0.5}, ("data.step", "missing", '{"train_loss":0.5}')),
        (
            {"step": None, "train_loss": 0.5},
            ("data.step", "missing", '{"step":null,"train_loss":0.5}'),
        ),
        ({}, ("data.step", "missing", "{}")),
        ({"step": 80.5, "train_loss": 0.5}, ("data.step", "wrong_type", "80.5")),
        ({"step": True, "train_loss": 0.5}, ("data.step", "wrong_type", "true")),
        ({"step": "ten", "train_loss": 0.5}, ("data.step", "wrong_type", "ten")),
        ({"step": 2**63, "train_loss": 0.5}, ("data.step", "out_of_range", str(2**63))),
    ],
)
def test_metrics_of_no_step_make_no_rows(data: Any, noted: tuple[str, str, str]) -> None:
    assert step(data) == ({}, [noted])


def test_data_that_is_no_object_is_kept_and_noted() -> None:
    rows, noted = read(event(data=[1, 2]))
    assert rows["job_events"][0]["data"] == "[1,2]"
    assert noted == [("data", "wrong_type", "[1,2]")]


def test_a_number_beyond_every_float_is_noted() -> None:
    text = b'{"created_at":1,"type":"metrics","data":{"step":1,"a":1e999,"b":%d,"c":2}}' % 10**400
    rows, noted = read(text)
    assert measured(rows) == {(1, "c"): 2.0}
    assert [(path, kind) for path, kind, _ in noted] == [
        ("data.a", "out_of_range"),
        ("data.b", "out_of_range"),
    ]


def test_text_among_the_metrics_is_noted_and_deeper_in_it_is_a_label() -> None:
    found, noted = step({"step": 1, "train_loss": "0.5", "ok": True, "in": {"a": "x", "b": False}})
    assert found == {}
    assert noted == [("data.train_loss", "wrong_type", "0.5"), ("data.ok", "wrong_type", "true")]


@pytest.mark.parametrize(
    ("items", "names"),
    [
        ([{"name": "a", "v": 1}, {"name": "b", "v": 2}], ["g.a.v", "g.b.v"]),
        ([{"name": "a", "v": 1}, {"name": "a", "v": 2}], ["g.0.v", "g.1.v"]),
        ([{"name": "", "v": 1}, {"v": 2}, 3], ["g.0.v", "g.1.v", "g.2"]),
        ([[1, [2]]], ["g.0.0", "g.0.1.0"]),
    ],
)
def test_an_item_goes_by_its_name_or_by_its_place(items: Any, names: list[str]) -> None:
    found, noted = step({"step": 1, "g": items})
    assert ([name for _, name in found], noted) == (names, [])


def test_of_two_ways_to_one_name_the_first_is_kept() -> None:
    assert step({"step": 1, "a.b": 1, "a": {"b": 2}}) == (
        {(1, "a.b"): 1.0},
        [("data.a.b", "unknown_field", "2")],
    )


def test_names_that_no_column_takes() -> None:
    found, noted = step({"step": 1, "": 1, "a\x00": 2, "n" * 256: 3, "n" * 255: 4})
    assert found == {(1, "a\ufffd"): 2.0, (1, "n" * 255): 4.0}
    assert noted[0][:2] == ("data", "replaced_characters")
    assert noted[1:] == [
        ("data.", "unknown_field", "1"),
        ("data.a\x00", "replaced_characters", "a\ufffd"),
        ("data." + "n" * 256, "too_long", "3"),
    ]


def test_data_may_be_as_deep_as_json_may_be() -> None:
    deep = b'{"a":' * 253 + b"1" + b"}" * 253
    rows, noted = read(b'{"created_at":1,"type":"metrics","data":{"step":1,"x":[{"y":%s}]}}' % b"7")
    assert measured(rows) == {(1, "x.0.y"): 7.0}
    rows, noted = read(b'{"created_at":1,"type":"metrics","data":{"step":1,"a":%s}}' % deep)
    assert measured(rows) == {}
    assert [kind for _, kind, _ in noted] == ["too_long"]


@pytest.mark.parametrize(
    ("value", "position", "parent_id", "reason"),
    [
        (b"[]", 0, "ftjob-1", "an event is a JSON object, this is not"),
        (event(), 0, None, "an event belongs to a job, and nothing says to which"),
        (event(), 0, "j" * 65, "`a job` has 65 characters, 64 fit"),
        (event(), None, "ftjob-1", "nothing says which place the event has among its job's events"),
        (event(created_at=None), 0, "ftjob-1", "`created_at` is no time: null"),
        (event(created_at="soon"), 0, "ftjob-1", "`created_at` is no time: soon"),
    ],
)
def test_what_cannot_be_an_event_says_why(
    value: Any, position: int | None, parent_id: str | None, reason: str
) -> None:
    with pytest.raises(RecordError) as caught:
        read(value, position, parent_id)
    assert str(caught.value) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.dictionaries(st.text(max_size=3), JSON, max_size=5), number=st.integers(-9, 9))
def test_whatever_was_measured_every_key_is_one_and_every_value_a_number(
    data: dict[str, Any], number: int
) -> None:
    value = event(type="metrics", data={**data, "step": number})
    text = json.dumps(value, allow_nan=True).replace("Infinity", "1e999").encode()
    rows, _ = read(text)
    found = measured(rows)
    assert all(at == number and name and "\x00" not in name for at, name in found)
    assert all(abs(measure) < float("inf") for measure in found.values())


# real ones


def test_every_event_of_the_corpus() -> None:
    lines = (corpus.directory() / "events.jsonl").read_text().splitlines()
    found: Rows = {}
    for position, line in enumerate(lines):
        value = json.loads(line)["object"]
        one = record(events.RESOURCE, value, parent_id="ftjob-1", position=position)
        rows, noted = made(events.RESOURCE, one)
        assert noted == []
        for table, some in rows.items():
            found.setdefault(table, []).extend(some)
    assert {table: len(some) for table, some in found.items()} == {
        "job_events": 218,
        "training_metrics": 371,
    }
    measured_names = [row["name"] for row in found["training_metrics"]]
    assert {name: measured_names.count(name) for name in sorted(set(measured_names))} == {
        "full_valid_loss": 21,
        "full_valid_mean_token_accuracy": 21,
        "train_loss": 123,
        "train_mean_token_accuracy": 123,
        "training_tokens_billed": 3,
        "valid_loss": 40,
        "valid_mean_token_accuracy": 40,
    }


def test_every_page_of_the_corpus() -> None:
    found = 0
    for path in sorted((corpus.directory() / "pages").glob("events-*.json")):
        listed = json.loads(path.read_text())["object"]["data"]
        for position, value in enumerate(reversed(listed)):
            one = record(events.RESOURCE, value, parent_id="ftjob-1", position=position)
            rows, noted = made(events.RESOURCE, one)
            assert noted == []
            found += len(rows["job_events"])
    assert found == 116


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_every_event_of_the_simulator(provider: str) -> None:
    world = World(7, 20, provider)
    found = 0
    for job_id in world.job_ids():
        for _, text in world.events(job_id, None, 10_000).items:
            value = json.loads(text)
            one = record(events.RESOURCE, text.encode(), value["id"], job_id, 0)
            rows, noted = made(events.RESOURCE, one)
            assert noted == []
            is_bill = value["message"].startswith("Training tokens billed: ")
            assert bool(measured(rows)) == (value["type"] == "metrics" or is_bill)
            found += 1
    assert found > 100


# when a job ended


def job_row(**values: Any) -> dict[str, Any]:
    created = datetime(2025, 1, 1, tzinfo=UTC)
    return {
        "source": "default",
        "provider": "openai",
        "id_space": "openai",
        "created_at": created,
        "finished_at": None,
        "estimated_finish": None,
        **values,
    }


def test_a_job_ended_when_it_says_so_else_with_its_newest_event(sqlite_engine: Engine) -> None:
    def day(number: int) -> datetime:
        return datetime(2025, 1, number, tzinfo=UTC)

    told = [("told", 3), ("told", 5), ("open", 5), ("finished", 5)]
    with sqlite_engine.begin() as connection:
        connection.execute(
            insert(jobs),
            [
                job_row(id="finished", status="succeeded", finished_at=day(2)),
                job_row(id="told", status="failed", estimated_finish=day(9)),
                job_row(id="estimated", status="cancelled", estimated_finish=day(9)),
                job_row(id="silent", status="cancelled"),
                job_row(id="open", status="running", finished_at=day(2)),
                job_row(id="unknown", status=None),
            ],
        )
        connection.execute(
            insert(events.job_events),
            [
                {"id": str(place), "job_id": job, "position": place, "created_at": day(number)}
                for place, (job, number) in enumerate(told)
            ],
        )
        found = connection.execute(select(jobs.c.id, events.ENDED_AT)).all()
        ended = select(jobs.c.id).where(day(4) >= events.ENDED_AT).order_by(jobs.c.id)
        before = connection.scalars(ended).all()
    assert {str(identifier): moment for identifier, moment in found} == {
        "finished": day(2),
        "told": day(5),
        "estimated": day(9),
        "silent": day(1),
        "open": None,
        "unknown": None,
    }
    assert before == ["finished", "silent"]
