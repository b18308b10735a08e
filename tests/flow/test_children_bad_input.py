"""What hangs off a job ends in rows, in quarantine or as "not there", and stops no other job."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.api.gate import Gate
from tests.http_server import Reply, Seen
from tests.mirror import rows
from tests.parts import (
    HEADERS,
    NOW,
    Api,
    checkpoint,
    checkpoints_path,
    drifted,
    error_of,
    event,
    events_path,
    file,
    metrics,
    not_there,
    page,
    positions,
    progress,
    quarantined,
    reasons,
    requests,
    run,
    statuses,
    told,
)

HOUR = timedelta(hours=1)
ALL = {"jobs", "events", "checkpoints", "files", "metrics"}


def failing(status: int = 500, **headers: str) -> Reply:
    return Reply({"error": {"message": "oh"}}, status=status, headers={**HEADERS, **headers})


@pytest.fixture
def api() -> Api:
    """Three jobs; the one in the middle is for a test to spoil."""
    api = Api()
    for name in ("a", "b", "c"):
        api.add(f"ftjob-{name}")
    return api


# result files


def metric(step: int, value: float, name: str = "train_loss") -> tuple[int, str, float]:
    return (step, name, value)


FIFTY = [f"m{number:02}" for number in range(50)]
#: What a result file holds; what is measured there; what is noted as drift.
READABLE: dict[str, tuple[bytes, list[tuple[int, str, float]], list[tuple[str, str]]]] = {
    "a header alone": (b"step,train_loss\n", [], [("content", "missing")]),
    "cut in a line": (
        b"step,train_loss,valid_loss\n1,0.5,\n2,0.2",
        [metric(1, 0.5)],
        [("content", "missing")],
    ),
    "a step twice": (
        b"step,train_loss,valid_loss\n1,0.5,0.1\n2,0.25,\n1,0.125,\n",
        [metric(1, 0.125), metric(2, 0.25)],
        [],
    ),
    "semicolons": (b"step;train_loss\n1;0.5\n", [metric(1, 0.5)], []),
    "semicolons and a comma in a number": (
        b"step;train_loss\n1;0,5\n",
        [metric(1, 0.5)],
        [("train_loss", "wrong_type")],
    ),
    "tabs": (b"step\ttrain_loss\n1\t0.5\n", [metric(1, 0.5)], []),
    "nan": (
        b"step,train_loss\n1,nan\n2,0.5\n",
        [metric(2, 0.5)],
        [("train_loss", "out_of_range")],
    ),
    "inf": (
        b"step,train_loss\n1,-inf\n2,inf\n3,0.5\n",
        [metric(3, 0.5)],
        [("train_loss", "out_of_range")],
    ),
    "words": (
        b"step,train_loss\n1,n/a\n2,0.5\n",
        [metric(2, 0.5)],
        [("train_loss", "wrong_type")],
    ),
    "blank cells": (
        b"step,train_loss,valid_loss\n1,,\n2, ,0.25\n3,0.5,\n",
        [(2, "valid_loss", 0.25), metric(3, 0.5)],
        [],
    ),
    "fifty columns": (
        f"step,{','.join(FIFTY)}\n1,{','.join(['0.5'] * 50)}\n".encode(),
        [(1, name, 0.5) for name in FIFTY],
        [],
    ),
    "Windows line ends": (b"step,train_loss\r\n1,0.5\r\n", [metric(1, 0.5)], []),
    "a byte order mark": (b"\xef\xbb\xbfstep,train_loss\n1,0.5\n", [metric(1, 0.5)], []),
    "base64": (base64.b64encode(b"step,train_loss\n1,0.5\n"), [metric(1, 0.5)], []),
    "more cells than columns": (
        b"step,train_loss\n1,0.5,7\n",
        [metric(1, 0.5)],
        [("[]", "unknown_field")],
    ),
    "no step in a line": (
        b"step,train_loss\n,0.25\n2,0.5\n",
        [metric(2, 0.5)],
        [("step", "missing")],
    ),
}
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \r\n\r\n", "the file is empty"),
    "base64 of garbage": (base64.b64encode(bytes(range(256))), "base64 of no table"),
    "base64 that was cut": (
        base64.b64encode(b"step,train_loss\n1,0.5\n")[:-1],
        "neither a table with a column `step` nor base64 of one",
    ),
    "another table": (b"epoch,loss\n1,0.5\n", "neither a table with a column `step`"),
    "JSON": (b'{"step": 1, "train_loss": 0.5}', "it looks like JSON"),
    "HTML": (b"<html>Sign in</html>", "it looks like HTML or XML"),
    "not UTF-8": (b"step,train_loss\n1,0.5\n2,\xff\n", "not UTF-8"),
    "zeros": (bytes(100), "neither a table with a column `step`"),
    "a quote that is never closed": (b'step,train_loss\n1,"0.5\n', "of the table"),
}


def of(api: Api, name: str) -> str:
    return f"file-result-{name}"


@pytest.mark.parametrize("name", READABLE)
def test_a_result_file_that_is_odd(sqlite_engine: Engine, api: Api, name: str) -> None:
    content, expected, noted = READABLE[name]
    api.contents[of(api, "b")] = content
    with api.served() as source:
        assert run(sqlite_engine, source).status == "success"
    found = metrics(sqlite_engine)
    assert [one[1:] for one in found if one[0] == "ftjob-b"] == expected
    assert [one[0] for one in found if one[0] != "ftjob-b"] == ["ftjob-a", "ftjob-c"]
    assert drifted(sqlite_engine, "metrics") == noted
    assert progress(sqlite_engine, "metrics")[of(api, "b")] == "settled"


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_result_file_that_is_none(sqlite_engine: Engine, api: Api, name: str) -> None:
    content, said = UNREADABLE[name]
    api.contents[of(api, "b")] = content
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert (result.status, statuses(result)["metrics"]) == ("partial", "partial")
    assert quarantined(sqlite_engine) == [("metrics", of(api, "b"), content)]
    (reason,) = reasons(sqlite_engine)
    assert said in reason
    assert [one[0] for one in metrics(sqlite_engine)] == ["ftjob-a", "ftjob-c"]


def test_every_odd_result_file_at_once_on_each_database(engine: Engine) -> None:
    api = Api()
    for number, (content, _, _) in enumerate(READABLE.values()):
        api.add(f"ftjob-{number:02}", content=content)
    for number, (content, _) in enumerate(UNREADABLE.values(), len(READABLE)):
        api.add(f"ftjob-{number:02}", content=content)
    with api.served() as source:
        result = run(engine, source)
        assert result.status == "partial"
        expected = [
            (f"ftjob-{number:02}", *one)
            for number, (_, measured, _) in enumerate(READABLE.values())
            for one in measured
        ]
        assert sorted(metrics(engine)) == sorted(expected)
        assert [text for _, _, text in quarantined(engine)] == [
            content for content, _ in UNREADABLE.values()
        ]
        for hours in (1, 2):
            api.forget()
            assert run(engine, source, now=NOW + hours * HOUR).status == "success"
            assert len(api.asked("/content")) == len(UNREADABLE)  # they might have been read badly
        api.forget()
        assert run(engine, source, now=NOW + 3 * HOUR).status == "success"
        assert len(api.seen) == 1  # they are as they are


def test_a_result_file_longer_than_an_answer_may_be_stops_no_other(
    sqlite_engine: Engine, api: Api
) -> None:
    api.contents[of(api, "b")] = b"step,train_loss\n" + b"1,0.5\n" * 20_000
    with api.served(max_response_bytes=50_000) as source:
        result = run(sqlite_engine, source)
    assert result.status == "partial"
    assert [one[0] for one in metrics(sqlite_engine)] == ["ftjob-a", "ftjob-c"]


# events

DATA: dict[str, Any] = {
    "null": None,
    "an empty object": {},
    "absent": ...,
    "four levels deep": {"a": {"b": {"c": {"d": 0.5}}}},
    "a list": [1, {"a": None}],
    "text": "word",
    "a number": 7,
}


@pytest.mark.parametrize("name", DATA)
def test_the_data_of_an_event(engine: Engine, api: Api, name: str) -> None:
    api.events["ftjob-b"] = [event("ftevent-b", data=DATA[name])]
    with api.served() as source:
        assert run(engine, source).status == "success"
    found = {row["id"]: row["data"] for row in rows(engine, "job_events")}
    none = ("null", "an empty object", "absent")
    assert found["ftevent-b"] == (None if name in none else DATA[name])
    assert found.keys() == {"ftevent-a", "ftevent-b", "ftevent-c"}


def test_measurements_of_an_event_four_levels_deep(sqlite_engine: Engine, api: Api) -> None:
    data = {"step": 3, "eval": {"graders": {"score": {"mean": 0.5}}, "kind": "x"}}
    api.events["ftjob-b"] = [event("ftevent-b", type="metrics", data=data)]
    with api.served() as source:
        assert run(sqlite_engine, source).status == "success"
    assert metrics(sqlite_engine, "event") == [("ftjob-b", 3, "eval.graders.score.mean", 0.5)]


ODD_EVENTS: dict[str, tuple[Any, str | None]] = {
    "a number": (5, None),
    "null": (None, None),
    "no id": ({name: value for name, value in event().items() if name != "id"}, None),
    "an empty id": (event(""), None),
    "a long id": (event("x" * 65), None),
    "no time": (event("ftevent-odd", created_at=...), "ftevent-odd"),
    "a time out of range": (event("ftevent-odd", created_at=10**18), "ftevent-odd"),
}


@pytest.mark.parametrize("name", ODD_EVENTS)
def test_an_event_that_is_none_leaves_the_others_their_places(
    sqlite_engine: Engine, api: Api, name: str
) -> None:
    odd, known = ODD_EVENTS[name]
    api.events["ftjob-b"] = [event("ftevent-new"), odd, event("ftevent-old")]
    with api.served() as source:
        result = run(sqlite_engine, source)
        assert (result.status, result.counts["quarantined"]) == ("partial", 1)
        ((resource, identifier, _),) = quarantined(sqlite_engine)
        assert (resource, identifier) == ("events", known)
        found = positions(sqlite_engine, "ftjob-b")
        assert [one for _, one in found] == ["ftevent-old", "ftevent-new"]
        assert found[0][0] == 0
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
        assert positions(sqlite_engine, "ftjob-b") == found


def test_an_event_twice_on_a_page_is_one_row(sqlite_engine: Engine, api: Api) -> None:
    api.events["ftjob-b"] = [event("ftevent-2"), event("ftevent-1"), event("ftevent-1")]
    with api.served() as source:
        assert run(sqlite_engine, source).status == "success"
    assert [one for _, one in positions(sqlite_engine, "ftjob-b")] == ["ftevent-1", "ftevent-2"]


# checkpoints


def test_a_checkpoint_that_names_another_job(engine: Engine, api: Api) -> None:
    foreign = checkpoint("ftckpt-foreign", "ftjob-a", 20)
    api.checkpoints["ftjob-b"] = [foreign, checkpoint("ftckpt-b", "ftjob-b")]
    with api.served() as source:
        result = run(engine, source)
    assert (result.status, statuses(result)["checkpoints"]) == ("partial", "partial")
    assert [(one, two) for one, two, _ in quarantined(engine)] == [
        ("checkpoints", "ftckpt-foreign")
    ]
    assert reasons(engine) == [
        "the checkpoint is of job 'ftjob-a' and stood in the list of job 'ftjob-b'"
    ]
    found = {row["id"]: row["job_id"] for row in rows(engine, "job_checkpoints")}
    assert found == {"ftckpt-a": "ftjob-a", "ftckpt-b": "ftjob-b", "ftckpt-c": "ftjob-c"}


def test_a_checkpoint_that_names_no_job_is_of_the_one_asked_for(
    sqlite_engine: Engine, api: Api
) -> None:
    api.checkpoints["ftjob-b"] = [checkpoint("ftckpt-b", fine_tuning_job_id=None)]
    with api.served() as source:
        assert run(sqlite_engine, source).status == "success"
    found = {row["id"]: row["job_id"] for row in rows(sqlite_engine, "job_checkpoints")}
    assert found["ftckpt-b"] == "ftjob-b"


# lists that are none

HTML = Reply(b"<html>Sign in</html>", headers={**HEADERS, "Content-Type": "text/html"})
#: The answer; what is said of it; how often it is asked for in one run, whose `max_attempts` is 2.
BAD_LISTS: dict[str, tuple[Reply, str, int]] = {
    "HTML": (HTML, "the answer is HTML or XML, not JSON", 2),
    "not JSON": (Reply(b"upstream connect error", headers=HEADERS), "is not a page of a list", 2),
    "empty": (Reply(b"", headers=HEADERS), "the answer is empty", 2),
    "cut": (Reply(b'{"data":[{"id":"ft', headers=HEADERS), "ends in the middle of a value", 2),
    "an array": (Reply([event()], headers=HEADERS), "JSON, but not an object", 2),
    "null as data": (Reply({"data": None}, headers=HEADERS), "not a list response", 2),
    "more, and nothing to go on from": (
        Reply({"data": [{"a": 1}], "has_more": True}, headers=HEADERS),
        "no item of this page has an id",
        1,
    ),
}


@pytest.mark.parametrize("resource", ["events", "checkpoints"])
@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_list_that_is_none_waits_in_quarantine_until_it_is_read_well(
    sqlite_engine: Engine, api: Api, name: str, resource: str
) -> None:
    check_bad_list(sqlite_engine, api, resource, *BAD_LISTS[name])


@pytest.mark.parametrize("resource", ["events", "checkpoints"])
def test_so_it_does_on_each_database(engine: Engine, api: Api, resource: str) -> None:
    check_bad_list(engine, api, resource, *BAD_LISTS["HTML"])


def check_bad_list(
    engine: Engine, api: Api, resource: str, reply: Reply, said: str, tries: int
) -> None:
    path = f"/fine_tuning/jobs/ftjob-b/{resource}"
    api.instead[path] = reply
    with api.served() as source:
        first = run(engine, source)
        assert (first.status, statuses(first)[resource]) == ("partial", "partial")
        assert statuses(first).keys() == ALL
        assert quarantined(engine) == [(resource, "ftjob-b", f"GET {path}".encode())]
        (reason,) = reasons(engine)
        assert said in reason
        assert "req_42" in reason
        assert progress(engine, resource) == {"ftjob-a": "settled", "ftjob-c": "settled"}

        api.forget()
        again = run(engine, source, now=NOW + HOUR)
        # Warned of and asked for again, but no reason to call every later run partial.
        assert (again.status, len(quarantined(engine))) == ("success", 1)
        assert api.asked(f"/{resource}") == [path] * tries

        del api.instead[path]
        assert run(engine, source, now=NOW + 2 * HOUR).status == "success"
    assert quarantined(engine) == []
    assert quarantined(engine, is_open=False) == [(resource, "ftjob-b", f"GET {path}".encode())]
    assert progress(engine, resource)["ftjob-b"] == "settled"
    table = {"events": "job_events", "checkpoints": "job_checkpoints"}[resource]
    assert [row["job_id"] for row in rows(engine, table)] == ["ftjob-a", "ftjob-b", "ftjob-c"]


def test_a_list_that_repeats_a_page_is_not_read_for_ever(engine: Engine, api: Api) -> None:
    def stuck(seen: Seen) -> Reply:
        return Reply({"data": told("ftjob-b", 100), "has_more": True}, headers=HEADERS)

    api.instead[events_path("ftjob-b")] = stuck
    with api.served() as source:
        result = run(engine, source)
        assert (result.status, statuses(result)["events"]) == ("partial", "partial")
        assert requests(result)["events"] == 5  # a page that leads back is asked for once more
        ((resource, parent, _),) = quarantined(engine)
        assert (resource, parent) == ("events", "ftjob-b")
        assert "The server repeats itself" in reasons(engine)[0]
        assert positions(engine, "ftjob-b") == []
        del api.instead[events_path("ftjob-b")]
        assert run(engine, source, now=NOW + HOUR).status == "success"
    assert quarantined(engine) == []
    assert positions(engine, "ftjob-b") == [(0, "ftevent-b")]


# what is not there


def test_a_job_that_vanishes_after_it_was_listed(engine: Engine, api: Api) -> None:
    for path in (events_path("ftjob-b"), checkpoints_path("ftjob-b")):
        api.instead[path] = not_there()
    with api.served() as source:
        assert run(engine, source).status == "success"
        expected = {"ftjob-a": "settled", "ftjob-b": "absent", "ftjob-c": "settled"}
        assert progress(engine, "events") == progress(engine, "checkpoints") == expected

        api.forget()
        assert run(engine, source, now=NOW + HOUR).status == "success"
        assert api.asked() == ["/fine_tuning/jobs"]

        api.instead.clear()
        api.change("ftjob-b", metadata={"team": "a"})
        api.forget()
        assert run(engine, source, now=NOW + 2 * HOUR).status == "success"
        paths = [checkpoints_path("ftjob-b"), events_path("ftjob-b")]
        assert api.asked() == ["/fine_tuning/jobs", *paths]
    assert progress(engine, "events")["ftjob-b"] == "settled"
    assert positions(engine, "ftjob-b") == [(0, "ftevent-b")]


def test_a_job_whose_parts_are_still_not_there_keeps_the_day_on_which_they_were_first_missed(
    sqlite_engine: Engine, api: Api
) -> None:
    api.instead[events_path("ftjob-b")] = not_there()
    with api.served() as source:
        run(sqlite_engine, source)
        api.change("ftjob-b", metadata={"team": "a"})
        run(sqlite_engine, source, now=NOW + HOUR)
    (line,) = [row for row in rows(sqlite_engine, "child_progress") if row["absent_since"]]
    assert (line["parent_id"], line["read_at"]) == ("ftjob-b", NOW + HOUR)
    assert line["absent_since"] == NOW


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone_is_asked_for_once(engine: Engine, api: Api, status: int) -> None:
    gone = Reply({"error": {"message": "No such File object"}}, status=status)
    api.instead["/files/file-train-b"] = gone
    api.instead[f"/files/{of(api, 'b')}"] = gone
    api.instead[f"/files/{of(api, 'b')}/content"] = gone
    with api.served() as source:
        assert run(engine, source).status == "success"
        absent = {one for one, what in progress(engine, "files").items() if what == "absent"}
        assert absent == {"file-train-b", of(api, "b")}
        assert progress(engine, "metrics")[of(api, "b")] == "absent"
        assert len(rows(engine, "files")) == 4
        assert [one[0] for one in metrics(engine)] == ["ftjob-a", "ftjob-c"]
        api.forget()
        api.change("ftjob-b", metadata={"team": "a"})
        assert run(engine, source, now=NOW + HOUR).status == "success"
    assert not [path for path in api.asked() if path.startswith("/files")]


# files

#: No record of any kind; what is said of it.
NO_RECORDS: dict[str, tuple[Reply, str]] = {
    "HTML": (HTML, "An HTML page came: check base_url"),
    "not JSON": (Reply(b"upstream connect error", headers=HEADERS), "not JSON"),
    "empty": (Reply(b"", headers=HEADERS), "not JSON"),
    "cut": (Reply(b'{"id":"file-train-b","by', headers=HEADERS), "not JSON"),
    "an array": (Reply([file("file-train-b")], headers=HEADERS), "JSON, but not an object"),
    "an empty object": (Reply({}, headers=HEADERS), "nothing, with the status of a success"),
    "an error that says it is none": (
        Reply({"error": {"message": "oh"}}, headers=HEADERS),
        "an error, or nothing, with the status of a success",
    ),
}
#: A record, but not the one that was asked for.
OTHER_RECORDS: dict[str, tuple[Reply, str]] = {
    "no id": (Reply({"object": "file"}, headers=HEADERS), "`id` is missing"),
    "another file": (
        Reply(file("file-other"), headers=HEADERS),
        "asked for file-train-b, and this is file-other",
    ),
}


@pytest.mark.parametrize("name", NO_RECORDS)
def test_an_answer_that_is_no_record_waits_in_quarantine_until_it_is_read_well(
    sqlite_engine: Engine, api: Api, name: str
) -> None:
    reply, said = NO_RECORDS[name]
    check_bad_file(sqlite_engine, api, reply, said, payload=b"GET /files/file-train-b", tries=2)
    assert "req_42" in said_of(sqlite_engine)


@pytest.mark.parametrize("name", OTHER_RECORDS)
def test_so_does_a_record_of_which_nobody_knows_whether_it_is_the_one(
    sqlite_engine: Engine, api: Api, name: str
) -> None:
    reply, said = OTHER_RECORDS[name]
    check_bad_file(sqlite_engine, api, reply, said, payload=reply.content(), tries=1)


def said_of(engine: Engine) -> str:
    (line,) = rows(engine, "quarantine")
    return str(line["reason"])


def check_bad_file(
    engine: Engine, api: Api, reply: Reply, said: str, *, payload: bytes, tries: int
) -> None:
    api.instead["/files/file-train-b"] = reply
    with api.served() as source:
        first = run(engine, source)
        assert (first.status, statuses(first)["files"]) == ("partial", "partial")
        assert quarantined(engine) == [("files", "file-train-b", payload)]
        assert said in said_of(engine)
        assert len(rows(engine, "files")) == 5

        api.forget()
        run(engine, source, now=NOW + HOUR)
        assert api.asked() == [*["/files/file-train-b"] * tries, "/fine_tuning/jobs"]
        assert len(quarantined(engine)) == 1

        del api.instead["/files/file-train-b"]
        assert run(engine, source, now=NOW + 2 * HOUR).status == "success"
    assert len(rows(engine, "files")) == 6
    assert quarantined(engine) == []


@pytest.mark.parametrize("name", [".", "..", "", " "])
def test_a_file_id_that_no_path_can_hold(sqlite_engine: Engine, api: Api, name: str) -> None:
    api.change("ftjob-b", training_file=name, result_files=[name])
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert result.status in ("success", "partial")
    found = {row["id"] for row in rows(sqlite_engine, "files")}
    assert {"file-train-a", "file-train-c", of(api, "a"), of(api, "c")} <= found
    assert [row["job_id"] for row in rows(sqlite_engine, "job_events")] == [
        "ftjob-a",
        "ftjob-b",
        "ftjob-c",
    ]


@pytest.mark.parametrize("name", [".", ".."])
def test_a_job_id_that_no_path_can_hold(sqlite_engine: Engine, api: Api, name: str) -> None:
    api.add(name, training_file=None, result_files=[])
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert result.status in ("success", "partial")
    assert {"ftjob-a", "ftjob-b", "ftjob-c"} <= {
        row["job_id"] for row in rows(sqlite_engine, "job_events")
    }
    assert "ftjob-c" in {one[0] for one in metrics(sqlite_engine)}


def test_ids_of_odd_characters_arrive_as_they_are(engine: Engine) -> None:
    api = Api()
    odd = "ftjob-a/b?c#d%2F é😀"
    api.add(odd, events=[], checkpoints=[], training_file="file a/../b", result_files=[])
    api.instead["/fine_tuning/jobs/ftjob-a%2Fb%3Fc%23d%252F%20%C3%A9%F0%9F%98%80/events"] = Reply(
        {"data": [event()], "has_more": False}
    )
    api.instead["/files/file%20a%2F..%2Fb"] = Reply(file("file a/../b"))
    with api.served() as source:
        assert run(engine, source).status == "success"
    assert positions(engine, odd) == [(0, "ftevent-1")]
    assert [row["id"] for row in rows(engine, "files")] == ["file a/../b"]


# what fails


def test_one_job_whose_events_always_fail(engine: Engine, api: Api) -> None:
    for number in range(20):
        api.add(f"ftjob-d{number:02}")
    api.instead[events_path("ftjob-b")] = failing()
    with api.served() as source:
        first = run(engine, source)
        assert (first.status, statuses(first)["events"]) == ("partial", "partial")
        assert "1 of the answers failed" in error_of(first, "events")
        assert {one: how for one, how in statuses(first).items() if how != "success"} == {
            "events": "partial"
        }
        assert len(rows(engine, "job_events")) == 22
        assert len(rows(engine, "job_checkpoints")) == 23
        assert "ftjob-b" not in progress(engine, "events")
        assert quarantined(engine) == []

        api.forget()
        second = run(engine, source, now=NOW + HOUR)
        assert second.status == "partial"
        assert set(api.asked()) == {"/fine_tuning/jobs", events_path("ftjob-b")}

        api.instead.clear()
        assert run(engine, source, now=NOW + 2 * HOUR).status == "success"
    assert len(rows(engine, "job_events")) == 23


def test_two_that_fail_one_after_the_other_and_one_more_later_do_not_end_it(
    sqlite_engine: Engine,
) -> None:
    api = Api()
    for number in range(10):
        api.add(f"ftjob-{number}")
    for number in (2, 3, 5, 6, 9):
        api.instead[events_path(f"ftjob-{number}")] = failing()
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert statuses(result)["events"] == "partial"
    assert len(rows(sqlite_engine, "job_events")) == 5
    assert "5 of the answers failed" in error_of(result, "events")


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (4, 4 * 8 + 3)])
def test_three_that_fail_one_after_the_other_end_the_part(
    sqlite_engine: Engine, workers: int, most: int
) -> None:
    """No thousands of requests that would fail too."""
    api = Api()
    for number in range(200):
        api.add(f"ftjob-{number:03}")
        if number >= 5:
            api.instead[events_path(f"ftjob-{number:03}")] = failing()
    with api.served(workers=workers, max_attempts=1) as source:
        result = run(sqlite_engine, source)
    found = statuses(result)
    assert (result.status, found["events"]) == ("partial", "failed")
    assert found["checkpoints"] == found["files"] == found["metrics"] == "success"
    assert "HTTP 500" in error_of(result, "events")
    assert len(rows(sqlite_engine, "job_events")) == 5
    assert 5 + 3 <= len(api.asked("/events")) <= 5 + most
    assert len(rows(sqlite_engine, "job_checkpoints")) == 200


@pytest.mark.parametrize("broken", [failing(), failing(400), HTML], ids=["500", "400", "HTML"])
def test_a_few_jobs_that_never_can_be_read_do_not_keep_new_ones_out_for_ever(
    sqlite_engine: Engine, broken: Reply
) -> None:
    """Once the others are settled, those that fail are all that stands before a new job."""
    api = Api()
    for number in range(9):
        api.add(f"ftjob-{number}")
    for number in (1, 4, 7):
        api.instead[events_path(f"ftjob-{number}")] = broken
    with api.served() as source:
        run(sqlite_engine, source)
        assert len(rows(sqlite_engine, "job_events")) == 6
        api.add("ftjob-9")
        for hours in range(1, 6):
            run(sqlite_engine, source, now=NOW + hours * HOUR)
    assert positions(sqlite_engine, "ftjob-9") == [(0, "ftevent-9")]


@pytest.mark.parametrize("status", [400, 422])
def test_one_path_that_is_refused_is_asked_again(
    sqlite_engine: Engine, api: Api, status: int
) -> None:
    api.instead[checkpoints_path("ftjob-b")] = failing(status)
    with api.served() as source:
        first = run(sqlite_engine, source)
        assert (first.status, statuses(first)["checkpoints"]) == ("partial", "partial")
        assert len(api.asked("ftjob-b/checkpoints")) == 1
        api.instead.clear()
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
    assert len(rows(sqlite_engine, "job_checkpoints")) == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_the_right_ends_the_resource_and_no_other(
    sqlite_engine: Engine, status: int
) -> None:
    api = Api()
    for number in range(100):
        api.add(f"ftjob-{number:02}")
        api.instead[events_path(f"ftjob-{number:02}")] = failing(status)
    with api.served() as source:
        result = run(sqlite_engine, source)
    found = statuses(result)
    assert (result.status, found.pop("events")) == ("partial", "failed")
    assert set(found.values()) == {"success"}
    assert f"HTTP {status}" in error_of(result, "events")
    assert len(api.asked("/events")) <= 4 * 8 + 1
    assert quarantined(sqlite_engine) == []
    assert len(rows(sqlite_engine, "job_checkpoints")) == 100


def test_a_key_without_a_right_to_files_leaves_the_rest(sqlite_engine: Engine, api: Api) -> None:
    for path in list(api.files):
        api.instead[f"/files/{path}"] = failing(403)
        api.instead[f"/files/{path}/content"] = failing(403)
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert statuses(result) == {
        "jobs": "success",
        "events": "success",
        "checkpoints": "success",
        "files": "failed",
        "metrics": "failed",
    }


def test_a_server_that_asks_for_a_long_wait_ends_the_source_and_what_came_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next source is read."""
    monkeypatch.setattr(Gate, "wait", lambda *_: None)
    one, two = Api(), Api()
    for name in ("a", "b", "c"):
        one.add(f"ftjob-{name}")
    two.add("ftjob-z")
    one.instead[events_path("ftjob-b")] = failing(429, **{"Retry-After": "121"})
    with one.served(name="one") as first, two.served(name="two") as second:
        result = run(engine, first, second)
        assert [source.status for source in result.sources] == ["partial", "success"]
        assert [
            (tally.resource, tally.status) for tally in sorted_tallies(result.sources[0].tallies)
        ] == [("events", "partial"), ("jobs", "success")]
        assert "121 s" in error_of(result, "events")
        assert one.asked("/checkpoints") == []
        assert [row["job_id"] for row in rows(engine, "job_events")] == ["ftjob-a", "ftjob-z"]
        one.instead.clear()
        assert run(engine, first, second, now=NOW + HOUR).status == "success"
    assert len(rows(engine, "job_events")) == 4


def sorted_tallies(tallies: list[Any]) -> list[Any]:
    return sorted(tallies, key=lambda tally: str(tally.resource))


def test_an_answer_that_stumbles_once_is_only_retried(sqlite_engine: Engine, api: Api) -> None:
    def stumbling(right: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
        tries = itertools.count()
        return lambda seen: failing(503) if next(tries) == 0 else right(seen)

    api.instead[events_path("ftjob-b")] = stumbling(lambda seen: page(api.events["ftjob-b"], seen))
    cut = Reply(b"step,train_loss\n1,0.5\n", announced=10_000)
    tries = itertools.count()
    api.instead[f"/files/{of(api, 'b')}/content"] = lambda _: (
        cut if next(tries) == 0 else Reply(b"step,train_loss\n1,0.5\n")
    )
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert (result.status, result.counts["retries"]) == ("success", 2)
    assert len(metrics(sqlite_engine)) == 3
