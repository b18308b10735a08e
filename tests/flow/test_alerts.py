"""What was told once is not told again, on each database."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine

from etl import alerts
from etl.budgets import Spent
from etl.settings import Limit
from etl.spending import Amounts
from tests.flow.test_spending import at
from tests.mirror import rows, sync
from tests.parts import Api

NOW = at("2026-01-01")
ALL, SEARCH = Limit(100), Limit(50, None, (("team", "search"),))


def over(limit: Limit, month: str) -> dict[Spent, str]:
    return {Spent(limit, month, Amounts(1, 0, 200)): f"{limit.name} in {month}"}


def test_a_fact_is_told_until_it_was_noted(engine: Engine) -> None:
    both = over(ALL, "2025-12") | over(SEARCH, "2025-12")
    first = alerts.over_budget(engine, both)
    assert first.lines == ("all in 2025-12", "metadata team=search in 2025-12")
    assert alerts.over_budget(engine, both) == first
    alerts.note(engine, first, NOW)
    assert alerts.over_budget(engine, both).lines == ()
    alerts.note(engine, first, NOW + timedelta(days=1))
    assert [(row["kind"], row["run_id"]) for row in rows(engine, "sent_alerts")] == [
        ("budget", None),
        ("budget", None),
    ]
    both |= over(SEARCH, "2026-01") | over(Limit(101), "2025-12")
    assert alerts.over_budget(engine, both).lines == (
        "metadata team=search in 2026-01",
        "all in 2025-12",
    )
    assert alerts.over_budget(engine, {}).lines == ()


def test_jobs_that_a_sync_found_failed_are_told_once(engine: Engine) -> None:
    api = Api()
    api.add("ftjob-1", status="running")
    api.add("ftjob-2")
    with api.served() as source:
        sync(engine, source)
        nothing = alerts.failed_jobs(engine)
        assert (nothing.lines, nothing.run_id) == ((), 1)
        alerts.note(engine, nothing, NOW)
        error = {"code": "invalid_file", "message": "The file is empty.", "param": None}
        api.jobs["ftjob-1"] |= {"status": "failed", "error": error}
        sync(engine, source)
        sync(engine, source)
        found = alerts.failed_jobs(engine)
        assert found.title == "ftmirror: a job failed"
        assert found.lines == ("ftjob-1 (gpt-4o-mini-2024-07-18): The file is empty.",)
        alerts.note(engine, found, NOW)
        assert alerts.failed_jobs(engine).lines == ()
        # It changes once more, and is still the same failed job.
        api.jobs["ftjob-1"] |= {"user_provided_suffix": "late"}
        sync(engine, source)
        assert alerts.failed_jobs(engine).lines == ()
    assert [row["run_id"] for row in rows(engine, "sent_alerts")] == [3]
