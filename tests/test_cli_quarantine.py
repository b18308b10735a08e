"""`ftmirror quarantine` as somebody at a terminal, or a script, sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.calling import Call
from tests.test_cli import call

__all__ = ["call"]

JOB = {"object": "fine_tuning.job", "id": "ftjob-a"}


@pytest.fixture
def filled(call: Call) -> Call:
    """Call `ftmirror` where an import left something in quarantine."""
    lines = [
        JOB,
        {"object": "fine_tuning.job", "id": "ftjob-\x1b[2J", "created_at": "soon"},
        {"x": 1},
    ]
    Path("jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert call("import", "jobs.jsonl").code == 3
    return call


def test_the_list_names_record_time_and_reason(filled: Call) -> None:
    out = filled("quarantine", "list").out
    assert "ftjob-a" in out
    assert "`created_at` is no time: null" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_one_is_shown_with_its_text(filled: Call) -> None:
    assert filled("quarantine", "show", "1").out.endswith("\n\n" + json.dumps(JOB) + "\n")
    told = filled("quarantine", "show", "1", "--json").json
    assert (told["record_id"], told["payload"]) == ("ftjob-a", json.dumps(JOB))
    missing = filled("quarantine", "show", "9")
    assert missing.code == 2
    assert "quarantine has no line 9" in missing.err


def test_a_retry_that_leaves_something_is_partial_and_says_what(
    filled: Call,
) -> None:
    done = filled("quarantine", "retry")
    assert done.code == 3
    assert "0 resolved, 3 left" in done.out
    assert "1: jobs ftjob-a: `created_at` is no time: null" in done.out
    told = filled("quarantine", "retry", "3", "--json").json
    assert (told["status"], told["mode"], told["resolved"]) == ("partial", "retry", 0)
    reasons = re.findall(r'"reason": "([^"]*)"', filled("quarantine", "retry", "3", "--json").out)
    assert reasons == ["jobs.jsonl, line 3: `id` is missing"]


def test_an_empty_quarantine_says_so(call: Call) -> None:
    Path("job.json").write_text(json.dumps({**JOB, "created_at": 1700000000, "status": "queued"}))
    assert call("import", "job.json").code == 0
    assert call("quarantine", "list").out == "nothing in quarantine\n"
    assert call("quarantine", "retry").out == "nothing in quarantine\n"
