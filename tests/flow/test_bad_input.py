"""Whatever a server or a file holds ends as rows and drift, or in quarantine with its reason.

On each kind of database, through the whole pipe.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, select

from etl.db.tables import drift, frontiers, quarantine, records, sync_runs
from etl.importing import Order as ImportOrder
from etl.importing import import_files
from etl.pipe import RunResult
from etl.record import unpack
from etl.resources import discover, jobs
from etl.settings import Secret, Source
from etl.sync import Order, sync
from tests.http_server import Reply, Script, serve
from tests.jobs import OPENAI, job, text

REQUEST_ID = {"x-request-id": "req_42"}


def page(*items: bytes, more: bool = False) -> Reply:
    """A page with these records as they are."""
    flag = b"true" if more else b"false"
    body = b'{"object":"list","data":[' + b", ".join(items) + b'],"has_more":' + flag + b"}"
    return Reply(body, headers=REQUEST_ID)


def run(engine: Engine, script: Script) -> RunResult:
    """One sync of one source that answers like this."""
    with serve(script) as server:
        source = Source(
            base_url=server.url, api_key=Secret("KEY", "sk-1"), max_attempts=2, project="proj_1"
        )
        order = Order([source], [jobs.RESOURCE], mode="full")
        return sync(engine, order, lambda _: None, sleep=lambda _: None)


def send(engine: Engine, *items: bytes) -> RunResult:
    """The same with one page of these records."""
    return run(engine, [page(*items)])


def read(engine: Engine, table: Table, *order: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        query = select(table).order_by(*(table.c[name] for name in order))
        return [dict(row._mapping) for row in connection.execute(query)]


def ids(engine: Engine) -> list[str]:
    return sorted(row["id"] for row in read(engine, jobs.jobs))


def bad(engine: Engine) -> list[tuple[str | None, str, bytes, bool]]:
    """Quarantine: id, reason, the exact bytes, whether it is over."""
    return [
        (
            row["record_id"],
            row["reason"],
            unpack(row["payload"], row["payload_encoding"]),
            row["resolved_at"] is not None,
        )
        for row in read(engine, quarantine, "id")
    ]


def noted(engine: Engine) -> list[tuple[str, str]]:
    return [(row["path"], row["kind"]) for row in read(engine, drift, "path", "kind")]


def kept(engine: Engine, identifier: str) -> bytes:
    """The bytes the ledger holds of a record."""
    (row,) = [row for row in read(engine, records) if row["id"] == identifier]
    return unpack(row["payload"], row["payload_encoding"])


def counts(result: RunResult) -> dict[str, int]:
    left_out = ("pages", "requests", "retries")
    return {name: n for name, n in result.counts.items() if n and name not in left_out}


NEIGHBOURS = text(job("ftjob-before")), text(job("ftjob-after"))
DEEP = b"[" * 1000 + b"]" * 1000
REFUSED: dict[str, tuple[bytes, str | None, str]] = {
    "a number": (b"5", None, "no JSON object"),
    "a list": (b'["ftjob-1"]', None, "no JSON object"),
    "null": (b"null", None, "no JSON object"),
    "no id": (b'{"created_at":1735323648}', None, "`id` is missing"),
    "an id of null": (text(job() | {"id": None}), None, "`id` is missing"),
    "an empty id": (text(job("")), None, "`id` is empty"),
    "a number as id": (text(job() | {"id": 5}), None, "`id` is no text: 5"),
    "an object as id": (text(job() | {"id": {"a": 1}}), None, '`id` is no text: {"a":1}'),
    "a long id": (text(job("x" * 65)), None, "`id` has 65 characters, 64 fit"),
    "U+0000 in the id": (
        json.dumps(job("a\x00b")).encode(),
        None,
        "`id` holds U+0000 or a lone surrogate: a\ufffdb",
    ),
    "a lone surrogate in the id": (
        json.dumps(job("a\ud800")).encode(),
        None,
        "`id` holds U+0000 or a lone surrogate: a\ufffd",
    ),
    "no creation time": (
        text(job("ftjob-x", created_at=None)),
        "ftjob-x",
        "`created_at` is no time: null",
    ),
    "a creation time out of range": (
        text(job("ftjob-x", created_at=10**18)),
        "ftjob-x",
        "`created_at` is no time: 1000000000000000000",
    ),
    "nesting": (
        b'{"id":"ftjob-x","created_at":1735323648,"x":' + DEEP + b"}",
        "ftjob-x",
        "not JSON: nested deeper than 256 levels",
    ),
    "NaN": (
        b'{"id":"ftjob-x","created_at":1735323648,"x":NaN}',
        "ftjob-x",
        "not JSON: NaN is not JSON",
    ),
    "a key twice": (
        b'{"id":"ftjob-x","created_at":1735323648,"seed":1,"seed":2}',
        "ftjob-x",
        "not JSON: the key 'seed' stands twice in one object",
    ),
    "not UTF-8": (
        b'{"id":"ftjob-x","created_at":1735323648,"model":"\xff\xfe"}',
        "ftjob-x",
        "not JSON: byte 49 is not UTF-8",
    ),
    "U+0000 as it is": (
        b'{"id":"ftjob-x","created_at":1735323648,"model":"\x00"}',
        "ftjob-x",
        "not JSON: Invalid control character at: line 1 column 50 (char 49)",
    ),
    "a trailing comma": (
        b'{"id":"ftjob-x","created_at":1735323648,}',
        "ftjob-x",
        # Python 3.13 found better words for it.
        "not JSON: Illegal trailing comma before end of object: line 1 column 40 (char 39)"
        if sys.version_info >= (3, 13)
        else "not JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 41 (char 40)",
    ),
    "U+0000 in a name of metadata": (
        json.dumps(job("ftjob-x", metadata={"a\x00": "b"})).encode(),
        "ftjob-x",
        "`metadata` holds U+0000 or a lone surrogate: a\ufffd",
    ),
    "a long name of a hyperparameter": (
        text(job("ftjob-x", hyperparameters={"h" * 256: 1})),
        "ftjob-x",
        "`hyperparameters` has 256 characters, 255 fit",
    ),
}


def test_records_that_cannot_become_rows(engine: Engine) -> None:
    """All on one page: each goes to quarantine with reason and exact bytes, the others are stored.

    The same seen again is counted, but a run that met nothing new and bad is a success.
    """
    items = [NEIGHBOURS[0], *(payload for payload, _, _ in REFUSED.values()), NEIGHBOURS[1]]
    first = send(engine, *items)
    assert first.status == "partial"
    assert counts(first) == {"records": len(items), "created": 2, "quarantined": len(REFUSED)}
    assert ids(engine) == ["ftjob-after", "ftjob-before"]
    expected = [(known, reason, payload, False) for payload, known, reason in REFUSED.values()]
    assert bad(engine) == expected
    assert noted(engine) == []

    second = send(engine, *items)
    assert second.status == "success"
    assert counts(second) == {"records": len(items), "unchanged": 2, "quarantined": len(REFUSED)}
    assert bad(engine) == expected
    assert [row["status"] for row in read(engine, sync_runs, "id")] == ["partial", "success"]

    third = send(engine, *items, b'"one more"')
    assert third.status == "partial"
    assert len(bad(engine)) == len(REFUSED) + 1


@pytest.mark.parametrize("name", [name for name, (_, known, _) in REFUSED.items() if known])
def test_a_record_that_comes_in_good_shape_ends_its_quarantine(
    sqlite_engine: Engine, name: str
) -> None:
    payload, known, reason = REFUSED[name]
    assert known
    assert send(sqlite_engine, payload).status == "partial"
    fixed = send(sqlite_engine, text(job(known)))
    assert (fixed.status, counts(fixed)) == ("success", {"records": 1, "created": 1})
    assert bad(sqlite_engine) == [(known, reason, payload, True)]
    # Bad once more: a new line, and news.
    assert send(sqlite_engine, payload).status == "partial"
    assert bad(sqlite_engine) == [(known, reason, payload, True), (known, reason, payload, False)]


def test_quarantine_ends_on_each_database(engine: Engine) -> None:
    broken = text(job("ftjob-x", created_at=0))
    assert send(engine, *NEIGHBOURS, broken).status == "partial"
    assert send(engine, *NEIGHBOURS, text(job("ftjob-x"))).status == "success"
    assert bad(engine) == [("ftjob-x", "`created_at` is no time: 0", broken, True)]


def test_a_stored_record_that_turns_bad_stays_as_it_was(sqlite_engine: Engine) -> None:
    """And another bad state of it does not end the quarantine of the first."""
    send(sqlite_engine, text(job("ftjob-x", status="running")))
    for time in (0, -1):
        result = send(sqlite_engine, text(job("ftjob-x", created_at=time)))
        assert (result.status, counts(result)) == ("partial", {"records": 1, "quarantined": 1})
    assert [row["status"] for row in read(sqlite_engine, jobs.jobs)] == ["running"]
    assert [over for _, _, _, over in bad(sqlite_engine)] == [False, False]
    send(sqlite_engine, text(job("ftjob-x", status="running")))
    assert [over for _, _, _, over in bad(sqlite_engine)] == [True, True]


def test_an_unusable_id_at_the_end_of_a_page_does_not_end_the_list(sqlite_engine: Engine) -> None:
    odd = json.dumps(job("\ud800")).encode()
    script = [page(NEIGHBOURS[0], odd, more=True), page(NEIGHBOURS[1])]
    assert run(sqlite_engine, script).status == "partial"
    assert ids(sqlite_engine) == ["ftjob-after", "ftjob-before"]


def test_a_page_of_nothing_but_broken_records_is_followed(sqlite_engine: Engine) -> None:
    """What is broken elsewhere still says where the next page begins, and comes once only."""
    first = page(b'{"id":"a","x":NaN}', b'{"id":"b","x":NaN}', more=True)
    with serve([first, page(NEIGHBOURS[0])]) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))
        result = sync(sqlite_engine, Order([source], [jobs.RESOURCE], mode="full"), lambda _: None)
    assert server.seen[1].query == [("limit", "100"), ("after", "b")]
    assert counts(result) == {"records": 3, "created": 1, "quarantined": 2}


# odd values that become rows

TEXTS = (
    "object",
    "status",
    "model",
    "fine_tuned_model",
    "organization_id",
    "training_file",
    "validation_file",
    "user_provided_suffix",
    "eval_id",
)
HOSTILE = {
    "sql": "Robert'); DROP TABLE jobs;--",
    "quotes": "'\"`\\' \\\" %s %(id)s :id {0} $1 ? \\",
    "terminal": "\x1b[2J\x1b]0;title\x07\x08\r\n\t\x7f\x9b31m",
    "direction": "\u202etxt.exe\u2066\u200f\u2028",
    "four bytes": "\U0001f600\U0010ffff\U0001d54f",
    "combining": "e\u0301 \u00e9 \u1e9e \u0130",
    "spaces": "  a \t ",
    "wildcards": "%_*[a]",
    "looks like null": "NULL",
    "noncharacters": "\ufffe\uffff\ufdd0",
}


def hostile(identifier: str, word: str) -> dict[str, Any]:
    """A job with this word in every field that takes text."""
    return job(
        identifier,
        **dict.fromkeys(TEXTS, word),
        error={"code": word, "message": word, "param": word},
        result_files=[word],
        hyperparameters={"h": word},
        metadata={"m": word},
        usage_metrics={word: [word]},
        integrations=[
            {
                "type": word,
                "wandb": dict.fromkeys(("project", "name", "entity", "run_id"), word)
                | {"tags": [word]},
            }
        ],
        method={"type": "dpo", "dpo": {"grader": {"g": word}, "response_format": {"r": word}}},
    )


def assert_everywhere(engine: Engine, identifier: str, word: str) -> None:
    """Every column of text holds exactly this."""

    def rows(table: Table, column: str) -> dict[str, Any]:
        (row,) = [row for row in read(engine, table) if row[column] == identifier]
        return row

    main = rows(jobs.jobs, "id")
    errors = ("error_code", "error_message", "error_param")
    assert {main[name] for name in (*TEXTS[1:], *errors)} == {word}
    assert main["usage_metrics"] == {word: [word]}
    assert rows(jobs.job_result_files, "job_id")["file_id"] == word
    assert rows(jobs.job_hyperparameters, "job_id")["value_text"] == word
    assert rows(jobs.job_metadata, "job_id")["value"] == word
    integration = rows(jobs.job_integrations, "job_id")
    assert {
        integration[name]
        for name in ("type", "wandb_project", "wandb_name", "wandb_entity", "wandb_run_id")
    } == {word}
    assert rows(jobs.job_integration_tags, "job_id")["tag"] == word
    method = rows(jobs.job_methods, "job_id")
    assert (method["grader"], method["response_format"]) == ({"g": word}, {"r": word})


def test_hostile_text_in_every_field(engine: Engine) -> None:
    items = {f"job {number}": word for number, word in enumerate(HOSTILE.values())}
    payloads = {name: text(hostile(name, word)) for name, word in items.items()}
    result = send(engine, *payloads.values())
    assert counts(result) == {"records": len(items), "created": len(items)}
    assert (result.status, bad(engine)) == ("success", [])
    for name, word in items.items():
        assert_everywhere(engine, name, word)
        assert kept(engine, name) == payloads[name]
    assert noted(engine) == [("object", "unknown_value"), ("status", "unknown_value")]


def test_hostile_text_in_ids_and_names(engine: Engine) -> None:
    words = [word[:64] for word in HOSTILE.values()]
    payloads = [
        text(job(word, metadata={word: "m"}, hyperparameters={word: 1}, method={word: {"h": 1}}))
        for word in words
    ]
    result = send(engine, *payloads)
    assert counts(result) == {"records": len(words), "created": len(words)}
    assert ids(engine) == sorted(words)
    named = [(row["job_id"], row["name"]) for row in read(engine, jobs.job_metadata)]
    assert sorted(named) == sorted(zip(words, words, strict=True))
    types = [(row["job_id"], row["type"]) for row in read(engine, jobs.job_methods)]
    assert sorted(types) == sorted(zip(words, words, strict=True))
    again = send(engine, *payloads)
    assert counts(again) == {"records": len(words), "unchanged": len(words)}


def test_characters_that_no_database_stores(engine: Engine) -> None:
    """U+FFFD in the tables, noted as drift; the ledger keeps the exact bytes."""
    payloads = {
        name: json.dumps(hostile(name, word)).encode()
        for name, word in (("ftjob-nul", "a\x00b"), ("ftjob-lone", "a\udfffb"))
    }
    result = send(engine, NEIGHBOURS[0], *payloads.values())
    assert (result.status, counts(result)) == ("success", {"records": 3, "created": 3})
    for name, payload in payloads.items():
        assert_everywhere(engine, name, "a\ufffdb")
        assert kept(engine, name) == payload
    replaced = {path for path, kind in noted(engine) if kind == "replaced_characters"}
    assert replaced == {
        *TEXTS,
        "error.code",
        "error.message",
        "error.param",
        "hyperparameters.h",
        "integrations[].type",
        "integrations[].wandb.entity",
        "integrations[].wandb.name",
        "integrations[].wandb.project",
        "integrations[].wandb.run_id",
        "integrations[].wandb.tags[]",
        "metadata.m",
        "method.dpo.grader",
        "method.dpo.response_format",
        "result_files[]",
        "usage_metrics",
    }
    again = send(engine, NEIGHBOURS[0], *payloads.values())
    assert counts(again) == {"records": 3, "unchanged": 3}


def test_numbers_and_times_out_of_range(engine: Engine) -> None:
    odd = (
        text(
            job("ftjob-x")
            | {"status": 5, "finished_at": 10**30, "estimated_finish": -1, "seed": 2**64}
        )
        .replace(b'"trained_tokens":1700', b'"trained_tokens":1e400')
        .replace(b'"n_epochs":3', b'"n_epochs":1e999')
        .replace(b'"batch_size":1', b'"batch_size":5e-324')
    )
    result = send(engine, NEIGHBOURS[0], odd, text(job("ftjob-y", created_at=253402300799)))
    assert (result.status, counts(result)) == ("success", {"records": 3, "created": 3})
    last, main = (
        next(row for row in read(engine, jobs.jobs) if row["id"] == name)
        for name in ("ftjob-y", "ftjob-x")
    )
    assert last["created_at"] == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert main["status"] == "5"
    for name in ("finished_at", "estimated_finish", "seed", "trained_tokens"):
        assert main[name] is None
    values = {
        (row["scope"], row["name"]): (row["value_text"], row["value_number"])
        for row in read(engine, jobs.job_hyperparameters)
        if row["job_id"] == "ftjob-x"
    }
    assert values["job", "n_epochs"] == ("1e999", None)
    assert values["job", "batch_size"] == ("5e-324", 5e-324)
    assert kept(engine, "ftjob-x") == odd
    assert {
        ("estimated_finish", "out_of_range"),
        ("finished_at", "out_of_range"),
        ("hyperparameters.n_epochs", "out_of_range"),
        ("seed", "out_of_range"),
        ("status", "unknown_value"),
        ("status", "wrong_type"),
        ("trained_tokens", "wrong_type"),
    } <= set(noted(engine))


def test_ten_megabytes_of_error_message(engine: Engine) -> None:
    message = "é" * 5_000_000
    payload = text(job("ftjob-x", status="failed", error={"message": message}))
    result = send(engine, NEIGHBOURS[0], payload)
    assert (result.status, counts(result)) == ("success", {"records": 2, "created": 2})
    with engine.connect() as connection:
        query = select(jobs.jobs.c.error_message).where(jobs.jobs.c.id == "ftjob-x")
        assert connection.scalar(query) == message
    assert kept(engine, "ftjob-x") == payload


@pytest.mark.parametrize("value", ["a", '{"a": 1}', 'say "é"', 1.5, True, [None], {"a": {"b": []}}])
def test_any_json_comes_back_from_a_json_column(engine: Engine, value: Any) -> None:
    send(engine, text(job(usage_metrics=value, method={"type": "dpo", "dpo": {"grader": value}})))
    assert [row["usage_metrics"] for row in read(engine, jobs.jobs)] == [value]
    assert [row["grader"] for row in read(engine, jobs.job_methods)] == [value]


def test_names_that_differ_in_case_or_in_a_space_are_two(engine: Engine) -> None:
    names = ["team", "Team", "team ", " team", "te\u0301am", "t\u00e9am", "straße", "strasse"]
    many = dict.fromkeys(names, "x")
    same = [text(job(name, metadata=many, hyperparameters=many)) for name in ("ftjob-a", "ftjob-A")]
    result = send(engine, *same, text(job("ftjob-a ")))
    assert (result.status, counts(result)) == ("success", {"records": 3, "created": 3})
    assert ids(engine) == ["ftjob-A", "ftjob-a", "ftjob-a "]
    found = [(row["job_id"], row["name"]) for row in read(engine, jobs.job_metadata)]
    assert sorted(found) == sorted((one, name) for one in ("ftjob-a", "ftjob-A") for name in names)
    assert counts(send(engine, *same)) == {"records": 2, "unchanged": 2, "missing": 1}
    gone = [row["id"] for row in read(engine, records) if row["missing_since"]]
    assert gone == ["ftjob-a "]


# what a record may not do to the database


def test_rows_that_the_database_refuses_are_found_among_the_others(engine: Engine) -> None:
    """A method called `job` would have the key of the job's own hyperparameters."""
    clash = text(job("ftjob-x", method={"job": {"hyperparameters": {"n_epochs": 1}}}))
    others = [text(job(f"ftjob-{number}")) for number in range(6)]
    result = send(engine, *others[:3], clash, *others[3:], b"5")
    assert result.status == "partial"
    assert counts(result) == {"records": 8, "created": 6, "quarantined": 2}
    assert ids(engine) == [f"ftjob-{number}" for number in range(6)]
    ((known, reason, payload, over), (_, other, _, _)) = bad(engine)
    assert (known, payload, over, other) == ("ftjob-x", clash, False, "no JSON object")
    assert reason.startswith("the database refuses it: ")
    for _ in range(2):  # it may have come spoilt the first times
        again = send(engine, *others[:3], clash, *others[3:], b"5")
        assert again.status == "success"
        assert counts(again) == {"records": 8, "unchanged": 6, "quarantined": 2}
    assert [row["listed_at"] is not None for row in read(engine, frontiers)] == [True]


