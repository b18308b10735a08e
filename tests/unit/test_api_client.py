"""The client against a real server: what it sends, tries again, and makes of answers."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest

import etl
from etl.api import Client
from etl.api.answers import file_of, object_of, page_of
from etl.api.client import Answer
from etl.errors import (
    ApiContractError,
    ApiRefused,
    ConfigError,
    LongWait,
    SpoiltAnswer,
    TransientApiError,
)
from etl.settings import Secret, Source
from tests.http_server import Reply, Script, Server, serve

JOBS = "/fine_tuning/jobs"
NOW = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
OK = Reply({"object": "list", "data": []})


def source_for(server: Server, **changes: Any) -> Source:
    changes = {"api_key": Secret("OPENAI_API_KEY", "sk-1"), **changes}
    return Source(base_url=server.url, **changes)


@contextmanager
def talking(script: Script, **changes: Any) -> Iterator[tuple[Server, Client, list[float]]]:
    """A server with this script, a client of it, and the waits that the client asked for."""
    waits: list[float] = []
    with (
        serve(script) as server,
        Client(
            source_for(server, **changes),
            sleep=waits.append,
            now=lambda: NOW,
            random=lambda: 0.0,
        ) as client,
    ):
        yield server, client, waits


def test_a_good_answer() -> None:
    """The body byte for byte, with what names the exchange."""
    headers = {"x-request-id": "req_1", "Content-Type": "Application/JSON; charset=utf-8"}
    with talking([Reply(b' {"data": []}\n', headers=headers)]) as (server, client, waits):
        answer = client.get(JOBS, [("limit", "5"), ("metadata[k ö]", "a&b")])
    assert answer.body == b' {"data": []}\n'
    assert answer.content_type == "application/json"
    assert str(answer.exchange) == "GET /fine_tuning/jobs, HTTP 200, request id req_1"
    assert (client.requests, client.retries, waits) == (1, 0, [])
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("GET", "/v1/fine_tuning/jobs")
    assert seen.raw_query == "limit=5&metadata%5Bk+%C3%B6%5D=a%26b"
    assert seen.headers["authorization"] == "Bearer sk-1"
    assert seen.headers["user-agent"] == f"ftmirror/{etl.__version__}"
    assert seen.headers["accept"] == "application/json"


def test_a_path_with_colons_arrives_encoded() -> None:
    """No library on the way decodes or encodes it once more."""
    path = "/fine_tuning/checkpoints/ft%3Am%3Ao%3A%3A1%2F2/permissions"
    admin = Secret("OPENAI_ADMIN_KEY", "sk-admin-1")
    with talking([OK], admin_key=admin) as (server, client, _):
        client.get(path)
    assert server.paths == ["/v1" + path]
    assert server.seen[0].headers["authorization"] == "Bearer sk-admin-1"


@pytest.mark.parametrize(
    "path", ["/models", "/fine_tuning/jobs/{job_id}", "/fine_tuning/jobs/ftjob-1/cancel"]
)
def test_unknown_and_unfilled_paths_send_nothing(path: str) -> None:
    """The client cannot be made to call anything that is not in the table."""
    with talking([]) as (server, client, _), pytest.raises(ValueError, match="fill"):
        client.get(path)
    assert server.seen == []


def test_there_is_no_other_verb() -> None:
    """Reading is all it can do."""
    assert {name for name in vars(Client) if not name.startswith("_")} == {"get", "read", "close"}


def test_connections_are_kept() -> None:
    """Pages of a list do not pay for a connection each."""
    with talking([OK, OK, OK]) as (server, client, _):
        for _number in range(3):
            client.get(JOBS)
        assert len(server._connections) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=408),
        Reply(status=409),
        Reply(status=429),
        Reply(status=500),
        Reply("<html><title>502 Bad Gateway</title></html>", status=502),
        Reply(status=599),
        Reply(status=400, headers={"x-should-retry": "true"}),
        Reply(is_dropped=True),
        Reply({"data": []}, announced=1000),
        Reply(chunks=(b'{"data"', False)),
        Reply(b"no gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda reply: f"{reply.status}-{reply.is_dropped}-{reply.announced}-{len(reply.chunks)}",
)
def test_what_is_tried_again(reply: Reply) -> None:
    """Statuses that pass, dropped connections, cut bodies, broken compression."""
    with talking([reply, reply, OK]) as (server, client, waits):
        assert client.get(JOBS).body == b'{"object": "list", "data": []}'
    assert waits == [0.5, 1.0]
    assert (client.requests, client.retries, len(server.seen)) == (3, 2, 3)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=400),
        Reply(status=401),
        Reply(status=403),
        Reply(status=404),
        Reply(status=422),
        Reply({"error": {"message": "m", "code": "insufficient_quota"}}, status=429),
        Reply({"error": {"message": "m", "type": "insufficient_quota"}}, status=429),
        Reply(
            {"error": {"code": "insufficient_quota"}},
            status=429,
            headers={"x-should-retry": "true", "Retry-After": "1"},
        ),
    ],
    ids=lambda reply: f"{reply.status}-{reply.body}",
)
def test_what_is_refused_at_once(reply: Reply) -> None:
    """Nothing that only a person can change is tried again, whatever the headers say."""
    with talking([reply]) as (server, client, waits), pytest.raises(ApiRefused):
        client.get(JOBS)
    assert (waits, len(server.seen)) == ([], 1)


def test_the_server_may_forbid_another_try() -> None:
    """It stays a failure that may pass, for the next run."""
    reply = Reply(status=500, headers={"x-should-retry": "false"})
    with talking([reply]) as (_, client, waits), pytest.raises(TransientApiError) as caught:
        client.get(JOBS)
    assert (waits, caught.value.retry) == ([], False)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "Retry-After": "7"}, 1.5),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": "0"}, 0.5),
        ({"Retry-After": "never"}, 0.5),
        ({}, 0.5),
    ],
)
def test_waits_as_long_as_the_server_asks(headers: dict[str, str], wait: float) -> None:
    """Every form of the header, over the wire."""
    with talking([Reply(status=429, headers=headers), OK]) as (_, client, waits):
        client.get(JOBS)
    assert waits == [wait]


def test_requests_keep_to_the_pace_of_the_settings() -> None:
    """30 a minute are 2 s apart; time that an answer took counts."""
    times = iter([100.0, 100.0, 100.5, 100.5, 109.0, 109.0])
    waits: list[float] = []
    with serve(lambda _: Reply(b"{}")) as server:
        source = source_for(server, requests_per_minute=30)
        with Client(source, sleep=waits.append, now=lambda: next(times)) as client:
            for _ in range(3):
                client.get("/files")
    assert waits == [1.5]


HTML = Reply(b"<html>Sign in</html>", headers={"Content-Type": "text/html"})
#: A path, what its answer has to be, one that is, and those that are not.
KINDS: dict[str, tuple[str, Callable[[Answer], Any], Reply, list[Reply]]] = {
    "a page": (JOBS, page_of, OK, [HTML, Reply(b""), Reply({"error": {}}), Reply({"data": 5})]),
    "a record": (
        "/files/file-1",
        object_of,
        Reply({"id": "file-1"}),
        [
            HTML,
            Reply(b""),
            Reply(b'{"id": "file-1", "by'),
            Reply(b'["file-1"]'),
            Reply(b"null"),
            Reply({}),
            Reply({"error": {"message": "m"}}),
        ],
    ),
    "a file": ("/files/file-1/content", file_of, Reply(b"step,a\n"), [HTML]),
}
SPOILT = [(kind, reply) for kind, (_, _, _, replies) in KINDS.items() for reply in replies]


@pytest.mark.parametrize(("kind", "reply"), SPOILT)
def test_a_spoilt_answer_is_asked_for_again(kind: str, reply: Reply) -> None:
    """It may have been spoilt on its way; the waits are those of a server that fails."""
    path, take, right, _ = KINDS[kind]
    with talking([reply, reply, right]) as (server, client, waits):
        found = client.read(path, take, [("limit", "5")])
    got = found[0].body if isinstance(found, tuple) else found
    assert got == right.content()
    assert waits == [0.5, 1.0]
    assert (client.requests, client.retries) == (3, 2)
    assert [seen.query for seen in server.seen] == [[("limit", "5")]] * 3


@pytest.mark.parametrize(("kind", "reply"), SPOILT)
def test_an_answer_that_comes_spoilt_three_times_is_believed(kind: str, reply: Reply) -> None:
    """And the error is its own: nothing says that it might pass."""
    path, take, _, _ = KINDS[kind]
    with talking([reply] * 4) as (_, client, waits), pytest.raises(SpoiltAnswer) as caught:
        client.read(path, take)
    assert (client.requests, client.retries, waits) == (3, 2, [0.5, 1.0])
    assert str(caught.value).endswith(f"(GET {path}, HTTP 200)")
    assert "Gave up" not in str(caught.value)


@pytest.mark.parametrize(("max_attempts", "tries"), [(1, 1), (2, 2), (3, 3), (8, 3)])
def test_a_spoilt_answer_is_asked_for_no_more_often_than_the_settings_allow(
    max_attempts: int, tries: int
) -> None:
    script = [HTML] * 9
    with talking(script, max_attempts=max_attempts) as (server, client, waits):
        with pytest.raises(SpoiltAnswer):
            client.read(JOBS, page_of)
        assert (len(server.seen), len(waits)) == (tries, tries - 1)


def test_a_spoilt_answer_is_not_waited_for_longer_than_the_settings_allow() -> None:
    with talking([HTML] * 3, retry_budget=0.5) as (server, client, waits):
        with pytest.raises(SpoiltAnswer):
            client.read(JOBS, page_of)
        assert (waits, len(server.seen)) == ([0.5], 2)


def test_what_else_goes_wrong_with_a_read_is_tried_again_as_with_any() -> None:
    """A server that fails between two spoilt answers has tries of its own."""
    script = [HTML, Reply(status=503, headers={"Retry-After": "7"}), OK]
    with talking(script) as (_, client, waits):
        assert client.read(JOBS, page_of)[1].items == []
    assert waits == [0.5, 7.0]
    with talking([HTML, Reply(status=404)]) as (_, client, _), pytest.raises(ApiRefused):
        client.read(JOBS, page_of)


def test_whoever_takes_an_answer_as_it_is_gets_it_at_once() -> None:
    with talking([HTML]) as (_, client, waits):
        assert client.get(JOBS).body == HTML.body
    assert (client.requests, waits) == (1, [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "file-1", "x": NaN}',
        b'{"object": "file"}',
        b'{"error": null, "status": "processed"}',
        b'{"id": "file-1", "error": {"message": "m"}}',
        b'{"id": 5}',
    ],
)
def test_a_record_that_is_only_odd_is_no_spoilt_answer(body: bytes) -> None:
    """What is wrong with it, quarantine tells."""
    with talking([Reply(body)]) as (_, client, _):
        assert client.read("/files/file-1", object_of) == body


def test_a_file_may_hold_anything() -> None:
    """Only what a proxy says of itself is no file; the rest is for the reader of the file."""
    for body in (b"", b"<html>", b'{"error": {}}', bytes(range(256))):
        with talking([Reply(body)]) as (_, client, _):
            assert client.read("/files/file-1/content", file_of) == body


def test_a_long_wait_ends_the_run() -> None:
    """More than two minutes are not slept through; the error says when to come back."""
    reply = Reply(status=429, headers={"Retry-After": "3600"})
    with talking([reply]) as (_, client, waits), pytest.raises(LongWait) as caught:
        client.get(JOBS)
    assert (waits, caught.value.retry_after) == ([], 3600.0)
    assert "asks to wait 3,600 s" in str(caught.value)
    assert "Run the same command again after that" in str(caught.value)


def test_gives_up_after_max_attempts() -> None:
    """With how often, how long, and what the last failure was."""
    reply = Reply(status=503, headers={"x-request-id": "req_9"})
    with (
        talking([reply] * 3, max_attempts=3) as (_, client, waits),
        pytest.raises(TransientApiError) as caught,
    ):
        client.get(JOBS)
    assert waits == [0.5, 1.0]
    assert str(caught.value) == (
        "The server failed. Gave up after 3 tries and 1.5 s of waiting. "
        "(GET /fine_tuning/jobs, HTTP 503, request id req_9)"
    )


def test_gives_up_when_the_budget_is_spent() -> None:
    """The waits of one request add up to no more than the settings allow."""
    reply = Reply(status=429, headers={"Retry-After": "100"})
    with (
        talking([reply] * 4) as (_, client, waits),
        pytest.raises(TransientApiError, match=r"4 tries and 300\.0 s of waiting"),
    ):
        client.get(JOBS)
    assert waits == [100.0, 100.0, 100.0]


def test_retries_are_told() -> None:
    """The caller hears of each wait before it begins."""
    told: list[tuple[str, float, int]] = []
    with (
        serve([Reply(status=500), Reply(status=429), OK]) as server,
        Client(
            source_for(server),
            sleep=lambda _: None,
            random=lambda: 0.0,
            on_retry=lambda error, wait, tries: told.append((str(error), wait, tries)),
        ) as client,
    ):
        client.get(JOBS)
    assert told == [
        ("The server failed. (GET /fine_tuning/jobs, HTTP 500)", 0.5, 1),
        (
            "The server asks for fewer requests (rate limit). (GET /fine_tuning/jobs, HTTP 429)",
            1.0,
            2,
        ),
    ]


def test_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Each try at debug, each wait at warning; never a query, not even from urllib3."""
    caplog.set_level(logging.DEBUG)
    replies = [Reply(status=503), Reply({"data": []}, headers={"x-request-id": "req_2"})]
    with talking(replies, extra_query=(("sig", "query-secret"),)) as (_, client, _):
        client.get(JOBS, [("after", "ftjob-1")])
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["DEBUG", "WARNING", "DEBUG"]
    assert lines[0][1].startswith("GET /fine_tuning/jobs, HTTP 503, ")
    assert lines[1][1] == (
        "Try 1 of 8 failed, the next in 0.5 s: The server failed. (GET /fine_tuning/jobs, HTTP 503)"
    )
    assert lines[2][1].startswith("GET /fine_tuning/jobs, HTTP 200, request id req_2, ")
    assert lines[2][1].endswith(" ms")
    assert "query-secret" not in caplog.text


