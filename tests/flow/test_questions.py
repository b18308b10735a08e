"""The questions of docs/questions.md: alike on every database, and right by other means."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.cli import main
from etl.db import views
from tests.conftest import make_schema
from tests.dear import servers_when_long
from tests.questions import PAGE, Known, Question, ask, copy, databases, fill, questions
from tests.spending import Book, base_of, cost_of
from tests.test_docs import cell

QUESTIONS = questions()
ENDED = ("succeeded", "failed", "cancelled")


# The page


def test_there_are_questions_of_six_kinds_and_the_table_of_contents_has_each() -> None:
    page = PAGE.read_text(encoding="utf-8")
    groups = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert groups == ["Money", "Outcomes", "Quality", "Time", "Data and lineage", "Operations"]
    titles = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert [one.title for one in QUESTIONS] == titles
    assert len(titles) == len(set(titles)) >= 30
    contents = re.findall(r"^  - \[(.+)\]\(#(.+)\)$", page, re.MULTILINE)
    assert contents == [(title, anchor(title)) for title in titles]
    for title in titles:
        assert title.endswith("?")


def anchor(title: str) -> str:
    """What a code host makes of a heading's text."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.title)
def test_a_question_says_how_it_is_read_and_asks_views_alone_in_full_order(
    question: Question,
) -> None:
    assert 1 <= len(question.reading.splitlines()) <= 4
    inside = set(re.findall(r"\b(\w+) AS \(\n", question.sql))
    read = set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", question.sql)) - inside
    assert read
    assert read <= set(views.names())
    assert re.search(r"^ORDER BY ", question.sql, re.MULTILINE)


# On every database


def test_every_question_has_an_answer_from_an_empty_mirror(engine: Engine) -> None:
    for question in QUESTIONS:
        names, found = ask(engine, question.sql)
        assert names
        assert found == [], question.title
    for view in views.names():
        assert ask(engine, f"SELECT * FROM {view}")[1] == []


