"""JSON as it was written: slices, literals, what is refused and why, the canonical form."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import jsontext
from etl.jsontext import ListPage, NotJson, Number, WrongShape

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)

texts = st.text(st.characters(codec=None), max_size=12)
#: Numbers with a fraction as the decoder gives them, with the literal they were written as.
fractions = st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
numbers = fractions.filter(lambda text: not text.lstrip("-").isdigit()).map(Number)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
spaces = st.text(" \t\r\n", max_size=3)


def written(value: Any, *, ascii_only: bool = True) -> str:
    """JSON text by hand, numbers by their literals."""
    if isinstance(value, dict):
        members = (
            f"{written(name, ascii_only=ascii_only)}:{written(item, ascii_only=ascii_only)}"
            for name, item in value.items()
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(item, ascii_only=ascii_only) for item in value) + "]"
    return value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=ascii_only)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, numbers in their literals."""
    if isinstance(one, Number) and isinstance(other, Number):
        return one.text == other.text
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def shuffled(value: Any, draw: Any) -> str:
    """The same value in another order and with other white space."""

    def pad() -> str:
        return str(draw(spaces))

    if isinstance(value, dict):
        members = draw(st.permutations(list(value.items())))
        inner = (f"{pad()}{json.dumps(k)}{pad()}:{shuffled(v, draw)}" for k, v in members)
        return f"{pad()}{{{','.join(inner) or pad()}}}{pad()}"
    if isinstance(value, list):
        return f"{pad()}[{','.join(shuffled(item, draw) for item in value) or pad()}]{pad()}"
    return f"{pad()}{written(value)}{pad()}"


# decode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"null", None),
        (b" true\r\n", True),
        (b"0", 0),
        (b"-7", -7),
        (b"18446744073709551616", 18446744073709551616),
        (b"-123456789012345678901234567890", -123456789012345678901234567890),
        (b'""', ""),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('"\U0001f600"'.encode(), "\U0001f600"),
        (b'"\\u0000"', "\x00"),
        (b'"\\ud800"', "\ud800"),
        (b'["\\udfff", "\\ud800\\ud800"]', ["\udfff", "\ud800\ud800"]),
        (b'{"a" : [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        (b'{"a":{"x":1},"b":{"x":1}}', {"a": {"x": 1}, "b": {"x": 1}}),
        (b'{"a":"a","b":["a","a"]}', {"a": "a", "b": ["a", "a"]}),
    ],
)
def test_decodes(text: bytes, expected: Any) -> None:
    assert jsontext.decode(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1.0),
        ("-0.0", -0.0),
        ("1e5", 100000.0),
        ("1E+2", 100.0),
        ("0.10", 0.1),
        ("1e400", math.inf),
        ("-1e400", -math.inf),
        ("1e-400", 0.0),
        ("1.00000000000000000000000000001", 1.0),
    ],
)
def test_a_number_with_a_fraction_keeps_its_literal(text: str, value: float) -> None:
    for found in (
        jsontext.decode(text.encode()),
        # A lone surrogate beside it takes the slow way.
        jsontext.decode(f'["\\ud800",{text}]'.encode())[1],
        pickle.loads(pickle.dumps(jsontext.decode(text.encode()))),
    ):
        assert found == value
        assert isinstance(found, Number)
        assert found.text == text
        assert jsontext.literal(found) == text
    assert jsontext.literal(12) == "12"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"a":1}x', "Extra data: line 1 column 8 (char 7)"),
        (b"[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)"),
        (b"01", "Extra data: line 1 column 2 (char 1)"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a":[Infinity]}', "Infinity is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'["\\ud800",NaN]', "NaN is not JSON"),
        (b'"a\xff"', "byte 2 is not UTF-8"),
        (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),  # a surrogate in bytes, which is no UTF-8
        (b'"\xc3"', "byte 1 is not UTF-8"),
        (b'"\x01"', "Invalid control character at: line 1 column 2 (char 1)"),
        (b'"\\x"', "Invalid \\escape: line 1 column 2 (char 1)"),
        (b"9" * 5000, "a whole number of absurd length"),
        (b"'a'", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_no_json_says_why(text: bytes, reason: str) -> None:
    with pytest.raises(NotJson) as caught:
        jsontext.decode(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a" :1, "a"\t:2}',
        b'{"a":1,"\\u0061":2}',
        b'{"b":[{"c":{"a":1,"a":2}}]}',
        b'{"a":"\\"","a":"b"}',
        b'{"a":{"x":1},"b":2,"a":{"x":1}}',
        b'{"a":1.0,"a":null,"z":"\\ud800"}',
    ],
)
def test_one_key_twice_is_refused_however_it_is_spelled(text: bytes) -> None:
    with pytest.raises(NotJson, match=r"^the key 'a' stands twice in one object$"):
        jsontext.decode(text)


