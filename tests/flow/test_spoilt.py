"""An answer that was spoilt on its way is asked for again at once, and nothing of it is left."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.conftest import make_schema
from tests.http_server import Reply, Seen
from tests.mirror import rows
from tests.parts import (
    HEADERS,
    JOBS,
    NOW,
    Answer,
    Api,
    checkpoints_path,
    event,
    events_path,
    metrics,
    newest,
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
DAY = timedelta(days=1)
CONTENT = "/files/file-result-b/content"

HTML = Reply(b"<html>Sign in</html>", headers={**HEADERS, "Content-Type": "text/html"})
SPOILT: dict[str, Reply] = {
    "HTML": HTML,
    "not JSON": Reply(b"upstream connect error", headers=HEADERS),
    "empty": Reply(b"", headers=HEADERS),
    "cut": Reply(b'{"data":[{"id":"ft', headers=HEADERS),
    "an array": Reply([event()], headers=HEADERS),
    "an error": Reply({"error": {"message": "oh"}}, headers=HEADERS),
}


@pytest.fixture
def api() -> Api:
    """Three jobs; the one in the middle is for a test to spoil."""
    made = Api()
    for name in "abc":
        made.add(f"ftjob-{name}")
    return made


def once(spoilt: Reply, right: Callable[[Seen], Reply], times: int = 1) -> Answer:
    """The first so many answers are spoilt, the others right."""
    numbers = itertools.count(1)
    return lambda seen: spoilt if next(numbers) <= times else right(seen)


def numbered(items: list[Any], seen: Seen) -> Reply:
    """A page of a list that holds some items twice; the next begins behind the first of an id."""
    query = dict(seen.query)
    ids = [item["id"] for item in items]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    end = start + int(query["limit"])
    return Reply({"data": items[start:end], "has_more": end < len(items)}, headers=HEADERS)


def numbered_from(right: list[Any], once_more: Any, seen: Seen) -> Reply:
    """A list's page; the first one begins with something from further down."""
    if "after" in dict(seen.query):
        return numbered(right, seen)
    first = right[: int(dict(seen.query)["limit"])]
    return Reply(
        {"data": [once_more, *first], "has_more": len(right) > len(first)}, headers=HEADERS
    )


# once


@pytest.mark.parametrize("name", SPOILT)
def test_whatever_comes_spoilt_once_is_right_after_the_same_run(
    sqlite_engine: Engine, api: Api, name: str
) -> None:
    """The list of jobs, of events and of checkpoints, and a file."""
    right = {
        JOBS: lambda seen: page(list(api.jobs.values()), seen),
        events_path("ftjob-b"): lambda seen: page(api.events["ftjob-b"], seen),
        checkpoints_path("ftjob-b"): lambda seen: page(api.checkpoints["ftjob-b"], seen),
        "/files/file-train-b": lambda _: Reply(api.files["file-train-b"]),
    }
    for path, answer in right.items():
        api.instead[path] = once(SPOILT[name], answer)
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert (result.status, result.counts["retries"]) == ("success", 4)
    assert result.counts["requests"] == len(api.seen) == 1 + 3 + 3 + 6 + 3 + 4
    assert quarantined(sqlite_engine, is_open=False) == quarantined(sqlite_engine) == []
    assert len(rows(sqlite_engine, "jobs")) == len(rows(sqlite_engine, "job_events")) == 3
    assert len(rows(sqlite_engine, "job_checkpoints")) == 3
    assert len(rows(sqlite_engine, "files")) == 6


def test_an_html_page_instead_of_a_result_file_once(engine: Engine, api: Api) -> None:
    api.instead[CONTENT] = once(HTML, lambda _: Reply(api.contents["file-result-b"]))
    with api.served() as source:
        result = run(engine, source)
    assert (result.status, result.counts["retries"]) == ("success", 1)
    assert requests(result)["metrics"] == 3 + 1
    assert metrics(engine) == [(f"ftjob-{name}", 1, "train_loss", 0.5) for name in "abc"]
    assert quarantined(engine, is_open=False) == quarantined(engine) == []


def test_an_open_job_that_comes_spoilt_once_is_read_again(engine: Engine, api: Api) -> None:
    api.change("ftjob-a", status="running", finished_at=None)
    with api.served() as source:
        run(engine, source)
        api.change("ftjob-a", status="succeeded")
        api.add("ftjob-d")
        head = list(api.jobs.values())[:2]  # down to what is known, and not to the open job
        api.instead[JOBS] = Reply({"data": head, "has_more": True})
        api.instead[f"{JOBS}/ftjob-a"] = once(HTML, lambda _: Reply(api.jobs["ftjob-a"]))
        api.forget()
        result = run(engine, source, now=NOW + HOUR)
    assert (result.status, result.counts["retries"]) == ("success", 1)
    assert api.asked("ftjob-a") == [f"{JOBS}/ftjob-a"] * 2
    assert rows(engine, "jobs")[0]["status"] == "succeeded"
    assert quarantined(engine, is_open=False) == quarantined(engine) == []