# pages that are none

BAD_PAGES: dict[str, tuple[Reply, str]] = {
    "html": (
        Reply(b"<html>Sign in</html>", headers={**REQUEST_ID, "Content-Type": "text/html"}),
        "the answer is HTML or XML, not JSON",
    ),
    "empty": (Reply(b"", headers=REQUEST_ID), "the answer is empty"),
    "cut": (
        Reply(b'{"data":[' + NEIGHBOURS[1] + b',{"id":"ft', headers=REQUEST_ID),
        "the text ends in the middle of a value",
    ),
    "an array": (Reply([job()], headers=REQUEST_ID), "the answer is JSON, but not an object"),
    "no data": (Reply({"jobs": []}, headers=REQUEST_ID), "not a list response"),
    "data of another kind": (Reply({"data": job()}, headers=REQUEST_ID), "not a list response"),
    "data twice": (
        Reply(b'{"data":[' + NEIGHBOURS[1] + b'],"data":[]}', headers=REQUEST_ID),
        "the key 'data' stands twice in the answer",
    ),
    "has_more of another kind": (
        Reply({"data": [job()], "has_more": "yes"}, headers=REQUEST_ID),
        "`has_more` is neither true nor false",
    ),
}


@pytest.mark.parametrize("name", BAD_PAGES)
def test_an_answer_that_is_no_page(sqlite_engine: Engine, name: str) -> None:
    """The error names path and request id; what came before it is stored, nothing of it is."""
    reply, said = BAD_PAGES[name]
    check_bad_page(sqlite_engine, reply, said)


