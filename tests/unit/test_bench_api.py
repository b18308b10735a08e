"""The benchmark's fake API: deterministic, complete, and honest about what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.api import Answers, Shelf
from benchmarks.jobs import OPEN, History, id_of, number_of

JOBS = 250


@pytest.fixture
def answers() -> Iterator[Answers]:
    shelf = Shelf(JOBS)
    yield Answers(shelf)
    shelf.close()


def get(answers: Answers, path: str) -> Any:
    status, body = answers.answer("GET", f"/v1/fine_tuning/jobs{path}", b"")
    assert status == 200
    return json.loads(body)


def listing(answers: Answers, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = get(answers, f"?limit={limit}{after}")
        found += page["data"]
        if not page["has_more"]:
            return found
        assert len(page["data"]) == limit
        after = f"&after={found[-1]['id']}"


def truth(answers: Answers) -> dict[str, str]:
    lines = answers.answer("GET", "/truth", b"")[1].decode().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_an_id_gives_back_its_number() -> None:
    numbers = [*range(1000), 999_999, 5_000_000]
    ids = [id_of(number) for number in numbers]
    assert [number_of(one) for one in ids] == numbers
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {len("ftjob-") + 24}


@pytest.mark.parametrize("bad", [b"", b"ftjob-", b"ftjob-12", b"ftjob-?????????????"])
def test_an_id_without_a_number_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"^b'"):
        number_of(bad)


def test_two_histories_of_one_size_are_the_same() -> None:
    one, other = Shelf(50), Shelf(50)
    assert one.page(50, 50) == other.page(50, 50)
    one.close()
    other.close()


@pytest.mark.parametrize("limit", [1, 7, 100, 250, 1000])
def test_pages_of_any_size_list_every_job_once_newest_first(answers: Answers, limit: int) -> None:
    jobs = listing(answers, limit)
    assert [job["id"] for job in jobs] == list(reversed(truth(answers)))
    assert [job["created_at"] for job in jobs] == sorted(
        (job["created_at"] for job in jobs), reverse=True
    )
    assert {job["id"]: job["status"] for job in jobs} == truth(answers)


def test_open_jobs_succeed_new_ones_come_and_a_reset_takes_both_back(answers: Answers) -> None:
    before = listing(answers, 100)
    body = json.dumps({"changed": 20, "new": 3}).encode()
    changed = json.loads(answers.answer("POST", "/advance", body)[1])["changed"]
    after = listing(answers, 100)
    assert len(after) == JOBS + 3
    was = {job["id"]: job for job in before}
    now = {job["id"]: job for job in after}
    assert sorted(changed) == sorted(name for name, job in was.items() if job != now[name])
    assert {now[name]["status"] for name in changed} == {"succeeded"}
    assert all(now[name]["trained_tokens"] for name in changed)
    assert get(answers, f"/{changed[0]}") == now[changed[0]]
    assert {job["id"]: job["status"] for job in after} == truth(answers)
    answers.answer("POST", "/reset", b"{}")
    assert listing(answers, 100) == before


def test_only_some_are_open() -> None:
    history = History(1000)
    final = {b"succeeded", b"failed", b"cancelled"}
    assert sum(history.status(number) not in final for number in range(1000)) == OPEN


def test_requests_are_counted_and_control_is_not(answers: Answers) -> None:
    listing(answers, 100)
    answers.answer("GET", "/truth", b"")
    stats = json.loads(answers.answer("GET", "/stats", b"")[1])
    assert stats["requests"] == 3
    assert stats["job_bytes"] > 500


def test_what_is_not_there_is_404(answers: Answers) -> None:
    unknown = id_of(JOBS + 7).decode()
    assert answers.answer("GET", f"/v1/fine_tuning/jobs/{unknown}", b"")[0] == 404
    assert answers.answer("GET", f"/v1/fine_tuning/jobs?after={unknown}", b"")[0] == 404
    assert answers.answer("GET", "/v1/files", b"")[0] == 404
    assert answers.answer("GET", "/v1/fine_tuning/jobs?limit=many", b"")[0] == 400


def test_children_are_empty_lists(answers: Answers) -> None:
    assert get(answers, f"/{id_of(1).decode()}/events")["data"] == []