def test_a_page_that_leads_back_once(sqlite_engine: Engine, api: Api) -> None:
    api.events["ftjob-b"] = told("ftjob-b", 250)
    numbers = itertools.count(1)

    def stumbling(seen: Seen) -> Reply:
        """The second answer is the first page again."""
        asked = replace(seen, query=[("limit", "100")]) if next(numbers) == 2 else seen
        return page(api.events["ftjob-b"], asked)

    api.instead[events_path("ftjob-b")] = stumbling
    with api.served() as source:
        result = run(sqlite_engine, source)
    assert result.status == "success"
    assert requests(result)["events"] == 2 + 4
    assert [place for place, _ in positions(sqlite_engine, "ftjob-b")] == list(range(250))


# every time


def test_it_is_asked_for_three_times_and_never_more(sqlite_engine: Engine, api: Api) -> None:
    for path in (events_path("ftjob-b"), "/files/file-train-b", CONTENT):
        api.instead[path] = HTML
    with api.served(max_attempts=8) as source:
        result = run(sqlite_engine, source)
    assert (result.status, result.counts["retries"]) == ("partial", 6)
    assert len(api.asked("ftjob-b/events")) == len(api.asked("file-train-b")) == 3
    assert len(api.asked(CONTENT)) == 3
    assert [one[:2] for one in quarantined(sqlite_engine)] == [
        ("events", "ftjob-b"),
        ("files", "file-train-b"),
        ("metrics", "file-result-b"),
    ]
    assert all("HTML" in reason and "req_42" in reason for reason in reasons(sqlite_engine))


def test_the_third_answer_may_be_the_right_one(sqlite_engine: Engine, api: Api) -> None:
    right = lambda seen: page(api.events["ftjob-b"], seen)  # noqa: E731
    api.instead[events_path("ftjob-b")] = once(HTML, right, times=2)
    with api.served(max_attempts=8) as source:
        result = run(sqlite_engine, source)
    assert (result.status, result.counts["retries"]) == ("success", 2)
    assert positions(sqlite_engine, "ftjob-b") == [(0, "ftevent-b")]


# a result file of nothing


@pytest.mark.parametrize("content", [b"", b" \r\n"], ids=["empty", "blank"])
def test_an_empty_result_file_is_refused_and_asked_for_again(
    engine: Engine, api: Api, content: bytes
) -> None:
    """Its answer may have been cut before the first byte."""
    whole = api.contents["file-result-b"]
    api.contents["file-result-b"] = content
    with api.served() as source:
        first = run(engine, source)
        assert (first.status, statuses(first)["metrics"]) == ("partial", "partial")
        assert quarantined(engine) == [("metrics", "file-result-b", content)]
        assert reasons(engine) == ["the file is empty, without even a header"]
        assert "file-result-b" not in progress(engine, "metrics")

        api.contents["file-result-b"] = whole
        assert run(engine, source, now=NOW + HOUR).status == "success"
    assert quarantined(engine) == []
    assert metrics(engine) == [(f"ftjob-{name}", 1, "train_loss", 0.5) for name in "abc"]


def test_a_result_file_that_stays_empty_is_asked_for_with_each_whole_listing(
    sqlite_engine: Engine, api: Api
) -> None:
    whole = api.contents["file-result-b"]
    api.contents["file-result-b"] = b""
    with api.served() as source:
        run(sqlite_engine, source)
        for hours in (1, 2):
            assert run(sqlite_engine, source, now=NOW + hours * HOUR).status == "success"
        api.forget()
        assert run(sqlite_engine, source, now=NOW + 3 * HOUR).status == "success"
        assert api.asked() == [JOBS]
        api.forget()
        assert run(sqlite_engine, source, now=NOW + 2 * DAY).status == "success"
        assert api.asked("/content") == [CONTENT]
        assert len(quarantined(sqlite_engine)) == 1
        api.contents["file-result-b"] = whole
        assert run(sqlite_engine, source, now=NOW + 4 * DAY).status == "success"
    assert quarantined(sqlite_engine) == []
    assert len(metrics(sqlite_engine)) == 3


# an event on two pages


