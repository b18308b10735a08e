"""Bounds: no answer, however it is packed or shaped, takes more memory or time than it may."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest

from etl.api import Client, pages
from etl.api.body import CODINGS
from etl.errors import ApiContractError, ApiError, ApiRefused, TransientApiError
from etl.settings import Secret, Source
from tests.http_server import Reply, serve

JOBS = "/fine_tuning/jobs"
MEGABYTE = 1024 * 1024
GZIP = {"Content-Encoding": "gzip"}


def get(reply: Reply, **changes: Any) -> bytes:
    """Read this answer, in one try."""
    given = {"api_key": Secret("KEY", "sk-1"), "max_attempts": 1, **changes}
    with serve([reply]) as server, Client(Source(base_url=server.url, **given)) as client:
        return client.get(JOBS).body


def failure_of(reply: Reply, **changes: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        get(reply, **changes)
    return caught.value


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A quarter of a megabyte that unpacks to 256."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    zeros = bytes(MEGABYTE)
    return b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()


def measured(reply: Reply, **changes: Any) -> tuple[ApiError, int]:
    """The failure that this answer is, and the most bytes that Python held at once."""
    tracemalloc.start()
    try:
        return failure_of(reply, **changes), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_answer_cannot_unpack_to_a_large_one(bomb: bytes) -> None:
    """It is refused when it passes the limit, and nothing near its size was ever in memory."""
    assert len(bomb) < MEGABYTE // 2
    error, peak = measured(Reply(bomb, headers=GZIP), max_response_bytes=MEGABYTE)
    assert isinstance(error, ApiRefused)
    assert "longer than 1,048,576 bytes" in str(error)
    assert peak < 6 * MEGABYTE


def test_nor_in_chunks(bomb: bytes) -> None:
    """A server that names no length may send as many as it likes."""
    chunks = tuple(bomb[start : start + 50_000] for start in range(0, len(bomb), 50_000))
    error, peak = measured(Reply(chunks=chunks, headers=GZIP), max_response_bytes=MEGABYTE)
    assert isinstance(error, ApiRefused)
    assert peak < 6 * MEGABYTE


def test_nor_as_the_text_of_a_failure(bomb: bytes) -> None:
    """The begin of it is enough to understand it."""
    error, peak = measured(Reply(bomb, status=500, headers=GZIP))
    assert error.exchange.status == 500
    assert peak < 6 * MEGABYTE


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,gzip,gzip,gzip", "br", "zstd", "compress"])
def test_only_what_was_asked_for_is_unpacked(coding: str) -> None:
    """Packed twice, a kilobyte may be a gigabyte; other codings may do so by themselves."""
    body = gzip.compress(gzip.compress(b'{"data": []}'))
    error = failure_of(Reply(body, headers={"Content-Encoding": coding}))
    assert isinstance(error, TransientApiError)
    assert "cannot be unpacked" in str(error)


def test_it_asks_for_nothing_else() -> None:
    with (
        serve([Reply(b"{}")]) as server,
        Client(Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))) as client,
    ):
        client.get(JOBS)
    assert server.seen[0].headers["accept-encoding"] == CODINGS == "gzip, deflate"


LONG = b'{"data": [' + b'"0123456789",' * 30_000 + b"0]}"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(LONG)),
        ("x-gzip", gzip.compress(LONG)),
        ("GZIP", gzip.compress(LONG)),
        ("deflate", zlib.compress(LONG)),
        ("identity", LONG),
        ("gzip", gzip.compress(LONG[:100]) + gzip.compress(LONG[100:])),
    ],
    ids=["gzip", "x-gzip", "GZIP", "deflate", "identity", "two behind each other"],
)
def test_what_is_unpacked_is_whole(coding: str, body: bytes) -> None:
    headers = {"Content-Encoding": coding}
    assert get(Reply(body, headers=headers)) == LONG
    chunks = tuple(body[start : start + 7] for start in range(0, len(body), 7))
    assert get(Reply(chunks=chunks, headers=headers)) == LONG


def test_a_packed_answer_without_a_body_is_empty() -> None:
    assert get(Reply(b"", headers=GZIP)) == b""


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_packed_answer_that_ends_early_is_not_taken_for_the_whole(kept: float) -> None:
    """Its last chunk came, so only the packing itself can tell."""
    body = gzip.compress(LONG)
    error = failure_of(Reply(chunks=(body[: int(len(body) * kept)],), headers=GZIP))
    assert isinstance(error, TransientApiError)
    assert "cannot be unpacked" in str(error)


def test_something_behind_the_packed_answer_is_not_passed_over() -> None:
    assert "cannot be unpacked" in str(failure_of(Reply(gzip.compress(b"{}") + b"?", headers=GZIP)))


def test_an_answer_without_end_is_left_at_the_limit() -> None:
    """In chunks, of which no length tells how many will come."""
    endless = Reply(chunks=(bytes(65_536),) * 400)
    error, peak = measured(endless, max_response_bytes=MEGABYTE)
    assert "longer than 1,048,576 bytes" in str(error)
    assert peak < 6 * MEGABYTE


@pytest.mark.parametrize(
    "headers",
    [{f"x-{number}": "v" for number in range(500)}, {"x-long": "v" * 100_000}],
    ids=["many", "long"],
)
def test_a_flood_of_headers_is_a_failure(headers: dict[str, str]) -> None:
    error = failure_of(Reply(b"{}", headers=headers))
    assert isinstance(error, TransientApiError)
    assert len(str(error)) < 300


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"object":"list","data":[' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"error":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"data":[],"has_more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["lists", "objects", "a record without end", "errors", "has_more"],
)
def test_a_page_nested_a_hundred_thousand_deep_is_an_error(status: int, body: bytes) -> None:
    """Of the API, with a sentence, and not of Python's stack."""
    with serve([Reply(body, status=status)]) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"), max_attempts=1)
        with Client(source) as client, pytest.raises(ApiError) as caught:
            list(pages(client, JOBS))
    assert isinstance(caught.value, ApiContractError if status == 200 else TransientApiError)
    assert len(str(caught.value)) < 500


def test_one_record_that_is_nested_deep_does_not_take_the_others() -> None:
    deep = b'{"id":"ftjob-2","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    body = b'{"object":"list","data":[{"id":"ftjob-1"},%s,{"id":"ftjob-3"}],"has_more":false}'
    with (
        serve([Reply(body % deep)]) as server,
        Client(Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))) as client,
    ):
        (page,) = pages(client, JOBS)
    assert page.ids == ["ftjob-1", "ftjob-2", "ftjob-3"]
    assert page.items[1] == deep


def test_a_page_of_ever_so_many_items_is_bounded_by_its_bytes() -> None:
    """And where it may be that long, it is a page as any other."""
    body = b'{"data":[' + b"{}," * 299_999 + b'{}],"has_more":false}'
    assert isinstance(failure_of(Reply(body), max_response_bytes=MEGABYTE // 2), ApiRefused)
    with (
        serve([Reply(body)]) as server,
        Client(Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))) as client,
    ):
        (page,) = pages(client, JOBS)
    assert len(page.items) == 300_000
