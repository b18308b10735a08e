"""Billed costs: read from the first job's day on, the last days anew in each run, whole or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text

from etl import quarantine as trying
from etl.db.tables import frontiers
from etl.pipe import RunResult
from etl.replay import replay
from etl.resources import discover
from etl.resources.costs import billed_costs
from etl.settings import Secret, Source
from etl.simulator import Simulator, World
from tests.conftest import make_schema
from tests.http_server import Reply, Seen
from tests.jobs import job
from tests.mirror import ORIGIN, counts, import_files, import_objects, rows, source_of, sync
from tests.parts import (
    NOW,
    Api,
    drifted,
    error_of,
    quarantined,
    reasons,
    requests,
    run,
    statuses,
)

DAY = timedelta(days=1)
COSTS = "/organization/costs"
ADMIN = Secret.from_text("the test", "sk-admin-1")
EXAMPLES = Path(__file__).parents[1] / "examples"
TRAINING = "gpt-4o-mini-2024-07-18, fine-tuning training"


def result(value: Any, line_item: Any = TRAINING, **changes: Any) -> dict[str, Any]:
    """What was billed for a line item of project proj_1."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": changes.pop("currency", "usd")},
        "line_item": line_item,
        "project_id": "proj_1",
        "api_key_id": None,
        "organization_id": "org-1",
        "quantity": None,
        "quantity_unit": None,
        **changes,
    }


class Bill:
    """The costs of an organization: results by day, empty days between them."""

    def __init__(self, **results: Sequence[Any]) -> None:
        #: By date as `2025-03-01`.
        self.results: dict[str, Sequence[Any]] = {}
        #: The first day that is still to come.
        self.end = NOW.date()
        #: Whole buckets instead of those days, none where it is None.
        self.instead: dict[str, Any] = {}
        #: Pages from this number on are refused, all requests counted.
        self.refused_from = 10**6
        self.asked: list[list[tuple[str, str]]] = []

    def __call__(self, seen: Seen) -> Reply:
        self.asked.append(seen.query)
        if len(self.asked) >= self.refused_from:
            return Reply({"error": {"message": "no"}}, status=400)
        query = dict(seen.query)
        start = datetime.fromtimestamp(int(query["start_time"]), UTC).date()
        first = start + int(query.get("page", "0")) * DAY
        last = min(first + int(query["limit"]) * DAY, self.end)
        found = [self.bucket(first + number * DAY) for number in range((last - first).days)]
        more = last < self.end
        body = {
            "object": "page",
            "data": [one for one in found if one is not None],
            "has_more": more,
            "next_page": str((last - start).days) if more else None,
        }
        return Reply(body)

    def bucket(self, day: date) -> Any:
        """The day as the API has it."""
        if str(day) in self.instead:
            return self.instead[str(day)]
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        return {
            "object": "bucket",
            "start_time": start,
            "end_time": start + 86400,
            "results": list(self.results.get(str(day), ())),
        }

    def starts(self) -> list[str]:
        """The day from which each request on asked."""
        found = [int(dict(query)["start_time"]) for query in self.asked]
        return [str(datetime.fromtimestamp(one, UTC).date()) for one in found]


@pytest.fixture
def bill() -> Bill:
    """Some spend on a few days of a year."""
    made = Bill()
    made.results = {
        "2024-12-27": [result("3.10"), result("0.25", "Text tokens")],
        "2025-06-01": [result("12.5")],
        "2025-12-20": [result("0.8958740000000000"), result(1, "Text tokens")],
    }
    return made


@contextmanager
def served(bill: Bill, **changes: Any) -> Iterator[Source]:
    """A source with one job and these costs."""
    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = bill
    with api.served(admin_key=ADMIN, **changes) as source:
        yield source


def mirror(engine: Engine, *sources: Source, now: datetime = NOW, **order: Any) -> RunResult:
    return run(engine, *sources, now=now, **{"resources": ["jobs", "costs"], **order})


def billed(engine: Engine) -> list[tuple[str, str, Decimal]]:
    """Day, line item and amount of what was billed."""
    found = rows(engine, "billed_costs")
    return [(str(row["start_time"].date()), row["line_item"], row["amount"]) for row in found]


