"""The views of money: to the micro-dollar what an independent sum says, on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text

from etl.db import migrate, prices
from etl.db.engine import open_engine
from etl.db.tables import metadata
from etl.spend.prices import load
from tests import corpus
from tests.mirror import import_objects
from tests.spending import Book, Cost, Sum, base_of, cost_of, history, spent_at, summed

Priced = list[tuple[dict[str, Any], Cost]]


@pytest.fixture
def mirror(empty_database: str) -> Iterator[Engine]:
    """An empty mirror with its views and the shipped prices."""
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    prices.bring_under_lease(engine, load(None), "test")
    yield engine
    engine.dispose()


def filled(engine: Engine, directory: Path, count: int) -> Priced:
    """A mirror of so many jobs, and what each of them cost."""
    book = Book()
    made = list(history(count))
    assert import_objects(engine, [job for job, _ in made], directory).counts["created"] == count
    measured = [
        {
            "job_id": job["id"],
            "origin": "event",
            "origin_id": f"ftevent-{job['id']}-{step}",
            "step": step,
            "name": "timing.step.full_iteration",
            "value": seconds,
        }
        for job, steps in made
        for step, seconds in enumerate(steps)
    ]
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables["training_metrics"]), measured)
    return [(job, cost_of(job, steps, book)) for job, steps in made]


def rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(text(query))]


def whole(value: Any) -> int | None:
    """A sum as a whole number, of whatever type the database makes it."""
    assert value is None or value == int(value)
    return None if value is None else int(value)


def dollars(value: Any) -> Decimal:
    """A figure in dollars, to the micro-dollar."""
    return Decimal(str(value)).quantize(Decimal("0.000001"))


def said(row: dict[str, Any]) -> Sum:
    """A row of a breakdown; its two ways of saying the cost are one."""
    micro = whole(row["cost_microusd"])
    assert micro is not None
    assert dollars(row["cost_usd"]) == Decimal(micro).scaleb(-6)
    return Sum(
        int(row["jobs"]),
        int(row["trained_tokens"]),
        micro,
        int(dollars(row["uncertain_usd"]).scaleb(6)),
        int(row["unpriced_jobs"]),
        int(row["open_jobs"]),
    )


def check_all(engine: Engine, priced: Priced) -> None:
    """Each view against the sums of the same jobs."""
    total = summed(priced, lambda _: None)[None]
    with engine.connect() as connection:
        found = {row["job_id"]: row for row in rows(connection, "SELECT * FROM job_costs")}
        for job, cost in priced:
            row = found[job["id"]]
            assert Cost(whole(row["cost_microusd"]), row["certainty"], row["reason"]) == cost, job
        assert len(found) == len(priced) == total.jobs

        breakdowns: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
            "spend_by_day": ("day", lambda job: spent_at(job).strftime("%Y-%m-%d")),
            "spend_by_month": ("month", lambda job: spent_at(job).strftime("%Y-%m")),
            "spend_by_model": ("base_model", lambda job: base_of(job["model"])),
            "spend_by_project": ("project_id", lambda _: None),
        }
        for view, (column, key) in breakdowns.items():
            by_key = {row[column]: said(row) for row in rows(connection, f"SELECT * FROM {view}")}
            assert by_key == summed(priced, key), view
            assert sum(one.micro for one in by_key.values()) == total.micro

        for name in ("team", "cost_center"):
            query = f"SELECT * FROM spend_by_metadata WHERE name = '{name}'"
            by_value = {row["value"]: said(row) for row in rows(connection, query)}
            expected = summed(priced, lambda job, name=name: (job["metadata"] or {}).get(name))  # type: ignore[misc]
            assert by_value == expected
            assert sum(one.micro for one in by_value.values()) == total.micro

        unpriced = rows(connection, "SELECT job_id, reason FROM unpriced_jobs")
        assert {row["job_id"]: row["reason"] for row in unpriced} == {
            job["id"]: cost.reason for job, cost in priced if cost.certainty == "unpriced"
        }
        (row,) = rows(connection, "SELECT sum(estimated_nano) AS nano FROM spend_reconciliation")
        assert whole(row["nano"]) == total.micro * 1000


def test_every_view_says_what_each_job_cost_by_hand(mirror: Engine, tmp_path: Path) -> None:
    priced = filled(mirror, tmp_path, 400)
    kinds = {(cost.certainty, cost.reason) for _, cost in priced}
    assert kinds == {
        ("list_price", None),
        ("estimate", None),
        ("uncertain", "failed"),
        ("uncertain", "cancelled"),
        ("uncertain", "free_allowance"),
        ("unpriced", "no_price"),
        ("unpriced", "outside_price_dates"),
        ("unpriced", "no_usage"),
        ("unpriced", "unknown_method"),
        ("unpriced", "negative_tokens"),
        ("unpriced", "absurd_quantity"),
        ("open", "open"),
        ("open", "unknown_status"),
    }
    check_all(mirror, priced)


@pytest.mark.long
def test_so_it_is_for_ten_thousand_jobs(mirror: Engine, tmp_path: Path) -> None:
    check_all(mirror, filled(mirror, tmp_path, 10_000))


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Auckland"])
def test_no_zone_of_a_session_moves_a_day(mirror: Engine, tmp_path: Path, zone: str) -> None:
    priced = filled(mirror, tmp_path, 60)
    hours = {"America/Los_Angeles": "-08:00", "Pacific/Auckland": "+13:00"}[zone]
    say = {"postgresql": f"SET TIME ZONE '{zone}'", "mariadb": f"SET time_zone = '{hours}'"}
    with mirror.connect() as connection:
        if mirror.dialect.name in say:
            connection.execute(text(say[mirror.dialect.name]))
        by_day = {row["day"]: said(row) for row in rows(connection, "SELECT * FROM spend_by_day")}
    assert by_day == summed(priced, lambda job: spent_at(job).strftime("%Y-%m-%d"))


def put(engine: Engine, table: str, **row: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables[table]).values(row))


def put_job(engine: Engine, **changes: Any) -> None:
    given = {
        "id": "ftjob-1",
        "source": "default",
        "provider": "openai",
        "id_space": "openai",
        "status": "failed",
        "model": "gpt-4.1-2025-04-14",
        "base_model": "gpt-4.1-2025-04-14",
        "method_type": "supervised",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    put(engine, "jobs", **{**given, **changes})


def cost(engine: Engine) -> Cost:
    with engine.connect() as connection:
        (row,) = rows(connection, "SELECT * FROM job_costs")
    return Cost(whole(row["cost_microusd"]), row["certainty"], row["reason"])


def settled(engine: Engine) -> None:
    read_at = datetime(2026, 2, 1, tzinfo=UTC)
    named = {"resource": "events", "parent_id": "ftjob-1", "source": "default"}
    put(engine, "child_progress", **named, read_at=read_at, is_settled=True)


def event(engine: Engine, message: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    named = {"id": "ftevent-1", "job_id": "ftjob-1", "position": 0, "type": "message"}
    put(engine, "job_events", **named, created_at=at, message=message)


def test_a_job_that_ended_before_its_training_cost_nothing(mirror: Engine) -> None:
    put_job(mirror)
    assert cost(mirror) == Cost(None, "unpriced", "no_usage")
    settled(mirror)
    assert cost(mirror) == Cost(0, "uncertain", "stopped_before_training")
    event(mirror, "Fine-tuning job started")
    assert cost(mirror) == Cost(None, "unpriced", "no_usage")


def price(engine: Engine, **changes: Any) -> None:
    given = {
        "provider": "azure",
        "model": "gpt-4.1*",
        "method": "",
        "unit": "trained_token",
        "valid_from": datetime(2025, 1, 1, tzinfo=UTC),
        "amount_microusd": 10_000_000,
        "per_quantity": 1_000_000,
        "quantity_step": 1,
        "has_free_allowance": False,
        "prefix_length": 7,
        "precedence": 1_000_000_000,
        "confidence": "sure",
        "source_note": "a test",
    }
    put(engine, "prices", **{**given, **changes})


def used(engine: Engine, quantity: int) -> None:
    usage = {"unit": "trained_token", "origin": "trained_tokens", "quantity": quantity}
    put(engine, "job_usage", job_id="ftjob-1", **usage)


def test_azure_has_the_users_price_and_bills_what_its_event_says(mirror: Engine) -> None:
    put_job(mirror, provider="azure", status="succeeded")
    used(mirror, 6720)
    assert cost(mirror) == Cost(None, "unpriced", "no_price")
    price(mirror)
    assert cost(mirror) == Cost(67_200, "list_price")
    named = {"job_id": "ftjob-1", "origin": "event", "origin_id": "ftevent-1", "step": 0}
    put(mirror, "training_metrics", **named, name="training_tokens_billed", value=5000.0)
    assert cost(mirror) == Cost(50_000, "list_price")


def test_azure_gives_failed_jobs_free(mirror: Engine) -> None:
    put_job(mirror, provider="azure", status="failed")
    assert cost(mirror) == Cost(0, "list_price", "free")


def test_a_beginning_is_compared_letter_by_letter(mirror: Engine) -> None:
    price(mirror, provider="openai", model="GPT-4.1*")
    price(mirror, provider="openai", model="gpt-4.1-2025-04-14-*", prefix_length=19, precedence=2e9)
    put_job(mirror, status="succeeded")
    used(mirror, 1_000_000)
    assert cost(mirror) == Cost(25_000_000, "list_price")


@pytest.mark.parametrize(
    ("quantity", "micro"), [(0, 0), (1, 25), (10**12, 25 * 10**12), (10**12 + 1, None)]
)
def test_as_many_tokens_as_anybody_trains_are_priced(
    mirror: Engine, quantity: int, micro: int | None
) -> None:
    put_job(mirror, status="succeeded")
    used(mirror, quantity)
    reason = "absurd_quantity" if micro is None else None
    assert cost(mirror) == Cost(micro, "unpriced" if reason else "list_price", reason)


@pytest.mark.parametrize(("quantity", "micro"), [(1, 0), (2, 1), (3, 1), (4, 1), (6, 2)])
def test_a_cost_is_rounded_half_up_once(mirror: Engine, quantity: int, micro: int) -> None:
    """At a quarter of a micro-dollar a token: 2 are a half, 6 one and a half."""
    price(mirror, provider="openai", model="gpt-4.1-2025-04-14", prefix_length=None,
          amount_microusd=250_000, method="supervised")  # fmt: skip
    put_job(mirror, status="succeeded")
    used(mirror, quantity)
    assert cost(mirror) == Cost(micro, "list_price")


#: Trained tokens of the corpus' jobs that succeeded, dollars a million, and dollars: each product
#: is worked out by hand.
BY_HAND = {
    "gpt-3.5-turbo-0125": (4_021_584, "8", "32.172672"),
    "gpt-3.5-turbo-0613": (4_559_405, "8", "36.475240"),
    "gpt-3.5-turbo-1106": (35_295, "8", "0.282360"),
    "gpt-4.1-2025-04-14": (129_648_652, "25", "3241.216300"),
    "gpt-4.1-nano-2025-04-14": (416_734, "1.5", "0.625101"),
    "gpt-4o-mini-2024-07-18": (3_085_711, "3", "9.257133"),
}


def test_the_corpus_of_real_jobs_cost_what_it_does_by_hand(mirror: Engine, tmp_path: Path) -> None:
    objects = corpus.every_state()
    import_objects(mirror, objects, tmp_path)
    tokens = {
        job["id"]: (base_of(job["model"]), job["trained_tokens"])
        for job in objects
        if job["status"] == "succeeded" and job["trained_tokens"]
    }
    known = {model: sum(n for base, n in tokens.values() if base == model) for model in BY_HAND}
    assert known == {model: trained for model, (trained, _, _) in BY_HAND.items()}
    for trained, price, product in BY_HAND.values():
        assert trained * Decimal(price) == Decimal(product).scaleb(6)
    with mirror.connect() as connection:
        found = rows(connection, "SELECT * FROM spend_by_model WHERE cost_microusd > 0")
        assert {row["base_model"]: dollars(row["cost_usd"]) for row in found} == {
            model: Decimal(product) for model, (_, _, product) in BY_HAND.items()
        }
        (row,) = rows(connection, "SELECT sum(cost_microusd) AS micro FROM spend_by_month")
        assert whole(row["micro"]) == 3_320_028_806


def bucket(engine: Engine, day: str, **changes: Any) -> None:
    """A day of the bill that was read, with one line item if any."""
    at = datetime.fromisoformat(f"{day} 00:00").replace(tzinfo=UTC)
    named = {"resource": "costs", "id": f"org-1/{day}", "version": 1, "last_version": 1}
    given = {"source": "default", "provider": "openai", "id_space": "openai", "run_id": 1}
    digests = {"payload": "{}", "payload_encoding": "text", "digest": "", "canonical_digest": ""}
    put(engine, "records", **named, **given, **digests, first_seen_at=at, changed_at=at)
    if changes:
        row = {"organization_id": "org-1", "currency": "usd", "quantity_unit": "", "start_time": at}
        put(engine, "billed_costs", **row, bucket_id=f"org-1/{day}", **changes)


def reconciled(engine: Engine) -> list[tuple[Any, ...]]:
    query = """
        SELECT month, project_id, estimated, billed_training, billed_other, difference,
               unpriced_jobs
        FROM spend_reconciliation ORDER BY month, project_id
    """
    with engine.connect() as connection:
        return [
            (*row[:2], *(None if one is None else dollars(one) for one in row[2:6]), int(row[6]))
            for row in connection.execute(text(query))
        ]


def test_what_was_not_read_of_a_bill_is_not_known_and_what_was_not_billed_is_zero(
    mirror: Engine,
) -> None:
    put_job(mirror, status="succeeded", project_id="proj_1")
    used(mirror, 1_000_000)
    put_job(mirror, id="ftjob-2", status="succeeded")
    estimated = Decimal("25.000000")
    zero = Decimal("0.000000")
    assert reconciled(mirror) == [
        ("2026-01", "", zero, None, None, None, 1),
        ("2026-01", "proj_1", estimated, None, None, None, 0),
    ]
    bucket(mirror, "2026-01-31")
    bucket(mirror, "2026-02-01", project_id="proj_1", line_item="Text tokens", amount=Decimal(1),
           amount_nano=10**9)  # fmt: skip
    assert reconciled(mirror) == [
        ("2026-01", "", zero, zero, zero, zero, 1),
        ("2026-01", "proj_1", estimated, zero, zero, -estimated, 0),
        ("2026-02", "proj_1", zero, zero, Decimal("1.000000"), zero, 0),
    ]


def test_a_job_seen_through_a_proxy_stands_in_the_bill_too(mirror: Engine) -> None:
    put_job(mirror, status="succeeded", provider="compatible")
    price(mirror, provider="compatible")
    used(mirror, 1_000_000)
    assert [line[2] for line in reconciled(mirror)] == [Decimal("10.000000")]


def test_the_longest_pattern_says_what_kind_a_line_item_is(mirror: Engine) -> None:
    put(mirror, "line_item_patterns", pattern="untrained", kind="storage")
    for number, item in enumerate(["TRAINING of a model", "untrained data", "tokens"], 1):
        bucket(mirror, f"2026-01-0{number}", project_id="", line_item=item, amount=Decimal(1),
               amount_nano=10**9)  # fmt: skip
    with mirror.connect() as connection:
        found = rows(connection, "SELECT line_item, kind FROM billed_line_items")
    assert {row["line_item"]: row["kind"] for row in found} == {
        "TRAINING of a model": "training",
        "untrained data": "storage",
        "tokens": None,
    }