def test_gzip_is_unpacked() -> None:
    """A compressed answer is the same answer."""
    body = gzip.compress(b'{"data": []}')
    with talking([Reply(body, headers={"Content-Encoding": "gzip"})]) as (_, client, _):
        assert client.get(JOBS).body == b'{"data": []}'


def test_chunked_answers_are_read_to_their_end() -> None:
    """Without a length, the last chunk says where the end is."""
    with talking([Reply(chunks=(b'{"da', b'ta": []}'))]) as (_, client, _):
        assert client.get(JOBS).body == b'{"data": []}'


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_longer_answer_than_allowed_is_refused(is_packed: bool) -> None:
    """Counted unpacked: a small answer cannot fill the memory."""
    body = gzip.compress(bytes(2000)) if is_packed else bytes(2000)
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    with (
        talking([Reply(body, headers=headers)], max_response_bytes=1999) as (_, client, waits),
        pytest.raises(ApiRefused, match=r"longer than 1,999 bytes.*raise max_response_bytes"),
    ):
        client.get(JOBS)
    assert waits == []


def test_an_answer_as_long_as_allowed_is_read() -> None:
    """The limit is the longest that is taken."""
    with talking([Reply(bytes(2000))], max_response_bytes=2000) as (_, client, _):
        assert len(client.get(JOBS).body) == 2000