def test_the_first_run_reads_from_the_day_of_the_oldest_job(engine: Engine, bill: Bill) -> None:
    """Three pages of 180 days from 2024-12-27 on, 370 days before NOW."""
    with served(bill) as source:
        first = mirror(engine, source)
    assert (first.status, counts(first), requests(first)["costs"]) == (
        "success",
        {"created": 371},
        3,
    )
    assert bill.asked[0] == [
        ("start_time", "1735257600"),
        ("bucket_width", "1d"),
        ("group_by", "project_id"),
        ("group_by", "line_item"),
        ("limit", "180"),
    ]
    assert [dict(query).get("page") for query in bill.asked] == [None, "180", "360"]
    assert billed(engine) == [
        ("2024-12-27", "Text tokens", Decimal("0.25")),
        ("2024-12-27", TRAINING, Decimal("3.10")),
        ("2025-06-01", TRAINING, Decimal("12.5")),
        ("2025-12-20", "Text tokens", Decimal(1)),
        ("2025-12-20", TRAINING, Decimal("0.895874")),
    ]
    (row, *_) = rows(engine, "billed_costs")
    assert row == {
        "organization_id": "org-1",
        "start_time": datetime(2024, 12, 27, tzinfo=UTC),
        "project_id": "proj_1",
        "line_item": "Text tokens",
        "currency": "usd",
        "quantity_unit": "",
        "bucket_id": "org-1/2024-12-27",
        "end_time": datetime(2024, 12, 28, tzinfo=UTC),
        "amount": Decimal("0.25000000000000000000"),
        "amount_nano": 250_000_000,
        "quantity": None,
    }
    assert drifted(engine, "costs") == []


def test_later_runs_read_the_last_thirty_days_with_one_request(engine: Engine, bill: Bill) -> None:
    """Days without a change write nothing; what changed is replaced whole, what is new comes."""
    with served(bill) as source:
        mirror(engine, source)
        bill.asked.clear()
        second = mirror(engine, source, now=NOW + timedelta(hours=1))
        assert (counts(second), requests(second)["costs"]) == ({"unchanged": 31}, 1)
        assert bill.starts() == ["2025-12-02"]

        bill.results["2025-12-20"] = [result("0.75", "Text tokens"), result("2", "Images")]
        bill.results["2026-01-01"] = [result("7")]
        bill.results["2025-06-01"] = [result("99")]  # too long ago to be looked at
        bill.end = date(2026, 1, 2)
        third = mirror(engine, source, now=NOW + timedelta(hours=20))
    assert counts(third) == {"created": 1, "updated": 1, "unchanged": 30}
    assert billed(engine) == [
        ("2024-12-27", "Text tokens", Decimal("0.25")),
        ("2024-12-27", TRAINING, Decimal("3.10")),
        ("2025-06-01", TRAINING, Decimal("12.5")),
        ("2025-12-20", "Images", Decimal(2)),
        ("2025-12-20", "Text tokens", Decimal("0.75")),
        ("2026-01-01", TRAINING, Decimal(7)),
    ]
    (passed,) = rows(engine, "record_versions")
    assert (passed["resource"], passed["id"]) == ("costs", "org-1/2025-12-20")


def test_a_day_that_came_to_nothing_loses_its_rows(engine: Engine, bill: Bill) -> None:
    with served(bill) as source:
        mirror(engine, source)
        bill.results["2025-12-20"] = []
        assert counts(mirror(engine, source))["updated"] == 1
    assert [day for day, *_ in billed(engine)] == ["2024-12-27", "2024-12-27", "2025-06-01"]


def test_after_a_long_pause_nothing_is_left_out(sqlite_engine: Engine, bill: Bill) -> None:
    """Thirty days are taken from the last run's day, on which the days before were still open."""
    with served(bill) as source:
        mirror(sqlite_engine, source, now=NOW - 100 * DAY)
        bill.asked.clear()
        mirror(sqlite_engine, source)
        assert bill.starts() == ["2025-08-24"]
        bill.asked.clear()
        mirror(sqlite_engine, replace(source, costs_reread=3 * 86400.0))
        assert bill.starts() == ["2025-12-29"]


def test_mode_full_reads_all_of_it_again(sqlite_engine: Engine, bill: Bill) -> None:
    with served(bill) as source:
        mirror(sqlite_engine, source)
        bill.results["2025-06-01"] = [result("99")]
        again = mirror(sqlite_engine, source, mode="full")
    assert (requests(again)["costs"], counts(again)["updated"]) == (3, 1)
    assert ("2025-06-01", TRAINING, Decimal(99)) in billed(sqlite_engine)


def test_without_a_job_nothing_is_asked(
    sqlite_engine: Engine, bill: Bill, caplog: pytest.LogCaptureFixture
) -> None:
    """And a person who asked for costs alone hears why nothing came."""
    api = Api()
    api.instead[COSTS] = bill
    with api.served(admin_key=ADMIN) as source:
        assert mirror(sqlite_engine, source, resources=["costs"]).status == "success"
    assert bill.asked == []
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert said == (
        "default, costs: not asked for, since the mirror holds no job of openai yet; sync jobs "
        "first"
    )


