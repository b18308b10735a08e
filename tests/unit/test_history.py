"""What one state of a record says otherwise than another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.history import changes
from etl.record import Origin, Record
from tests.jobs import OPENAI, job, text


def record(value: Any, origin: Origin = OPENAI, parent_id: str | None = None) -> Record:
    """A record of anything; bytes are taken as they are."""
    payload = value if isinstance(value, bytes) else text(value)
    return Record("jobs", "ftjob-1", payload, origin, parent_id)


def changed(before: Any, after: Any) -> str:
    return changes(record(before), record(after))


def test_a_job_that_came_to_its_end() -> None:
    assert changed(job(status="running"), job(status="succeeded")) == (
        "fine_tuned_model, finished_at, result_files, status, trained_tokens"
    )


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": 1}, {}, "a"),
        ({}, {"a": 1}, "a"),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, "a, b"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ""),
        # into objects
        (
            {"error": {"code": "x", "message": "m"}},
            {"error": {"code": "y", "message": "m"}},
            "error.code",
        ),
        ({"a": {"b": {"c": {"d": 1}}}}, {"a": {"b": {"c": {"d": 2}}}}, "a.b.c.d"),
        ({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}, "a.b, a.c"),
        ({"a": {"b": 1}}, {"a": {}}, "a.b"),
        # not into lists
        ({"a": [1, 2]}, {"a": [2, 1]}, "a"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a"),
        ({"a": [1]}, {"a": [1, 1]}, "a"),
        ({"a": [{"b": [1]}]}, {"a": [{"b": [1]}]}, ""),
        # from one kind to another
        ({"a": {"b": 1}}, {"a": 1}, "a"),
        ({"a": {"b": 1}}, {"a": None}, "a"),
        ({"a": {"b": 1}}, {"a": [1]}, "a"),
        ({"a": "1"}, {"a": 1}, "a"),
        ({"a": True}, {"a": 1}, "a"),
        ({"a": False}, {"a": 0}, "a"),
        ({"a": [True]}, {"a": [1]}, "a"),
        ({"a": 0}, {"a": None}, "a"),
        ({"a": ""}, {"a": None}, "a"),
        ({"a": False}, {"a": None}, "a"),
    ],
)
def test_fields_that_differ(before: Any, after: Any, fields: str) -> None:
    assert changed(before, after) == fields


@pytest.mark.parametrize("one", [{}, {"a": None}, {"a": {}}, {"a": []}])
@pytest.mark.parametrize("other", [{}, {"a": None}, {"a": {}}, {"a": []}])
def test_four_ways_to_say_that_there_is_none(one: Any, other: Any) -> None:
    assert changed(one, other) == ""
    assert changed({"b": one}, {"b": other}) == ""


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        (b'{"a":1}', b'{"a":1.0}', "a"),
        (b'{"a":1.0}', b'{"a":1.00}', "a"),
        (b'{"a":1e2}', b'{"a":100.0}', "a"),
        (b'{"a":0.1}', b'{"a": 0.1 }', ""),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}', "a"),
        (b'{"a":[1.0]}', b'{"a":[1.00]}', "a"),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), ""),
    ],
)
def test_numbers_are_compared_as_they_are_written_text_as_it_reads(
    before: bytes, after: bytes, fields: str
) -> None:
    assert changed(before, after) == fields


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b"step,loss\n1,0.5\n", b"step,loss\n1,0.25\n", "payload"),
        (b"step,loss\n1,0.5\n", b"step,loss\n1,0.5\n", ""),
        (b'{"a":1}', b"{", "payload"),
        (b"{", b'{"a":1}', "payload"),
        (b"[1]", b"[2]", "payload"),
        (b"[1]", b'{"a":1}', "payload"),
    ],
)
def test_what_is_no_object_differs_as_a_whole(before: bytes, after: bytes, said: str) -> None:
    assert changed(before, after) == said


def test_what_is_around_a_text_that_stayed() -> None:
    before = record({"a": 1}, Origin("one", "openai", "openai", "proj_1"), "ftjob-1")
    after = record({"a": 1}, Origin("two", "openai", "other", "proj_2"), "ftjob-2")
    assert changes(before, after) == "id_space, parent_id, project_id, source"
    assert changes(before, before) == ""
    table = record(b"step\n1\n", parent_id="ftjob-1")
    assert changes(table, record(b"step\n1\n", parent_id="ftjob-2")) == "parent_id"


def test_what_is_around_is_not_said_where_the_text_differs() -> None:
    before = record({"a": 1}, parent_id="ftjob-1")
    assert changes(before, record({"a": 2}, parent_id="ftjob-2")) == "a"


def test_names_that_no_database_stores() -> None:
    assert changed(b'{"a\\u0000":1}', b'{"a\\u0000":2}') == "a\ufffd"


def test_two_ways_to_write_one_path_are_said_once() -> None:
    before = {"a.b": 1, "a": {"b": 1}}
    assert changed(before, {"a.b": 2, "a": {"b": 2}}) == "a.b"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(OBJECTS)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert changed(value, value) == ""


@given(OBJECTS, OBJECTS)
def test_what_differs_is_the_same_from_both_sides(one: Any, other: Any) -> None:
    assert changed(one, other) == changed(other, one)


@given(OBJECTS, OBJECTS)
def test_the_fields_at_the_top_are_those_that_differ(one: Any, other: Any) -> None:
    named = {name.split(".")[0] for name in changed(one, other).split(", ") if name}
    differing = {
        name for name in one.keys() | other.keys() if text(one.get(name)) != text(other.get(name))
    }
    assert named <= differing
    plain = {
        name
        for name in differing
        if not isinstance(one.get(name), dict | list | None)
        or not isinstance(other.get(name), dict | list | None)
    }
    assert plain <= named