def test_bytes_that_are_not_json_come_as_they_are() -> None:
    """The content of a file is not the client's to judge."""
    body = bytes(range(256))
    with talking([Reply(body, headers={"Content-Type": "text/csv"})]) as (server, client, _):
        answer = client.get("/files/file-1/content")
    assert (answer.body, answer.content_type) == (body, "text/csv")
    assert server.seen[0].headers["accept"] == "application/binary, */*"


@pytest.mark.parametrize("status", [201, 204, 206])
def test_other_good_statuses_are_not_a_read(status: int) -> None:
    """Half a body or none is not taken for the whole."""
    with (
        talking([Reply(status=status)]) as (_, client, _),
        pytest.raises(ApiContractError, match=f"HTTP {status}"),
    ):
        client.get(JOBS)


def test_a_slow_server_is_a_timeout() -> None:
    """Before the head as within the body."""
    replies = [Reply({"data": []}, delay=0.3), Reply({"data": []}, body_delay=0.3)]
    with talking(replies, read_timeout=0.1, max_attempts=2) as (server, client, waits):
        with pytest.raises(TransientApiError, match=r"sent nothing for 0\.1 s .read_timeout"):
            client.get(JOBS)
        assert waits == [0.5]
        assert len(server.seen) == 2


def test_a_failed_answer_cut_in_the_middle_keeps_its_status() -> None:
    """What arrived of the body is of use, and the rest is not needed."""
    reply = Reply('{"error": "x"}', status=404, announced=999)
    with talking([reply]) as (_, client, _), pytest.raises(ApiRefused) as caught:
        client.get(JOBS)
    assert caught.value.exchange.status == 404