def test_a_key_twice_is_named_in_short() -> None:
    name = "x" * 500
    with pytest.raises(NotJson, match=f"^the key '{'x' * 80}' stands twice in one object$"):
        jsontext.decode(f'{{"{name}":1,"{name}":2}}'.encode())


def test_nesting_ends_at_256_levels() -> None:
    deep = b"[" * 256 + b"]" * 256
    assert jsontext.decode(deep) is not None
    for text in (b"[" + deep + b"]", b'{"a":' * 257 + b"1" + b"}" * 257, b"[" * 100_000):
        with pytest.raises(NotJson, match=r"^nested deeper than 256 levels$"):
            jsontext.decode(text)


def test_many_brackets_side_by_side_or_in_text_are_not_deep() -> None:
    assert len(jsontext.decode(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000
    assert jsontext.decode(b'"' + b"[" * 1000 + b'\\""') == "[" * 1000 + '"'


def test_a_string_without_an_end_costs_no_more_than_its_length() -> None:
    """Escaped quotes and brackets in a text that was cut: looked at once, not once for each."""
    began = time.monotonic()
    with pytest.raises(NotJson, match=r"^Unterminated string"):
        jsontext.decode(b'{"a":"' + b'\\"[' * 500_000)
    assert time.monotonic() - began < 2


def test_ten_megabytes_of_text() -> None:
    assert jsontext.decode(b'{"m":"' + b"x" * 10_000_000 + b'"}')["m"] == "x" * 10_000_000


# the canonical form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{ "b": 1,\n "a": [1, 2] }', b'{"a":[1,2],"b":1}'),
        (b"1", b"1"),
        (b"1.0", b"1.0"),
        (b"1.00", b"1.00"),
        (b"1E5", b"1E5"),
        (b"1e400", b"1e400"),
        (b'"\\u00e9"', b'"\xc3\xa9"'),
        (b'"\xc3\xa9"', b'"\xc3\xa9"'),
        (b'"\\/\\u002f"', b'"//"'),
        (b'{"b":{"d":1,"c":2},"a":null}', b'{"a":null,"b":{"c":2,"d":1}}'),
    ],
)
def test_the_canonical_form(text: bytes, expected: bytes) -> None:
    assert jsontext.canonical(jsontext.decode(text)) == expected


def test_lone_surrogates_have_a_canonical_form_that_no_other_value_has() -> None:
    texts = [
        b'"\\ud800"',
        b'"\\ud801"',
        b'"\\uffffd800"',
        b'"\\ufffd"',
        b'["\\ud800","\\uffffd800"]',
        b'["\\uffffd800","\\ud800"]',
        b'{"\\ud800":1,"\\uffffd800":2}',
        b'{"\\ud800":2,"\\uffffd800":1}',
        b'"\\ud800\\uffff"',
        b'"\\uffff\\ud800"',
    ]
    assert len({jsontext.canonical(jsontext.decode(text)) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"b": 1.50, "a": "\\u00e9"}', '{"b":1.50,"a":"é"}'),
        (b'"a\\u0000b\\u0000\\u0000"', '"a\ufffdb\ufffd\ufffd"'),
        (b'"\\\\u0000"', '"\\\\u0000"'),
        (b'"\\\\\\u0000"', '"\\\\\ufffd"'),
        (b'{"\\ud800": "\\udfff"}', '{"\ufffd":"\ufffd"}'),
        (b'"\\ud800\\u0000\\\\u0000"', '"\ufffd\ufffd\\\\u0000"'),
    ],
)
def test_the_text_of_a_json_column_can_be_stored(text: bytes, expected: str) -> None:
    assert jsontext.compact(jsontext.decode(text)) == expected


@SETTINGS
@given(values)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    assert same(jsontext.decode(written(value).encode()), value)
    stored = jsontext.compact(value)
    if "\ufffd" not in stored:
        assert same(jsontext.decode(stored.encode()), value)