def test_an_answer_that_is_no_page_on_each_database(engine: Engine) -> None:
    check_bad_page(engine, *BAD_PAGES["cut"])


@pytest.mark.parametrize("name", BAD_PAGES)
def test_a_page_that_is_none_once_is_asked_for_again(sqlite_engine: Engine, name: str) -> None:
    reply, _ = BAD_PAGES[name]
    script = [page(NEIGHBOURS[0], more=True), reply, page(NEIGHBOURS[1])]
    result = run(sqlite_engine, script)
    assert (result.status, counts(result)) == ("success", {"records": 2, "created": 2})
    assert (result.counts["requests"], result.counts["retries"]) == (3, 1)
    assert ids(sqlite_engine) == ["ftjob-after", "ftjob-before"]


def check_bad_page(engine: Engine, reply: Reply, said: str) -> None:
    """`max_attempts` is 2: twice the same is believed."""
    first = run(engine, [reply, reply])
    assert (first.counts["requests"], first.counts["retries"]) == (2, 1)
    error = first.as_json()["sources"][0]["error"]
    assert first.status == "failed"
    assert said in error
    assert "GET /fine_tuning/jobs" in error
    assert "request id req_42" in error
    for table in (*jobs.RESOURCE.tables, records, quarantine, drift):
        assert read(engine, table) == []
    assert not any(row["listed_at"] for row in read(engine, frontiers))

    second = run(engine, [page(NEIGHBOURS[0], more=True), reply, reply])
    assert second.status == "failed"
    assert ids(engine) == ["ftjob-before"]
    assert not any(row["listed_at"] for row in read(engine, frontiers))
    assert [row["status"] for row in read(engine, sync_runs, "id")] == ["failed", "failed"]

    third = run(engine, [page(NEIGHBOURS[0], more=True), page(NEIGHBOURS[1])])
    assert (third.status, counts(third)) == (
        "success",
        {"records": 2, "created": 1, "unchanged": 1},
    )