@servers_when_long
def test_commands_say_of_an_empty_mirror_that_there_is_nothing_yet(
    empty_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_schema(empty_database).dispose()
    page = tmp_path / "report.html"
    for command, said in (
        (["spend"], "the mirror holds no jobs yet, so nothing was spent"),
        (["spend", "--by", "metadata.team"], "the mirror holds no jobs yet"),
        (["status"], "nothing is mirrored yet; `ftmirror sync` begins"),
        (["report", "--output", str(page)], str(page)),
    ):
        assert main([*command, "--database-url", empty_database]) == 0
        assert said in capsys.readouterr().out
    told = page.read_text(encoding="utf-8")
    assert told.count("Nothing yet.") >= 8
    assert main(["status", "--json", "--database-url", empty_database]) == 0
    answer = capsys.readouterr()
    assert json.loads(answer.out)["totals"] == {}
    assert answer.err == "nothing is mirrored yet; `ftmirror sync` begins\n"


def test_answers_are_equal_on_the_three_databases_and_those_of_the_world(
    database_servers: dict[str, str], tmp_path: Path
) -> None:
    urls = databases(database_servers, tmp_path, f"questions_{os.getpid()}")
    engines = {kind: make_schema(url) for kind, url in urls.items()}
    witness = fill(engines["sqlite"])
    copy(engines["sqlite"], engines["postgresql"])
    copy(engines["sqlite"], engines["mariadb"])
    given: dict[str, list[dict[str, Any]]] = {}
    for question in QUESTIONS:
        said = {kind: ask(engine, question.sql) for kind, engine in engines.items()}
        shown = {kind: [tuple(map(cell, row)) for row in rows] for kind, (_, rows) in said.items()}
        assert shown["postgresql"] == shown["sqlite"], question.title
        assert shown["mariadb"] == shown["sqlite"], question.title
        assert shown["sqlite"], f"nothing is answered: {question.title}"
        names, _ = said["sqlite"]
        given[question.title] = [dict(zip(names, row, strict=True)) for row in shown["sqlite"]]
    for engine in engines.values():
        engine.dispose()
    jobs = list(witness.jobs.values())
    for title, (columns, expected) in EXPECTED.items():
        found = [tuple(row[name] for name in columns) for row in given[title]]
        wanted = [tuple(map(cell, line)) for line in expected(jobs)]
        assert found == wanted[: len(found)], title
        assert len(found) == min(len(wanted), limit(title)), title


# By other means: from what the API showed, not through tables

BOOK = Book()
Lines = Iterable[tuple[Any, ...]]


def month(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")


def day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def method(job: dict[str, Any]) -> str:
    return str((job.get("method") or {"type": "(before methods)"})["type"])


def team(job: dict[str, Any]) -> str:
    return str((job.get("metadata") or {}).get("team", "(none)"))


def micro(known: Known) -> int | None:
    """What a job cost, in micro-dollars; None where that is not known."""
    steps = [
        one["data"]["timing"]["step"]["full_iteration"]
        for one in known.events
        if "timing" in (one["data"] or {})
    ]
    cost = cost_of({**known.job, "method": known.job.get("method")}, steps, BOOK)
    never_began = known.job["status"] in ("failed", "cancelled") and started(known) is None
    return 0 if cost.reason == "no_usage" and never_began else cost.micro


def total(jobs: Iterable[Known]) -> int | None:
    """What they cost together, without those whose cost is not known."""
    costs = [cost for cost in map(micro, jobs) if cost is not None]
    return sum(costs) if costs else None


def dollars(amount: int | None) -> float | None:
    return None if amount is None else float(Decimal(amount).scaleb(-6))


def percent(part: int, whole: int) -> Decimal:
    exact = Decimal(100 * part) / whole
    return exact.quantize(Decimal("0.1"), ROUND_HALF_UP)


def started(known: Known) -> int | None:
    told = [
        one["created_at"] for one in known.events if one["message"] == "Fine-tuning job started"
    ]
    return told[0] if told else None


def grouped(jobs: Iterable[Known], key: Callable[[Known], Any]) -> dict[Any, list[Known]]:
    found = defaultdict(list)
    for one in jobs:
        found[key(one)].append(one)
    return found


def spend_by_team(jobs: list[Known]) -> Lines:
    ended = [one for one in jobs if one.job["status"] in ENDED]
    of = grouped(
        ended, lambda one: (month(one.job["finished_at"] or one.job["created_at"]), team(one.job))
    )
    lines = [(*key, len(them), total(them)) for key, them in of.items()]
    for when, whose, count, cost in sorted(lines, key=lambda one: (one[0], -(one[3] or 0), one[1])):
        if "2026-08" <= when <= "2026-11":
            yield when, whose, count, dollars(cost)


def success(jobs: list[Known]) -> Lines:
    ended = [one.job for one in jobs if one.job["status"] in ENDED]
    of = defaultdict(list)
    for job in ended:
        of[base_of(job["model"]), method(job)].append(job["status"] == "succeeded")
    lines = [
        (*key, len(them), sum(them), percent(sum(them), len(them)))
        for key, them in of.items()
        if len(them) >= 10
    ]
    return sorted(lines, key=lambda one: (-one[4], -one[2], one[0], one[1]))


def repeated(jobs: list[Known]) -> Lines:
    of = grouped(jobs, lambda one: one.job["training_file"])
    lines = [
        (
            file_id,
            len(them),
            sum(one.job["status"] == "succeeded" for one in them),
            len({base_of(one.job["model"]) for one in them}),
            day(min(one.job["created_at"] for one in them)),
            day(max(one.job["created_at"] for one in them)),
            dollars(total(them) or 0),
        )
        for file_id, them in of.items()
        if len(them) > 1
    ]
    return sorted(lines, key=lambda one: (-one[1], -one[6], one[0]))


def queues(jobs: list[Known]) -> Lines:
    waits = defaultdict(list)
    for one in jobs:
        began = started(one)
        if began is not None:
            waits[month(one.job["created_at"])].append(began - one.job["created_at"])
    for when, them in sorted(waits.items(), reverse=True):
        yield when, len(them), sorted(them)[(len(them) - 1) // 2], max(them)


def wasted(jobs: list[Known]) -> Lines:
    """Epochs behind the best checkpoint: its losses, read as they came."""
    lines = []
    for one in jobs:
        losses = {
            point["step_number"]: point["metrics"]
            for point in one.checkpoints
            if "train_loss" in point["metrics"]
        }
        for name in ("full_valid_loss", "train_loss"):
            if any(name in metrics for metrics in losses.values()):
                best = min(
                    (metrics[name], -step) for step, metrics in losses.items() if name in metrics
                )
                lines.append((one, -best[1], max(losses)))
                break
    late = [line for line in lines if line[1] < line[2]]
    late.sort(
        key=lambda line: (-(micro(line[0]) or 0) * (line[2] - line[1]) / line[2], line[0].job["id"])
    )
    return [(one.job["id"], best, last) for one, best, last in late]


def lost_hours(jobs: list[Known]) -> Lines:
    """Seconds from the start of training to the job's end, or its last event."""
    useful: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for one in jobs:
        began = started(one)
        if began is None or one.job["status"] not in ENDED:
            continue
        seconds = (one.job["finished_at"] or one.events[-1]["created_at"]) - began
        base = base_of(one.job["model"])
        if one.job["status"] == "succeeded":
            useful[base] += seconds
        else:
            lost[base] += seconds
            count[base] += 1
    bases = sorted({*useful, *lost}, key=lambda base: (-lost[base], base))
    for base in bases:
        yield base, hours(useful[base]), hours(lost[base]), count[base]


def hours(seconds: int) -> float:
    return float((Decimal(seconds) / 3600).quantize(Decimal("0.0001"), ROUND_HALF_UP))


def shared(jobs: list[Known]) -> Lines:
    of = grouped(
        [one for one in jobs if one.job.get("shared_with_openai")], lambda one: team(one.job)
    )
    for whose, them in sorted(of.items(), key=lambda one: (-len(one[1]), one[0])):
        days = [day(one.job["created_at"]) for one in them]
        yield whose, len(them), min(days), max(days)


def parents(jobs: list[Known]) -> Lines:
    made = {one.job["fine_tuned_model"]: one for one in jobs if one.job["fine_tuned_model"]}
    of = grouped(
        [one for one in jobs if one.job["model"] in made and one.job["fine_tuned_model"]],
        lambda one: one.job["model"],
    )
    lines = [
        (model, base_of(model), len(them), day(max(one.job["created_at"] for one in them)))
        for model, them in of.items()
    ]
    return sorted(sorted(lines), key=lambda one: (one[2], one[3]), reverse=True)


def last_trained(jobs: list[Known]) -> Lines:
    of = grouped(jobs, lambda one: team(one.job))
    lines = []
    for whose, them in of.items():
        if whose != "(none)":
            last = min(them, key=lambda one: (-one.job["created_at"], one.job["id"])).job
            named = (day(last["created_at"]), base_of(last["model"]), last["status"], len(them))
            lines.append((whose, *named))
    return sorted(sorted(lines), key=lambda one: one[1], reverse=True)


#: By question: the columns that are held against the world, and what it says of them in full.
EXPECTED: dict[str, tuple[tuple[str, ...], Callable[[list[Known]], Lines]]] = {
    "What did each team spend, month by month?": (
        ("month", "team", "jobs", "cost_usd"),
        spend_by_team,
    ),
    "How often does training succeed, by model and method?": (
        ("base_model", "method", "ended", "succeeded", "success_percent"),
        success,
    ),
    "How many hours of training led to no model?": (
        ("base_model", "useful_hours", "lost_hours", "lost_jobs"),
        lost_hours,
    ),
    "How many epochs were paid for after the best checkpoint?": (
        ("job_id", "best_step", "last_step"),
        wasted,
    ),
    "How long do jobs wait in the queue, month by month?": (
        ("month", "jobs", "median_seconds", "longest_seconds"),
        queues,
    ),
    "When did each team last train, and on what?": (
        ("team", "last_on", "base_model", "status", "jobs"),
        last_trained,
    ),
    "Which training files were used more than once?": (
        ("training_file", "runs", "succeeded", "base_models", "first_on", "last_on", "cost_usd"),
        repeated,
    ),
    "Which models were others trained on?": (
        ("fine_tuned_model", "base_model", "descendants", "last_on"),
        parents,
    ),
    "Whose training data is shared with OpenAI?": (
        ("team", "shared_jobs", "first_on", "last_on"),
        shared,
    ),
}


def limit(title: str) -> int:
    """How many lines an answer has at most."""
    (sql,) = [one.sql for one in QUESTIONS if one.title == title]
    found = re.search(r"LIMIT (\d+)$", sql)
    return int(found[1]) if found else 1_000