@SETTINGS
@given(values, st.data())
def test_canonical_knows_neither_order_nor_white_space(value: Any, data: st.DataObject) -> None:
    other = shuffled(value, data.draw).encode()
    assert jsontext.canonical(jsontext.decode(other)) == jsontext.canonical(value)


@SETTINGS
@given(values, values)
def test_canonical_differs_where_values_do(one: Any, other: Any) -> None:
    assert (jsontext.canonical(one) == jsontext.canonical(other)) == same(one, other)


# the id of a record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"x":1,"id":"a"}', "a"),
        (b'{"id":"\\u0061"}', "a"),
        (b'{"id":""}', ""),
        (b'{"x":{"id":"inner"},"id":"outer"}', "outer"),
        (b'{"x":{"id":"inner"}}', None),
        (b'{"id":5}', None),
        (b'{"id":null}', None),
        (b'{"id":"\\ud800"}', None),
        (b'["id","a"]', None),
        (b'"id"', None),
        (b"", None),
        (b"{", None),
        # Broken elsewhere: which record it is can still be told.
        (b'{"id":"a","x":NaN}', "a"),
        (b'{"x":NaN,"id":"a"}', "a"),
        (b'{"id":"a",}', "a"),
        (b'{"id":"a","x":"\xff"}', "a"),
        (b'{"id":"a","x":"\\ud800"}', "a"),
        (b'{"x":' + b"[" * 1000 + b"]" * 1000 + b',"id":"a"}', "a"),
        (b'{"id":"\xff"}', None),
        (b'{"id":NaN}', None),
        (b'{"x":1 "id":"a"}', None),
    ],
)
def test_the_id_of_a_record(text: bytes, expected: str | None) -> None:
    assert jsontext.item_id(text) == expected


# cutting lists


def test_slices_are_exact_bytes() -> None:
    body = (
        b' { "data" : [ {"id" : "a", "x": 1.0} ,\n{"id":"b","y":"\\u00e9"}\t] , "has_more":true } '
    )
    assert jsontext.split_list(body) == ListPage(
        [b'{"id" : "a", "x": 1.0}', b'{"id":"b","y":"\\u00e9"}'], has_more=True
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"data":[]}', ListPage([], None)),
        (b'{"data":[ ],"has_more":false,"next_page":null}', ListPage([], False)),
        (b'{"data":[1,"a",null,[{}]]}', ListPage([b"1", b'"a"', b"null", b"[{}]"], None)),
        (b'{"data":[],"next_page":"p2"}', ListPage([], None, "p2")),
        (b'\xef\xbb\xbf{"data":[{}]}', ListPage([b"{}"], None)),
        (b'{"data":[{"data":[1]}],"x":{"data":2}}', ListPage([b'{"data":[1]}'], None)),
        (b'{"data":["\\"",{}],"x\\"y":1}', ListPage([b'"\\""', b"{}"], None)),
    ],
)
def test_cuts_a_list(body: bytes, expected: ListPage) -> None:
    assert jsontext.split_list(body) == expected