# files


def bring(engine: Engine, *files: Path) -> RunResult:
    order = ImportOrder([str(file) for file in files], OPENAI, discover())
    return import_files(engine, order, lambda _: None)


def lines(items: Sequence[bytes]) -> bytes:
    return b"\n".join(items) + b"\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_bad_lines_of_a_file(
    engine: Engine, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """The same rules as for pages; a line cut in the middle is one bad line."""
    one_a_line = {
        name: one
        for name, one in REFUSED.items()
        if one[0][:1] == b"{" and one[0] == one[0].strip()
    }
    cut = b'{"id":"ftjob-cut","x":"' + b'\\"[' * 300
    file = tmp_path / "jobs.jsonl"
    payloads = [payload for payload, _, _ in one_a_line.values()]
    file.write_bytes(pack(lines([NEIGHBOURS[0], *payloads, NEIGHBOURS[1], cut])))
    result = bring(engine, file)
    assert result.status == "partial"
    assert counts(result) == {
        "records": len(payloads) + 3,
        "created": 2,
        "quarantined": len(payloads) + 1,
    }
    assert bad(engine)[:-1] == [
        # Without an id, the place is all that a person can find it by.
        (known, reason if known else f"{file}, line {number}: {reason}", payload, False)
        for number, (payload, known, reason) in enumerate(one_a_line.values(), 2)
    ]
    _, reason, payload, _ = bad(engine)[-1]
    assert reason.startswith(f"{file}, line {len(payloads) + 3}: not JSON: Unterminated string")
    assert payload == cut
    assert bring(engine, file).status == "success"
