"""A record's value, its two digests, and payloads as text that every database stores."""

from __future__ import annotations

import os
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import RecordError
from etl.record import COMPRESS_FROM, Origin, Record, pack, unpack

ORIGIN = Origin("default", "openai", "openai", "proj_1")


def record(payload: bytes) -> Record:
    return Record("jobs", "a", payload, ORIGIN)


def test_the_value_of_a_record() -> None:
    assert record(b'{"id": "a"}').value == {"id": "a"}
    with pytest.raises(RecordError, match=r"^not JSON: NaN is not JSON$"):
        _ = record(b'{"id": "a", "x": NaN}').value


def test_equal_bytes_have_equal_digests() -> None:
    one = record(b'{"id": "a", "n": 1}')
    assert one.digest == record(b'{"id": "a", "n": 1}').digest
    assert one.digest != record(b'{"id": "a", "n":1}').digest


def test_equal_values_have_equal_canonical_digests() -> None:
    one = record(b'{"id": "a", "n": 1, "t": "\\u00e9"}').canonical_digest
    assert one == record(b'{"t":"\xc3\xa9","n":1,"id":"a"}').canonical_digest
    assert one != record(b'{"t":"\xc3\xa9","n":1.0,"id":"a"}').canonical_digest


def test_digests_cover_parent_and_project_and_nothing_else() -> None:
    one = record(b"{}")
    for other in (
        msgspec.structs.replace(one, parent_id="p"),
        msgspec.structs.replace(one, origin=replace(ORIGIN, project_id=None)),
        msgspec.structs.replace(one, origin=replace(ORIGIN, project_id="proj_2")),
    ):
        assert other.digest != one.digest
        assert other.canonical_digest != one.canonical_digest
    for other in (
        msgspec.structs.replace(one, origin=Origin("other", "azure", "elsewhere", "proj_1")),
        msgspec.structs.replace(one, id="b", position=4),
    ):
        assert other.digest == one.digest
        assert other.canonical_digest == one.canonical_digest


@pytest.mark.parametrize(
    ("payload", "text", "encoding"),
    [
        (b"", "", "text"),
        (b'{"id": "\xc3\xa9"}', '{"id": "é"}', "text"),
        (b'{"id": "\\u0000\\ud800"}', '{"id": "\\u0000\\ud800"}', "text"),
        (b"a\x00b", "YQBi", "base64"),
        (b"\xff\xfe", "//4=", "base64"),
    ],
)
def test_a_payload_as_text(payload: bytes, text: str, encoding: str) -> None:
    assert pack(payload) == (text, encoding)
    assert unpack(text, encoding) == payload


def test_large_payloads_are_compressed_where_that_helps() -> None:
    small, large = b"x" * (COMPRESS_FROM - 1), b"x" * COMPRESS_FROM
    assert pack(small) == (small.decode(), "text")
    text, encoding = pack(large)
    assert (encoding, len(text) < 100, unpack(text, encoding)) == ("zlib+base64", True, large)
    noise = os.urandom(COMPRESS_FROM)
    text, encoding = pack(noise)
    assert (encoding, unpack(text, encoding)) == ("base64", noise)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=50), st.sampled_from([1, 2000]))
def test_any_bytes_come_back(payload: bytes, times: int) -> None:
    text, encoding = pack(payload * times)
    assert "\x00" not in text
    assert unpack(text, encoding) == payload * times