BROKEN = {
    "nan": b'{"id":"x","v":NaN}',
    "infinity": b'{"id":"x","v":-Infinity}',
    "lone surrogate": b'{"id":"x","v":"\\ud800"}',
    "nesting": b'{"id":"x","v":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "not utf-8": b'{"id":"x","v":"\xff\xfe"}',
    "trailing comma": b'{"id":"x",}',
    "no value": b'{"id":"x","v":}',
    "single quotes": b"{'id':'x'}",
    "control character": b'{"id":"x","v":"\x00\n"}',
    "key twice": b'{"id":"x","id":"x"}',
    "brackets in text": b'{"id":"x","v":"]}],[{","w":NaN}',
    "escaped quotes": b'{"id":"x","v":"\\\\\\"]","w":NaN}',
    "ten megabytes": b'{"id":"x","v":"' + b"x" * 10_000_000 + b'","w":NaN}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_takes_no_neighbour_with_it(name: str) -> None:
    body = b'{"data": [{"id":"a"}, ' + BROKEN[name] + b' , {"id":"b"}],"has_more":true}'
    found = jsontext.split_list(body)
    assert found == ListPage([b'{"id":"a"}', BROKEN[name], b'{"id":"b"}'], has_more=True)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"", NotJson, "the answer is empty"),
        (b" \r\n", NotJson, "the answer is empty"),
        (b"<!DOCTYPE html><html></html>", NotJson, "the answer is HTML or XML, not JSON"),
        (b"upstream error", NotJson, "the answer is not a JSON object"),
        (b'{"data":[{"id":"a"},{"id":', NotJson, "the text ends in the middle of a value"),
        (b'{"data":[{"id":"a', NotJson, "the text ends in the middle of a value"),
        (b'{"data":[]}{"data":[]}', NotJson, "byte 11: something follows after the end"),
        (b'{"data":[{"id":"a"}] "x":NaN}', NotJson, None),
        (b"[]", WrongShape, "the answer is JSON, but not an object"),
        (b"5", WrongShape, "the answer is JSON, but not an object"),
        (b"{}", WrongShape, None),
        (b'{"data":null}', WrongShape, None),
        (b'{"data":{"id":"a"}}', WrongShape, None),
        (b'{"error":{"message":"no"}}', WrongShape, None),
        (b'{"x":NaN}', WrongShape, "the answer has no list under `data`"),
        (b'{"data":5,"x":NaN}', WrongShape, None),
        (b'{"data":[],"has_more":"yes"}', WrongShape, "`has_more` is neither true nor false"),
        (b'{"data":[NaN],"has_more":1}', WrongShape, "`has_more` is neither true nor false"),
        (b'{"data":[],"next_page":5}', WrongShape, "`next_page` is not a string"),
        (b'{"data":[1],"data":[2]}', WrongShape, "the key 'data' stands twice in the answer"),
        (b'{"data":[1],"data":[NaN]}', WrongShape, "the key 'data' stands twice in the answer"),
        (b'{"data":[1],"data":[1]}', WrongShape, "the key 'data' stands twice in the answer"),
        (
            b'{"a":{"data":[1]},"a":{"data":[1]},"data":[1]}',
            WrongShape,
            "the key 'a' stands twice in the answer",
        ),
        (
            b'{"k[1]":0,"k[1]":0,"data" : [1]}',
            WrongShape,
            "the key 'k[1]' stands twice in the answer",
        ),
        (b'{"data":[1],"d\\u0061ta":[]}', WrongShape, "the key 'data' stands twice in the answer"),
        (
            b'{"data":[],"has_more":true,"has_more":false}',
            WrongShape,
            "the key 'has_more' stands twice in the answer",
        ),
    ],
)
def test_what_is_no_list_says_why(body: bytes, kind: type[Exception], reason: str | None) -> None:
    with pytest.raises(kind) as caught:
        jsontext.split_list(body)
    if reason is not None:
        assert str(caught.value) == reason


@SETTINGS
@given(st.lists(values, max_size=5), st.sampled_from([b"", b"NaN", b'{"a":1,}']), st.data())
def test_a_list_is_cut_into_what_it_was_built_from(
    items: list[Any], broken: bytes, data: st.DataObject
) -> None:
    """Also where one of the items is broken, which takes the slow way."""
    slices = [written(item).encode() for item in items] + ([broken] if broken else [])
    padded = [data.draw(spaces).encode() + one + data.draw(spaces).encode() for one in slices]
    body = b'{"object":"list","data":[' + b",".join(padded) + b'],"has_more":false}'
    assert jsontext.split_list(body).items == slices
    assert jsontext.split_array(b" [" + b",".join(padded) + b"] ") == slices


@SETTINGS
@given(st.binary(max_size=60) | texts.map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_a_list_or_one_of_two_errors(body: bytes) -> None:
    for text in (body, b'{"data":[' + body + b"]}", b'{"data":[{' + body):
        with contextlib.suppress(NotJson, WrongShape):
            assert isinstance(jsontext.split_list(text), ListPage)
        with contextlib.suppress(NotJson):
            jsontext.decode(text)
        jsontext.item_id(text)
        jsontext.value_end(text)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b'{"a":[1]}', 9),
        (b' [1] {"b"', 4),
        (b'{"a":"}"', None),
        (b"[[1]", None),
        (b"5", None),
        (b"", None),
    ],
)
def test_where_a_value_ends(text: bytes, end: int | None) -> None:
    assert jsontext.value_end(text) == end


@pytest.mark.parametrize("text", [b"[1", b"[1] 2", b'["a]'])
def test_an_array_without_an_end_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        jsontext.split_array(text)