def test_an_older_job_that_comes_later_has_its_days_read_too(
    sqlite_engine: Engine, bill: Bill, tmp_path: Path
) -> None:
    with served(bill) as source:
        mirror(sqlite_engine, source)
        bill.asked.clear()
        older = {"object": "fine_tuning.job", "id": "ftjob-0", "created_at": 1730000000}
        import_objects(sqlite_engine, [older], tmp_path)
        mirror(sqlite_engine, source)
        assert bill.starts() == ["2024-10-27"] * 3
        bill.asked.clear()
        mirror(sqlite_engine, source)
        assert bill.starts() == ["2025-12-02"]


def test_a_first_reading_that_was_cut_goes_on_where_it_was(engine: Engine, bill: Bill) -> None:
    bill.refused_from = 3
    with served(bill) as source:
        cut = mirror(engine, source)
        assert statuses(cut) == {"jobs": "success", "costs": "failed"}
        assert len([one for one in rows(engine, "records") if one["resource"] == "costs"]) == 360
        bill.refused_from = 10**6
        bill.asked.clear()
        rest = mirror(engine, source)
        # From the thirty days before the first reading, which were open then.
        assert (bill.starts(), counts(rest)) == (["2025-12-02"], {"created": 10, "unchanged": 21})
        assert statuses(rest)["costs"] == "success"
        bill.asked.clear()
        assert counts(mirror(engine, source)) == {"unchanged": 31}
        assert bill.starts() == ["2025-12-02"]
    assert len(billed(engine)) == 5


def test_a_run_whose_time_is_up_goes_on_with_the_next_day(
    sqlite_engine: Engine, bill: Bill
) -> None:
    with served(bill) as source:
        # Up once the first page came.
        late = partial(_late, bill)
        cut = mirror(sqlite_engine, source, time_limit=50.0, clock=late)
        assert (cut.status, statuses(cut)["costs"]) == ("partial", "partial")
        assert len(bill.asked) == 1
        bill.asked.clear()
        mirror(sqlite_engine, source)
        assert bill.starts() == ["2025-06-25", "2025-06-25"]
        assert counts(mirror(sqlite_engine, source)) == {"unchanged": 31}
    assert len(billed(sqlite_engine)) == 5


def _late(bill: Bill) -> float:
    return 99.0 if bill.asked else 0.0


def test_a_bucket_that_comes_twice_counts_once(engine: Engine, bill: Bill) -> None:
    """Servers repeat a day at the edge of two pages."""
    repeated = bill.bucket(date(2025, 6, 1))

    def answer(seen: Seen) -> Reply:
        reply = bill(seen)
        reply.body["data"] += [repeated, *reply.body["data"][:1]]
        return reply

    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = answer
    with api.served(admin_key=ADMIN) as source:
        found = mirror(engine, source)
    assert (found.status, counts(found)) == ("success", {"created": 371, "unchanged": 6})
    assert sum(amount for *_, amount in billed(engine)) == Decimal("17.745874")


def test_a_day_that_comes_twice_with_other_amounts_is_heard_of(
    sqlite_engine: Engine, bill: Bill
) -> None:
    """Which of the two is right nobody knows: the later counts, and the run says so."""
    other = {**bill.bucket(date(2025, 6, 1)), "results": [result("20")]}

    def answer(seen: Seen) -> Reply:
        reply = bill(seen)
        reply.body["data"] += [other]
        return reply

    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = answer
    with api.served(admin_key=ADMIN) as source:
        found = mirror(sqlite_engine, source)
    assert found.status == "partial"
    assert error_of(found, "costs").startswith(
        "org-1/2025-06-01 came twice, with other amounts; the later ones count"
    )
    assert ("2025-06-01", TRAINING, Decimal(20)) in billed(sqlite_engine)


def test_what_money_can_look_like(engine: Engine, bill: Bill) -> None:
    """Another currency, a credit, a number, and more decimals than there is room for."""
    bill.results = {
        "2025-12-20": [
            result("100.12345678901234567890"),
            result("100", currency="EUR"),
            result("-40.5", "Credit"),
            result(0.1, "Text tokens"),
            result("0.123456789012345678905", "Images"),
            result("0.05", "Text tokens", quantity=3, quantity_unit="images"),
        ]
    }
    with served(bill) as source:
        assert mirror(engine, source).status == "success"
    key = ("line_item", "currency", "amount", "amount_nano", "quantity")
    found = [tuple(row[name] for name in key) for row in rows(engine, "billed_costs")]
    assert sorted(found, key=str) == [
        ("Credit", "usd", Decimal("-40.5"), -40_500_000_000, None),
        ("Images", "usd", Decimal("0.12345678901234567891"), 123_456_789, None),
        ("Text tokens", "usd", Decimal("0.05"), 50_000_000, 3.0),
        ("Text tokens", "usd", Decimal("0.1"), 100_000_000, None),
        (TRAINING, "eur", Decimal(100), 100_000_000_000, None),
        (TRAINING, "usd", Decimal("100.12345678901234567890"), 100_123_456_789, None),
    ]
    assert drifted(engine, "costs") == [("results[].amount.value", "rounded")]