def test_missing_key_sends_nothing() -> None:
    """The error names the variable and how to set it."""
    with (
        talking([], api_key=Secret("OPENAI_API_KEY")) as (server, client, _),
        pytest.raises(ConfigError) as caught,
    ):
        client.get(JOBS)
    assert server.seen == []
    (problem,) = caught.value.problems
    assert problem.startswith('source "default": no API key: OPENAI_API_KEY is not set; `export ')


def test_missing_admin_key_is_its_own_matter() -> None:
    """Lists of a project need no admin key, and costs no project key."""
    with talking([OK]) as (server, client, _):
        client.get(JOBS)
        with pytest.raises(ConfigError, match="no admin key: OPENAI_ADMIN_KEY is not set"):
            client.get("/organization/costs")
    assert len(server.seen) == 1


def test_missing_secret_headers_are_said_before_anything_is_sent() -> None:
    """What the configuration named and the environment has not."""
    with (
        talking([], missing=("header x: X is not set",)) as (server, client, _),
        pytest.raises(ConfigError, match='source "default": header x: X is not set'),
    ):
        client.get(JOBS)
    assert server.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/v1",
        "ftp://api.example",
        "api.example/v1",
        "https://u:p@api.example/v1",
        "https://api.example/v1?api-version=1",
        "https://api.example:port/v1",
    ],
)
def test_addresses_that_must_not_be_used(url: str) -> None:
    """Checked where the key would be sent, whoever made the settings."""
    with pytest.raises(ConfigError, match='source "default": base_url '):
        Client(Source(base_url=url))


def test_nothing_shows_the_body_or_a_key() -> None:
    """Neither client nor answer, when printed."""
    with talking([Reply(b"customer data")]) as (_, client, _):
        assert repr(client) == "<Client of source default>"
        assert "customer data" not in repr(client.get(JOBS))