def test_an_event_on_two_pages_has_one_place(engine: Engine, api: Api, tmp_path: Path) -> None:
    """As in a fresh mirror of a server that says each once."""
    api.events["ftjob-b"] = right = told("ftjob-b", 250)
    twice = [*right[:102], *right[98:200], *right[195:]]
    api.instead[events_path("ftjob-b")] = lambda seen: numbered(twice, seen)
    with api.served() as source:
        assert run(engine, source).status == "success"
        found, frontier = positions(engine, "ftjob-b"), newest(engine, "ftjob-b")
        assert found == list(enumerate(one["id"] for one in reversed(right)))
        assert frontier == [one["id"] for one in right[:3]]

        api.instead.clear()
        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        assert run(fresh, source).status == "success"
    assert (positions(fresh, "ftjob-b"), newest(fresh, "ftjob-b")) == (found, frontier)
    fresh.dispose()


def test_what_came_on_two_pages_moves_no_place_of_what_follows_later(
    sqlite_engine: Engine, api: Api
) -> None:
    api.change("ftjob-b", status="running", finished_at=None)
    api.events["ftjob-b"] = told("ftjob-b", 2)
    with api.served() as source:
        run(sqlite_engine, source)
        right = told("ftjob-b", 152)
        twice = [*right[:100], *right[99:]]
        api.instead[events_path("ftjob-b")] = lambda seen: numbered(twice, seen)
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
    ids = [one["id"] for one in right]
    assert positions(sqlite_engine, "ftjob-b") == list(enumerate(ids[::-1]))
    assert newest(sqlite_engine, "ftjob-b") == ids[:3]


def test_the_newest_event_on_two_pages_is_remembered_once(sqlite_engine: Engine, api: Api) -> None:
    new, old = api.events["ftjob-b"] = told("ftjob-b", 2)
    answers = iter([Reply({"data": [new], "has_more": True}), Reply({"data": [new, old]})])
    api.instead[events_path("ftjob-b")] = lambda _: next(answers, Reply({"data": []}))
    with api.served() as source:
        assert run(sqlite_engine, source).status == "success"
    assert positions(sqlite_engine, "ftjob-b") == [(0, old["id"]), (1, new["id"])]
    assert newest(sqlite_engine, "ftjob-b") == [new["id"], old["id"]]


def test_an_old_event_at_the_head_of_a_list_gets_its_own_place(engine: Engine, api: Api) -> None:
    """As servers do that put what ended another page before this one."""
    right = told("ftjob-b", 150)
    api.instead[events_path("ftjob-b")] = lambda seen: numbered_from(right, right[120], seen)
    with api.served() as source:
        assert run(engine, source).status == "success"
    assert positions(engine, "ftjob-b") == list(enumerate(one["id"] for one in reversed(right)))
    assert newest(engine, "ftjob-b") == [one["id"] for one in right[:3]]


@pytest.mark.parametrize("place", [0, 1, 2, 40], ids=["newest", "second", "third", "old"])
def test_nor_does_it_hide_what_is_new_from_a_later_run(
    sqlite_engine: Engine, api: Api, place: int
) -> None:
    right = told("ftjob-b", 150)
    api.change("ftjob-b", status="running", finished_at=None)
    api.events["ftjob-b"] = known = right[90:]
    with api.served() as source:
        run(sqlite_engine, source)
        api.instead[events_path("ftjob-b")] = lambda seen: numbered_from(right, known[place], seen)
        assert run(sqlite_engine, source, now=NOW + HOUR).status == "success"
    ids = [one["id"] for one in right]
    assert positions(sqlite_engine, "ftjob-b") == list(enumerate(ids[::-1]))
    assert newest(sqlite_engine, "ftjob-b") == ids[:3]


# the same spoilt text twice


def test_two_files_that_came_empty_are_both_asked_for_again(engine: Engine, api: Api) -> None:
    whole = dict(api.contents)
    for name in ("a", "b"):
        api.contents[f"file-result-{name}"] = b""
    with api.served() as source:
        assert run(engine, source).status == "partial"
        assert [one[1] for one in quarantined(engine)] == ["file-result-a", "file-result-b"]
        api.contents = whole
        assert run(engine, source, now=NOW + HOUR).status == "success"
    assert quarantined(engine) == []
    assert [one[0] for one in metrics(engine)] == ["ftjob-a", "ftjob-b", "ftjob-c"]


def test_two_lists_in_which_one_text_came_spoilt_are_both_read_again(
    engine: Engine, api: Api
) -> None:
    right = {f"ftjob-{name}": told(f"ftjob-{name}", 3) for name in "ab"}
    for job_id, (new, _, old) in right.items():
        api.events[job_id] = [new, None, old]
    with api.served() as source:
        assert run(engine, source).status == "partial"
        assert quarantined(engine) == [("events", None, b"null")] * 2
        api.events.update(right)
        assert run(engine, source, now=NOW + HOUR).status == "success"
    assert quarantined(engine) == []
    for job_id in right:
        assert [place for place, _ in positions(engine, job_id)] == [0, 1, 2]