def test_line_items_that_differ_in_letter_case_or_a_space_are_two(
    engine: Engine, bill: Bill
) -> None:
    bill.results = {"2025-12-20": [result("1", "Images"), result("2", "images"), result("4", "a ")]}
    bill.results["2025-12-20"] = [*bill.results["2025-12-20"], result("8", "a")]
    with served(bill) as source:
        assert mirror(engine, source).status == "success"
    assert {row["line_item"]: int(row["amount"]) for row in rows(engine, "billed_costs")} == {
        "Images": 1,
        "images": 2,
        "a ": 4,
        "a": 8,
    }


def test_a_day_with_an_unsure_amount_is_quarantined_and_keeps_what_it_had(
    engine: Engine, bill: Bill
) -> None:
    """With some of its amounts a day's sum would be wrong; the other days come."""
    with served(bill) as source:
        mirror(engine, source)
        before = billed(engine)
        bill.results["2025-12-20"] = [result("5"), result(None, "Text tokens")]
        bill.results["2025-12-31"] = [result("6")]
        spoilt = mirror(engine, source)
        assert (spoilt.status, spoilt.counts["quarantined"]) == ("partial", 1)
        assert reasons(engine) == ["`results[1].amount.value` is missing"]
        assert [one[1] for one in quarantined(engine)] == ["org-1/2025-12-20"]
        assert billed(engine) == [*before, ("2025-12-31", TRAINING, Decimal(6))]
        assert mirror(engine, source).status == "success"  # seen before

        bill.results["2025-12-20"] = [result("5")]
        mirror(engine, source)
    assert quarantined(engine) == []
    assert ("2025-12-20", TRAINING, Decimal(5)) in billed(engine)


def test_a_bucket_without_a_day_is_quarantined_and_forgotten_once_it_comes_no_more(
    sqlite_engine: Engine, bill: Bill
) -> None:
    bill.instead["2025-06-01"] = {"object": "bucket", "results": [result("12.5")]}
    with served(bill) as source:
        assert mirror(sqlite_engine, source).status == "partial"
        assert reasons(sqlite_engine) == ["`start_time` is no time: null"]
        # It was not read well, so all of it is read again.
        bill.asked.clear()
        assert mirror(sqlite_engine, source).status == "success"
        assert len(bill.asked) == 3
        # The last days say nothing of that one.
        mirror(sqlite_engine, source, now=NOW + DAY)
        assert len(reasons(sqlite_engine)) == 1
        del bill.instead["2025-06-01"]
        mirror(sqlite_engine, source, now=NOW + 2 * DAY, mode="full")
    assert reasons(sqlite_engine) == []


def test_days_that_no_longer_come_are_marked_and_kept(sqlite_engine: Engine, bill: Bill) -> None:
    with served(bill) as source:
        mirror(sqlite_engine, source, now=NOW)
        bill.instead["2025-12-20"] = None
        gone = mirror(sqlite_engine, source, now=NOW + timedelta(hours=1))
        assert counts(gone) == {"unchanged": 30, "missing": 1}
        assert len(billed(sqlite_engine)) == 5
        del bill.instead["2025-12-20"]
        mirror(sqlite_engine, source, now=NOW + timedelta(hours=2))
    assert [one["id"] for one in rows(sqlite_engine, "records") if one["missing_since"]] == []


def test_an_answer_without_most_days_marks_nothing(sqlite_engine: Engine, bill: Bill) -> None:
    with served(bill) as source:
        mirror(sqlite_engine, source, now=NOW)
        bill.end = date(2025, 12, 5)
        poor = mirror(sqlite_engine, source, now=NOW + timedelta(hours=1))
    assert (poor.status, poor.counts["missing"]) == ("partial", 0)
    assert error_of(poor, "costs").startswith(
        "the answer came with 3 of the 30 days stored since 2025-12-02, so none was marked"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"object": "page"}, "This is not a page of a list"),
        ({"data": [], "has_more": True, "next_page": "1"}, "this page is empty"),
        ({"data": [{}], "has_more": True}, "names no next page"),
        ("<html>", "This is not a page of a list"),
    ],
)
def test_an_odd_envelope_fails_the_costs_and_nothing_else(
    sqlite_engine: Engine, body: Any, said: str
) -> None:
    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = Reply(body)
    with api.served(admin_key=ADMIN) as source:
        found = mirror(sqlite_engine, source)
    assert statuses(found) == {"jobs": "success", "costs": "failed"}
    assert said in error_of(found, "costs")


