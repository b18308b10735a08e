"""Reading softly: right values, values that can be folded, hopeless ones, and what is noted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import jsontext
from etl.errors import RecordError
from etl.fields import LAST_SECOND, Drift, Fields, clean, example, is_empty, key, moment

INT64_MAX = 9223372036854775807
LAST = "9999-12-31 23:59:59"
YEAR_2024 = "2024-01-01 00:00:00"


def fields(text: str, path: str = "") -> tuple[Fields, list[Drift]]:
    """The field `x` with this JSON text, and where drift is noted."""
    notes: list[Drift] = []
    return Fields(jsontext.decode(f'{{"x":{text}}}'.encode()), notes, path), notes


def read(reader: str, text: str, **how: Any) -> tuple[Any, list[tuple[str, str]]]:
    """What a reader makes of a value, and the kind and example of what it notes."""
    found, notes = fields(text)
    value = getattr(found, reader)("x", **how)
    assert {note.path for note in notes} <= {"x"}
    return value, [(note.kind, note.example) for note in notes]


EMPTY = ["null", "{}", "[]"]


@pytest.mark.parametrize("text", EMPTY)
@pytest.mark.parametrize("reader", ["raw", "text", "integer", "boolean", "moment", "json"])
def test_nothing_is_nothing_and_not_noted(reader: str, text: str) -> None:
    assert read(reader, text) == (None, [])


@pytest.mark.parametrize(
    ("text", "value", "noted"),
    [
        ('"a"', "a", []),
        ('""', "", []),
        ('" \\u00e9\\ud83d\\ude00"', " é\U0001f600", []),
        ("5", "5", [("wrong_type", "5")]),
        ("1.50", "1.50", [("wrong_type", "1.50")]),
        ("false", "false", [("wrong_type", "false")]),
        ('{"b": [1, "c"]}', '{"b":[1,"c"]}', [("wrong_type", '{"b":[1,"c"]}')]),
        ('["a\\u0000"]', '["a\ufffd"]', [("wrong_type", '["a\ufffd"]')]),
        ('"a\\u0000b"', "a\ufffdb", [("replaced_characters", "a\ufffdb")]),
        ('"\\ud800\\udbff"', "\ufffd\ufffd", [("replaced_characters", "\ufffd\ufffd")]),
        ('"\\ufffd"', "\ufffd", []),
    ],
)
def test_text(text: str, value: str, noted: list[tuple[str, str]]) -> None:
    assert read("text", text) == (value, noted)
    assert read("text", text, length=len(value)) == (value, noted)


def test_a_text_that_is_too_long_is_never_cut() -> None:
    assert read("text", '"12345678"', length=8) == ("12345678", [])
    assert read("text", '"' + "\U0001f600" * 8 + '"', length=8) == ("\U0001f600" * 8, [])
    assert read("text", '"123456789"', length=8) == (None, [("too_long", "123456789")])
    assert read("text", "123456789", length=8) == (
        None,
        [("wrong_type", "123456789"), ("too_long", "123456789")],
    )


@pytest.mark.parametrize(
    ("text", "value", "noted"),
    [
        ("5", 5, []),
        ("-5", -5, []),
        ("0", 0, []),
        (str(INT64_MAX), INT64_MAX, []),
        (str(-INT64_MAX - 1), -INT64_MAX - 1, []),
        (str(INT64_MAX + 1), None, [("out_of_range", "9223372036854775808")]),
        ("-" + "9" * 30, None, [("out_of_range", "-" + "9" * 30)]),
        ("5.0", 5, [("wrong_type", "5.0")]),
        ("5e2", 500, [("wrong_type", "5e2")]),
        ("5.5", None, [("wrong_type", "5.5")]),
        ("1e300", None, [("wrong_type", "1e300"), ("out_of_range", "1e300")]),
        ("1e400", None, [("wrong_type", "1e400")]),
        ('"5"', 5, [("wrong_type", "5")]),
        ('"-5"', -5, [("wrong_type", "-5")]),
        (
            '"9999999999999999999"',
            None,
            [("wrong_type", "9" * 19), ("out_of_range", "9" * 19)],
        ),
        ('"' + "9" * 20 + '"', None, [("wrong_type", "9" * 20)]),
        ('"5.0"', None, [("wrong_type", "5.0")]),
        ('"\\u0665"', None, [("wrong_type", "\u0665")]),
        ('"auto"', None, [("wrong_type", "auto")]),
        ("true", None, [("wrong_type", "true")]),
        ("[5]", None, [("wrong_type", "[5]")]),
    ],
)
def test_integer(text: str, value: int | None, noted: list[tuple[str, str]]) -> None:
    found = read("integer", text)
    assert found == (value, noted)
    assert type(found[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "value", "noted"),
    [
        ("true", True, []),
        ("false", False, []),
        ("1", True, [("wrong_type", "1")]),
        ("0", False, [("wrong_type", "0")]),
        ("1.0", True, [("wrong_type", "1.0")]),
        ('"0"', False, [("wrong_type", "0")]),
        ('"1"', True, [("wrong_type", "1")]),
        ('"True"', True, [("wrong_type", "True")]),
        ('"FALSE"', False, [("wrong_type", "FALSE")]),
        ('"yes"', None, [("wrong_type", "yes")]),
        ("2", None, [("wrong_type", "2")]),
        ("[true]", None, [("wrong_type", "[true]")]),
        ('{"a": 1}', None, [("wrong_type", '{"a":1}')]),
    ],
)
def test_boolean(text: str, value: bool | None, noted: list[tuple[str, str]]) -> None:
    assert read("boolean", text) == (value, noted)


@pytest.mark.parametrize(
    ("text", "value", "noted"),
    [
        ("1704067200", YEAR_2024, []),
        ("1", "1970-01-01 00:00:01", []),
        ("4102444800", "2100-01-01 00:00:00", []),
        ("253402300799", LAST, []),
        ("253402300800", None, [("out_of_range", "253402300800")]),
        ("0", None, [("out_of_range", "0")]),
        ("-5", None, [("out_of_range", "-5")]),
        ("9" * 400, None, [("out_of_range", "9" * 200)]),
        # Milliseconds: no guessing.
        ("1704067200000", None, [("out_of_range", "1704067200000")]),
        (
            '"1704067200000"',
            None,
            [("wrong_type", "1704067200000"), ("out_of_range", "1704067200000")],
        ),
        # Milliseconds of 2033 that could be taken for a time of the year 2001.
        (
            '"2001010110000"',
            None,
            [("wrong_type", "2001010110000"), ("out_of_range", "2001010110000")],
        ),
        ("1704067200.0", YEAR_2024, [("wrong_type", "1704067200.0")]),
        (
            "1704067200.25",
            "2024-01-01 00:00:00.250000",
            [("wrong_type", "1704067200.25")],
        ),
        ("1e400", None, [("wrong_type", "1e400"), ("out_of_range", "1e400")]),
        ('"1704067200"', YEAR_2024, [("wrong_type", "1704067200")]),
        ('"1704067200.0"', YEAR_2024, [("wrong_type", "1704067200.0")]),
        ('"-1"', None, [("wrong_type", "-1"), ("out_of_range", "-1")]),
        ('"0"', None, [("wrong_type", "0"), ("out_of_range", "0")]),
        ('"2024-01-01T00:00:00Z"', YEAR_2024, [("wrong_type", "2024-01-01T00:00:00Z")]),
        ('"2024-01-01 00:00:00"', YEAR_2024, [("wrong_type", "2024-01-01 00:00:00")]),
        (
            '"2024-01-01T02:00:00+02:00"',
            YEAR_2024,
            [("wrong_type", "2024-01-01T02:00:00+02:00")],
        ),
        ('"2024-01-01"', YEAR_2024, [("wrong_type", "2024-01-01")]),
        (
            '"1960-01-01"',
            None,
            [("wrong_type", "1960-01-01"), ("out_of_range", "1960-01-01")],
        ),
        (
            '"0001-01-01T00:00:00+23:59"',
            None,
            [
                ("wrong_type", "0001-01-01T00:00:00+23:59"),
                ("out_of_range", "0001-01-01T00:00:00+23:59"),
            ],
        ),
        ('"yesterday"', None, [("wrong_type", "yesterday")]),
        ('""', None, [("wrong_type", "")]),
        ("true", None, [("wrong_type", "true")]),
        ('{"seconds": 1}', None, [("wrong_type", '{"seconds":1}')]),
    ],
)
def test_moment(text: str, value: str | None, noted: list[tuple[str, str]]) -> None:
    assert read("moment", text) == (value, noted)


def test_zero_means_no_time_where_the_api_means_so() -> None:
    assert read("moment", "0", zero_is_none=True) == (None, [])
    assert read("moment", "-1", zero_is_none=True) == (None, [("out_of_range", "-1")])


def test_objects_and_arrays_name_where_they_are() -> None:
    found, notes = fields('{"b": {"c": "no"}, "d": "e"}', path="top")
    inner = found.object("x")
    assert inner
    assert inner.object("b").integer("c") is None
    assert not inner.object("d")
    assert inner.array("d") == []
    assert not inner.object("missing")
    assert inner.array("missing") == []
    assert notes == [
        Drift("top.x.b.c", "wrong_type", "no"),
        Drift("top.x.d", "wrong_type", "e"),
        Drift("top.x.d", "wrong_type", "e"),
    ]


def test_an_object_of_nothing_is_empty() -> None:
    assert not Fields({"a": None, "b": {}, "c": []}, [])
    assert Fields({"a": None, "b": 0}, [])


def test_json() -> None:
    stored = '{"a":[1.0,"\ufffd",true]}'
    assert read("json", '{"a": [1.0, "\\u0000", true]}') == (
        stored,
        [("replaced_characters", stored)],
    )
    assert read("json", '{"a\\ud800": 1}') == (
        '{"a\ufffd":1}',
        [("replaced_characters", '{"a\ufffd":1}')],
    )
    assert read("json", '"a"') == ('"a"', [])


def test_the_rest_is_what_holds_something_and_was_not_asked_for() -> None:
    notes: list[Drift] = []
    found = Fields({"a": 1, "b": 2, "c": None, "d": {}, "e": [], "f": 0, "": ""}, notes, "p")
    found.integer("a")
    found.rest()
    assert notes == [
        Drift("p.b", "unknown_field", "2"),
        Drift("p.f", "unknown_field", "0"),
        Drift("p.", "unknown_field", ""),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("x" * 300, "x" * 200),
        ({"a": [1]}, '{"a":[1]}'),
        (None, "null"),
        ("a\x00\ud800b", "a\ufffd\ufffdb"),
        ("key sk-abcdefgh12345678 end", "key *** end"),
        ("sk-proj-AAAA_bbbb-cccc", "***"),
        ("ghp_0123456789abcdef", "***"),
        ("xoxb-0123456789", "***"),
        ("Authorization: Bearer eyJhbGciOi", "Authorization: ***"),
        ({"api_key": "sk-abcdefgh12345678"}, '{"api_key":"***"}'),
        ("task-management-system", "task-management-system"),
        ("x" * 195 + " sk-" + "a" * 50, "x" * 195 + " ***"),
    ],
)
def test_an_example_is_short_storable_and_shows_no_key(value: Any, shown: str) -> None:
    assert example(value) == shown


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "`id` is missing"),
        ({}, "`id` is missing"),
        ([], "`id` is missing"),
        ("", "`id` is empty"),
        (5, "`id` is no text: 5"),
        (True, "`id` is no text: true"),
        ({"a": "sk-abcdefgh12345678"}, '`id` is no text: {"a":"***"}'),
        ("123456789", "`id` has 9 characters, 8 fit"),
        ("a\x00b", "`id` holds U+0000 or a lone surrogate: a\ufffdb"),
        ("\udfff", "`id` holds U+0000 or a lone surrogate: \ufffd"),
    ],
)
def test_what_cannot_be_a_key_says_why(value: Any, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        key(value, "id", 8)
    assert str(caught.value) == reason


@pytest.mark.parametrize("value", ["a", "A ", "\U0001f600" * 8, "\ufffd", "'; --", "\x1b[2J"])
def test_a_key_stays_as_it_is(value: str) -> None:
    assert key(value, "id", 8) == value
    assert Fields({"id": value}, []).key("id", 8) == value


def test_a_key_names_its_path() -> None:
    with pytest.raises(RecordError, match=r"^`inner\.id` is missing$"):
        Fields({}, [], "inner").key("id", 8)


@pytest.mark.parametrize(
    ("value", "empty"),
    [
        (None, True),
        ({}, True),
        ([], True),
        (0, False),
        ("", False),
        (False, False),
        ([None], False),
    ],
)
def test_what_says_nothing(value: Any, empty: bool) -> None:
    assert is_empty(value) is empty


def test_what_no_database_stores_is_replaced() -> None:
    assert clean("a\x00\ud800\udfff\x01\U0001f600") == "a\ufffd\ufffd\ufffd\x01\U0001f600"


def number(value: float) -> Any:
    return jsontext.decode(repr(value).encode())


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,4})?(e[0-9]{1,3})?", fullmatch=True)
    | st.datetimes(timezones=st.none() | st.just(UTC)).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(number)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(anything)
def test_whatever_comes_fits_its_column(value: Any) -> None:
    notes: list[Drift] = []
    found = Fields({"x": value}, notes)
    text = found.text("x", 10)
    assert text is None or (len(text) <= 10 and text.encode() and "\x00" not in text) or text == ""
    whole = found.integer("x")
    assert whole is None or (type(whole) is int and -INT64_MAX - 1 <= whole <= INT64_MAX)
    assert found.boolean("x") in (None, True, False)
    moment = found.moment("x")
    assert moment is None or "1970-01-01 00:00:00" <= moment <= f"{LAST}.999999"
    assert moment is None or str(datetime.fromisoformat(moment)) == moment
    stored = found.json("x")
    assert stored is None or json.loads(stored.encode().decode()) is not None
    for note in notes:
        assert len(note.example) <= 200
        assert "\x00" not in note.example
        assert note.example.encode() is not None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, LAST_SECOND) | st.integers(1, 4_000).map(lambda day: day * 86_400 - 1))
def test_a_moment_is_written_as_the_calendar_has_it(seconds: int) -> None:
    written = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert moment(seconds) == written.rjust(19, "0")
    assert moment(float(seconds)) == moment(seconds)