def test_without_an_admin_key_costs_are_passed_over(
    sqlite_engine: Engine, bill: Bill, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = bill
    with api.served() as source:
        found = mirror(sqlite_engine, source)
        azure = replace(source, admin_key=Secret("nowhere: none is named", setting="admin_key"))
        other = mirror(sqlite_engine, azure, resources=["costs"], is_picked=True)
    assert (found.status, bill.asked) == ("success", [])
    assert found.sources[0].skipped == {"costs": "no admin key (OPENAI_ADMIN_KEY)"}
    assert other.sources[0].skipped == {"costs": "no admin key (nowhere: none is named)"}
    (said,) = [one for one in caplog.records if "admin key" in one.getMessage()]
    assert said.levelname == "WARNING"


def test_a_key_that_may_not_read_costs_fails_them_alone(sqlite_engine: Engine, bill: Bill) -> None:
    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = Reply({"error": {"message": "Missing scopes: x"}}, status=403)
    with api.served(admin_key=ADMIN) as source:
        found = mirror(sqlite_engine, source)
    assert statuses(found) == {"jobs": "success", "costs": "failed"}


def test_two_sources_with_one_admin_key_see_one_bill(engine: Engine, bill: Bill) -> None:
    for results in bill.results.values():
        for one in results:
            del one["organization_id"]  # nothing but the jobs says whose it is
    with served(bill) as source:
        other = replace(source, name="support", project="proj_2")
        mirror(engine, source, other)
        second = mirror(engine, source, other)
    assert counts(second) == {"unchanged": 62}
    assert sum(amount for *_, amount in billed(engine)) == Decimal("17.745874")
    assert {row["organization_id"] for row in rows(engine, "billed_costs")} == {"org-1"}


def test_two_organizations_have_two_bills(engine: Engine, bill: Bill) -> None:
    other = Bill()
    other.results = {"2025-06-01": [result("100", organization_id="org-2")]}
    second = Api()
    second.add("ftjob-2", organization_id="org-2")
    second.instead[COSTS] = other
    with served(bill) as source, second.served(admin_key=ADMIN, name="second") as its:
        assert mirror(engine, source, its).status == "success"
    found = [one for one in rows(engine, "billed_costs") if "2025-06-01" in one["bucket_id"]]
    assert [(one["organization_id"], one["amount"]) for one in found] == [
        ("org-1", Decimal("12.5")),
        ("org-2", Decimal(100)),
    ]


def nameless(bill: Bill) -> Bill:
    """The same from an API that does not say whose the amounts are."""
    for results in bill.results.values():
        for one in results:
            del one["organization_id"]
    return bill


def sums(engine: Engine) -> dict[str, Decimal]:
    """What was billed by organization."""
    found: dict[str, Decimal] = {}
    for row in rows(engine, "billed_costs"):
        name = row["organization_id"]
        found[name] = found.get(name, Decimal(0)) + row["amount"]
    return found


def unmarked(engine: Engine) -> set[str]:
    """Whose days are in the mirror and not missing."""
    found = [one for one in rows(engine, "records") if one["resource"] == "costs"]
    return {one["id"].rpartition("/")[0] for one in found if one["missing_since"] is None}


def test_an_account_that_is_named_otherwise_counts_no_amount_twice(
    engine: Engine, bill: Bill, caplog: pytest.LogCaptureFixture
) -> None:
    """Results name nobody: first the jobs say whose they are, then the settings, then they not."""
    with served(nameless(bill)) as source:
        mirror(engine, source)
        assert sums(engine) == {"org-1": Decimal("17.745874")}
        acme = replace(source, organization="acme")
        second = mirror(engine, acme, now=NOW + timedelta(hours=1), mode="full")
        assert second.status == "success"
        assert (counts(second)["created"], counts(second)["missing"]) == (370, 370)
        assert (sums(engine), unmarked(engine)) == ({"acme": Decimal("17.745874")}, {"acme"})
        said = (
            "default, costs: days that were org-1's came under the name of acme (%s of them); each "
            "counts once, as it came now. Do the source's settings name the right organization?"
        )
        assert caplog.messages == [said % 2, said % 1]  # by page
        caplog.clear()
        third = mirror(engine, acme, now=NOW + timedelta(hours=2), mode="full")
        assert (counts(third), caplog.messages) == ({"unchanged": 371}, [])
        before = rows(engine, "billed_costs")
        replay(engine, [discover()["costs"]], lambda _: None)
        assert rows(engine, "billed_costs") == before

        mirror(engine, source, now=NOW + timedelta(hours=3), mode="full")
        assert (sums(engine), unmarked(engine)) == ({"org-1": Decimal("17.745874")}, {"org-1"})
    assert drifted(engine, "costs") == []


def test_days_too_long_ago_to_be_read_keep_the_name_they_came_under(
    sqlite_engine: Engine, bill: Bill
) -> None:
    with served(nameless(bill)) as source:
        mirror(sqlite_engine, source)
        later = mirror(sqlite_engine, replace(source, organization="acme"), now=NOW + DAY)
    assert later.status == "success"
    assert sums(sqlite_engine) == {"org-1": Decimal("15.85"), "acme": Decimal("1.895874")}


def test_results_that_begin_to_name_another_replace_what_was_there(
    engine: Engine, bill: Bill
) -> None:
    with served(nameless(bill)) as source:
        mirror(engine, source)
        bill.results["2025-12-20"] = [result("3", organization_id="org-real")]
        mirror(engine, source, now=NOW + timedelta(hours=1))
    assert sums(engine) == {"org-1": Decimal("15.85"), "org-real": Decimal(3)}


def test_a_filled_day_that_turns_empty_is_empty_whoever_it_is_said_to_be(
    engine: Engine, bill: Bill, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty day says nothing of whose it is, and the jobs say another than results do."""
    for results in bill.results.values():
        for one in results:
            one["organization_id"] = "org-real"
    with served(bill) as source:
        mirror(engine, source)
        bill.results["2025-12-20"] = []
        mirror(engine, source, now=NOW + timedelta(hours=1))
        assert sums(engine) == {"org-real": Decimal("15.85")}
        assert "days that were org-real's came under the name of org-1 (1 of them)" in caplog.text
        caplog.clear()
        bill.results["2025-12-21"] = [result("2", organization_id="org-real")]
        filled = mirror(engine, source, now=NOW + timedelta(hours=2))
    assert (filled.status, caplog.messages) == ("success", [])
    assert sums(engine) == {"org-real": Decimal("17.85")}


def test_a_day_that_comes_twice_under_two_names_counts_once(engine: Engine, bill: Bill) -> None:
    """Though both came within one transaction."""
    other = {**bill.bucket(date(2025, 6, 1)), "results": [result("20", organization_id="org-2")]}

    def answer(seen: Seen) -> Reply:
        reply = bill(seen)
        reply.body["data"] += [other] if dict(seen.query).get("page") == "180" else []
        return reply

    api = Api()
    api.add("ftjob-1")
    api.instead[COSTS] = answer
    with api.served(admin_key=ADMIN) as source:
        mirror(engine, source)
    assert sums(engine) == {"org-1": Decimal("5.245874"), "org-2": Decimal(20)}


def test_a_renamed_day_with_an_unsure_amount_keeps_what_it_had(engine: Engine, bill: Bill) -> None:
    with served(nameless(bill)) as source:
        mirror(engine, source)
        bill.results["2025-12-20"] = [result("5", organization_id="acme"), result(None)]
        del bill.results["2025-12-20"][1]["organization_id"]
        spoilt = mirror(engine, source, now=NOW + timedelta(hours=1))
    assert (spoilt.status, spoilt.counts["quarantined"]) == ("partial", 1)
    assert sums(engine) == {"org-1": Decimal("17.745874")}


def test_a_reading_that_is_cut_counts_no_day_twice(engine: Engine, bill: Bill) -> None:
    """What replaces a day is written with it, page by page."""
    with served(nameless(bill)) as source:
        mirror(engine, source)
        bill.refused_from = len(bill.asked) + 2
        cut = mirror(engine, replace(source, organization="acme"), mode="full")
    assert statuses(cut)["costs"] == "failed"
    assert sums(engine) == {"acme": Decimal("15.85"), "org-1": Decimal("1.895874")}


def test_two_sources_with_one_admin_key_keep_one_bill_under_another_name(
    engine: Engine, bill: Bill
) -> None:
    with served(nameless(bill)) as source:
        both = [source, replace(source, name="support", project="proj_2")]
        mirror(engine, *both)
        named = [replace(one, organization="acme") for one in both]
        # Also where the one that the days do not belong to comes first.
        mirror(engine, *reversed(named), mode="full")
        again = mirror(engine, *named, mode="full")
    assert sums(engine) == {"acme": Decimal("17.745874")}
    assert counts(again) == {"unchanged": 2 * 370 + 2}  # the job too


def test_a_replay_makes_the_same_rows(engine: Engine, bill: Bill) -> None:
    with served(bill) as source:
        mirror(engine, source)
    before = rows(engine, "billed_costs")
    with engine.begin() as connection:
        connection.execute(delete(billed_costs))
    answer = replay(engine, [discover()["costs"]], lambda _: None)
    assert (answer.run.status, answer.run.counts["records"]) == ("success", 370)
    assert rows(engine, "billed_costs") == before


def test_a_saved_page_of_costs_is_imported_as_it_is_synced(engine: Engine, tmp_path: Path) -> None:
    found = import_files(engine, [EXAMPLES / "costs.json"])
    assert (found.status, counts(found)) == ("success", {"created": 4})
    assert [
        (row["start_time"].date().day, row["project_id"], row["line_item"], row["amount"])
        for row in rows(engine, "billed_costs")
    ] == [
        (4, "proj_a1B2c3D4e5F6g7H8i9J0k1L2", "Text tokens", Decimal("0.895874")),
        (
            4,
            "proj_a1B2c3D4e5F6g7H8i9J0k1L2",
            "gpt-4.1-mini-2025-04-14, fine-tuning training",
            Decimal("12.5"),
        ),
        (6, "", "Promotional credits", Decimal(-5)),
        (
            6,
            "proj_a1B2c3D4e5F6g7H8i9J0k1L2",
            "o4-mini-2025-04-16, reinforcement fine-tuning training",
            Decimal(132),
        ),
        (7, "proj_a1B2c3D4e5F6g7H8i9J0k1L2", "Text tokens", Decimal("0.00000012345678901235")),
    ]
    assert counts(import_files(engine, [EXAMPLES / "costs.json"])) == {"unchanged": 4}
    named = import_files(engine, [EXAMPLES / "costs.json"], resource="costs")
    assert counts(named) == {"unchanged": 4}


def test_saved_days_that_name_nobody_are_the_jobs_organizations(
    sqlite_engine: Engine, bill: Bill, tmp_path: Path
) -> None:
    """As a sync would have it, or the same bill would stand there twice."""
    spent = bill.bucket(date(2025, 12, 20))
    for one in spent["results"]:
        del one["organization_id"]
    import_objects(sqlite_engine, [job("ftjob-9", organization_id="org-1"), spent], tmp_path)
    assert {row["bucket_id"] for row in rows(sqlite_engine, "billed_costs")} == {"org-1/2025-12-20"}


def test_saved_days_that_name_nobody_are_those_that_the_mirror_has(
    engine: Engine, bill: Bill, tmp_path: Path
) -> None:
    """Though the settings, which an import does not know, named another than the jobs do."""
    with served(nameless(bill), organization="acme") as source:
        mirror(engine, source)
        saved = {**bill.bucket(date(2025, 12, 20)), "results": []}
        import_objects(engine, [saved], tmp_path, observed_at=NOW + DAY)
    assert sums(engine) == {"acme": Decimal("15.85")}


def test_a_saved_day_of_another_account_is_refused_where_the_mirror_has_that_day(
    engine: Engine, bill: Bill, tmp_path: Path
) -> None:
    saved = bill.bucket(date(2025, 12, 20))
    saved["results"] = [result("9", organization_id="org-2")]
    with served(bill) as source:
        mirror(engine, source)
    found = import_objects(engine, [saved], tmp_path)
    assert found.status == "partial"
    (reason,) = reasons(engine)
    assert reason.endswith(
        "line 1: the mirror has this day as org-1's, here it is org-2's, and of source default a "
        "day counts once; if it is of another bill, import it with the --source NAME that the "
        "bill is of"
    )
    order = trying.Order(discover(), origins={"default": ORIGIN})
    assert trying.retry(engine, order, lambda _: None).resolved == 0
    assert sums(engine) == {"org-1": Decimal("17.745874")}
    other = replace(ORIGIN, source="second")
    assert import_objects(engine, [saved], tmp_path, origin=other).status == "success"
    assert sums(engine) == {"org-1": Decimal("17.745874"), "org-2": Decimal(9)}


def test_a_day_that_is_in_the_files_twice_with_other_amounts_is_heard_of(
    engine: Engine, bill: Bill, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = bill.bucket(date(2025, 12, 20))
    second = {**first, "results": [result("1")]}
    import_objects(engine, [first, first, second], tmp_path)
    (said,) = caplog.messages
    assert said == (
        f"{tmp_path / 'objects.jsonl'}, line 3: costs org-1/2025-12-20 came before in these files "
        "with other amounts; a day counts once, and of the two the later one"
    )
    assert sums(engine) == {"org-1": Decimal(1)}


def test_an_import_never_moves_a_day_back(
    sqlite_engine: Engine, bill: Bill, tmp_path: Path
) -> None:
    saved = {**bill.bucket(date(2025, 12, 20)), "results": [result("1")]}
    with served(bill) as source:
        mirror(sqlite_engine, source)
        before = billed(sqlite_engine)
        old = import_objects(sqlite_engine, [saved], tmp_path, observed_at=NOW - DAY)
        assert (counts(old), billed(sqlite_engine)) == ({"older": 1}, before)
        mirror(sqlite_engine, source)
    assert billed(sqlite_engine) == before


def test_a_single_result_is_no_day(sqlite_engine: Engine, tmp_path: Path) -> None:
    found = import_objects(sqlite_engine, [result("1")], tmp_path)
    assert found.status == "partial"
    (reason,) = reasons(sqlite_engine)
    assert reason.endswith(
        "a organization.costs.result is no record of its own; import the whole bucket it came in"
    )


def test_what_an_import_could_not_read_is_tried_again(
    sqlite_engine: Engine, bill: Bill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [bill.bucket(date(2025, 6, 1)), bill.bucket(date(2025, 12, 20))]
    with monkeypatch.context() as patch:
        older = replace(discover()["costs"], rows=_stumble)
        patch.setitem(discover(), "costs", older)
        import_objects(sqlite_engine, days, tmp_path)
    assert len(quarantined(sqlite_engine)) == 2
    order = trying.Order(discover(), origins={"default": ORIGIN})
    assert trying.retry(sqlite_engine, order, lambda _: None).resolved == 2
    assert len(billed(sqlite_engine)) == 3


def _stumble(_: Any) -> Iterator[Any]:
    raise ValueError("an earlier version")


# The whole of it, against the simulator


def nano(value: str) -> int:
    return int(Decimal(value).scaleb(9).quantize(Decimal(1), rounding="ROUND_HALF_UP"))


def test_reconciliation_ties_out_to_the_sum_over_the_sources_days(engine: Engine) -> None:
    with Simulator(World(9, 60)) as simulator:
        source = source_of(simulator, admin_key=ADMIN)
        now = datetime.fromtimestamp(simulator.world.now, UTC)
        everything = ("jobs", "projects", "costs")
        assert sync(engine, source, resources=everything, now=lambda: now).status == "success"
        first = min(row["created_at"] for row in rows(engine, "jobs")).date()
        start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
        groups = ("project_id", "line_item")
        told = [
            one
            for day in range(start, simulator.world.now, 86400)
            for one in json.loads(simulator.world.cost_bucket(day, groups, (), ()))["results"]
        ]
    expected = sum(nano(one["amount"]["value"]) for one in told)
    with engine.connect() as connection:
        query = "SELECT sum(billed_nano), count(*) FROM spend_reconciliation"
        total, lines = connection.execute(text(query)).one()
        exact = connection.execute(text("SELECT sum(amount_nano) FROM billed_costs")).scalar_one()
    assert lines > 50
    assert (int(total), int(exact)) == (expected, expected)
    amounts = [row["amount"] for row in rows(engine, "billed_costs")]
    assert sum(amounts) == sum(Decimal(one["amount"]["value"]) for one in told)


def test_a_world_that_goes_on_is_billed_to_the_end(engine: Engine, tmp_path: Path) -> None:
    """Runs along the way leave what one reading at the end finds."""
    with Simulator(World(11, 30)) as simulator:
        source = source_of(simulator, admin_key=ADMIN)
        everything = ("jobs", "costs")
        for _ in range(4):
            now = datetime.fromtimestamp(simulator.world.now, UTC)
            sync(engine, source, resources=everything, mode="auto", now=lambda: now)  # noqa: B023
            simulator.world.advance(6, 3)
        now = datetime.fromtimestamp(simulator.world.now, UTC)
        sync(engine, source, resources=everything, mode="auto", now=lambda: now)
        fresh = make_schema(f"sqlite:///{tmp_path / 'fresh.db'}")
        sync(fresh, source, resources=everything, now=lambda: now)
    assert rows(engine, "billed_costs") == rows(fresh, "billed_costs")
    (place,) = [one for one in rows(engine, frontiers.name) if one["resource"] == "costs"]
    assert place["cursor"] is None
    fresh.dispose()
