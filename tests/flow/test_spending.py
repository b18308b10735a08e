"""What training cost, summed in every way: these jobs in, those sums out, on each database."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from etl.budgets import Spent, checked
from etl.db.tables import metadata
from etl.errors import UsageError
from etl.settings import Limit
from etl.spending import Amounts, Part, Spending, Wanted, months, spending


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def put(engine: Engine, table: str, rows: Sequence[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        if rows:
            connection.execute(insert(metadata.tables[table]), list(rows))


def price(model: str, usd: int, precedence: int, **changes: Any) -> dict[str, Any]:
    """A price for a million tokens."""
    return {
        "provider": "openai",
        "model": model,
        "method": "",
        "unit": "trained_token",
        "valid_from": at("2023-01-01"),
        "valid_until": None,
        "amount_microusd": usd * 1_000_000,
        "per_quantity": 1_000_000,
        "quantity_step": 1,
        "has_free_allowance": False,
        "prefix_length": None,
        "precedence": precedence,
        "confidence": "sure",
        "source_note": "",
        **changes,
    }


PRICES = [
    price("gpt-4o-mini", 3, 1),
    price("gpt-4o", 25, 2, has_free_allowance=True, valid_until=at("2025-02-01")),
    price("gpt-4o", 25, 3, valid_from=at("2025-02-01")),
    price(
        "o4-mini",
        100,
        4,
        unit="training_second",
        per_quantity=3600,
        quantity_step=36,
    ),
]


def job(
    number: int, ended: str, tokens: int | None, model: str = "gpt-4o-mini", **changes: Any
) -> dict[str, Any]:
    return {
        "id": f"ftjob-{number}",
        "source": "research",
        "provider": "openai",
        "id_space": "openai",
        "project_id": "proj_1",
        "status": "succeeded",
        "model": model,
        "base_model": model,
        "method_type": "supervised",
        "trained_tokens": tokens,
        "created_at": at(ended),
        "finished_at": at(ended),
        **changes,
    }


def mirror(
    engine: Engine, jobs: Sequence[dict[str, Any]], tags: Sequence[tuple[int, str, str]] = ()
) -> None:
    """Jobs with what they used, as a sync writes them, and metadata as (job, key, value)."""
    put(engine, "prices", PRICES)
    put(engine, "jobs", jobs)
    used = [
        {
            "job_id": one["id"],
            "unit": "trained_token",
            "origin": "trained_tokens",
            "quantity": one["trained_tokens"],
        }
        for one in jobs
        if (one["trained_tokens"] or -1) >= 0 and one["method_type"] != "reinforcement"
    ]
    put(engine, "job_usage", used)
    tagged = [{"job_id": f"ftjob-{n}", "name": name, "value": value} for n, name, value in tags]
    put(engine, "job_metadata", tagged)


SIX = [
    job(1, "2025-01-31 23:59:59", 1_000_000),
    job(2, "2025-02-01", 2_000_000, project_id="proj_2", source="search"),
    job(3, "2025-02-02", 400_000, model="gpt-4o", project_id=None, method_type="dpo"),
    job(4, "2025-02-03", 1_700, status="failed"),
    job(5, "2025-02-04", 5_000, model="gpt-9"),
    job(6, "2025-03-01", None, status="running", finished_at=None),
]


def found(engine: Engine, *by: str, **wanted: Any) -> Spending:
    with engine.connect() as connection:
        return spending(connection, Wanted(by or ("month",), **wanted))


def costs(found: Spending) -> list[tuple[Any, ...]]:
    return [(*keys, one.jobs, one.cost_microusd) for keys, one in found.rows]


def test_by_month_with_all_that_is_known_of_it(engine: Engine) -> None:
    mirror(engine, SIX)
    sums = found(engine)
    assert sums.rows == [
        (("2025-01",), Amounts(1, 1_000_000, 3_000_000)),
        (("2025-02",), Amounts(4, 2_406_700, 16_005_100, 1, 5_100, 1, 0)),
        (("2025-03",), Amounts(1, 0, 0, 0, 0, 0, 1)),
    ]
    assert sums.total == Amounts(6, 3_406_700, 19_005_100, 1, 5_100, 1, 1)
    assert sums.parts == {
        Part("list_price", None, "openai"): Amounts(3, 3_400_000, 19_000_000),
        Part("uncertain", "failed", "openai"): Amounts(1, 1_700, 5_100, 1, 5_100),
        Part("unpriced", "no_price", "openai"): Amounts(1, 5_000, 0, unpriced_jobs=1),
        Part("open", "open", "openai"): Amounts(1, 0, 0, open_jobs=1),
    }


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (
            ("day",),
            [
                ("2025-01-31", 1, 3_000_000),
                ("2025-02-01", 1, 6_000_000),
                ("2025-02-02", 1, 10_000_000),
                ("2025-02-03", 1, 5_100),
                ("2025-02-04", 1, 0),
                ("2025-03-01", 1, 0),
            ],
        ),
        # The dearest first.
        (("model",), [("gpt-4o", 1, 10_000_000), ("gpt-4o-mini", 4, 9_005_100), ("gpt-9", 1, 0)]),
        (("method",), [("dpo", 1, 10_000_000), ("supervised", 5, 9_005_100)]),
        # Those of no project last, whatever they cost.
        (("project",), [("proj_2", 1, 6_000_000), ("proj_1", 4, 3_005_100), (None, 1, 10_000_000)]),
        (("source",), [("research", 5, 13_005_100), ("search", 1, 6_000_000)]),
        (
            ("status",),
            [("succeeded", 4, 19_000_000), ("failed", 1, 5_100), ("running", 1, 0)],
        ),
        (
            ("model", "month"),
            [
                ("gpt-4o", "2025-02", 1, 10_000_000),
                ("gpt-4o-mini", "2025-01", 1, 3_000_000),
                ("gpt-4o-mini", "2025-02", 2, 6_005_100),
                ("gpt-4o-mini", "2025-03", 1, 0),
                ("gpt-9", "2025-02", 1, 0),
            ],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value[0], str) else "",
)
def test_by_anything_else(engine: Engine, by: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    mirror(engine, SIX)
    assert costs(found(engine, *by)) == rows


def test_by_metadata_with_a_row_for_jobs_without_the_key(engine: Engine) -> None:
    tags = [(1, "team", "search"), (2, "team", "Search"), (3, "team", "search "), (4, "run", "7")]
    mirror(engine, SIX, tags)
    assert costs(found(engine, "metadata.team")) == [
        ("search ", 1, 10_000_000),
        ("Search", 1, 6_000_000),
        ("search", 1, 3_000_000),
        (None, 3, 5_100),
    ]
    assert costs(found(engine, "metadata.team", "metadata.run")) == [
        ("search ", None, 1, 10_000_000),
        ("Search", None, 1, 6_000_000),
        ("search", None, 1, 3_000_000),
        (None, "7", 1, 5_100),
        (None, None, 2, 0),
    ]
    assert costs(found(engine, "metadata.nobody has it")) == [(None, 6, 19_005_100)]


def test_a_key_may_hold_anything(engine: Engine) -> None:
    """It is a parameter, never a part of the statement."""
    keys = ["a.b", "x' OR '1'='1", '"; DROP TABLE jobs; --', "%s :name {}", "Ω"]
    mirror(engine, SIX, [(number, key, "yes") for number, key in enumerate(keys, start=1)])
    for number, key in enumerate(keys, start=1):
        rows = dict(found(engine, f"metadata.{key}").rows)
        assert rows[("yes",)].trained_tokens == SIX[number - 1]["trained_tokens"]


def test_since_and_until_are_moments_of_the_end(engine: Engine) -> None:
    mirror(engine, SIX)
    february = found(engine, since=at("2025-02-01"), until=at("2025-03-01"))
    assert costs(february) == [("2025-02", 4, 16_005_100)]
    assert costs(found(engine, since=at("2025-01-31 23:59:59"), until=at("2025-02-01"))) == [
        ("2025-01", 1, 3_000_000)
    ]
    assert found(engine, since=at("2026-01-01")).rows == []
    assert found(engine, since=at("2026-01-01")).total == Amounts()


def test_a_project_has_its_name_beside_its_id(engine: Engine) -> None:
    mirror(engine, SIX)
    put(engine, "projects", [{"id": "proj_2", "name": "Search"}, {"id": "proj_1", "name": None}])
    assert found(engine, "project").project_names == {"proj_2": "Search"}
    assert found(engine, "month").project_names == {}


def test_counts_of_tokens_that_cannot_be_are_in_no_sum(engine: Engine) -> None:
    """On SQLite it would fail, and take every other figure with it."""
    absurd = [job(number, "2025-01-01", 9_000_000_000_000_000_000) for number in (1, 2, 3)]
    mirror(engine, [*absurd, job(4, "2025-01-01", -5), job(5, "2025-01-01", 1_000_001)])
    total = found(engine).total
    assert total == Amounts(5, 1_000_001, 3_000_003, unpriced_jobs=4)


def test_an_empty_mirror_has_no_rows(engine: Engine) -> None:
    sums = found(engine, "month", "metadata.team")
    assert (sums.rows, sums.total, sums.parts) == ([], Amounts(), {})
    with engine.connect() as connection:
        assert months(connection) is None


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (
            "modell",
            'nothing is summed by "modell" (did you mean model?); known: month, day, model,',
        ),
        ("metadata.", "name the key of metadata, as metadata.team"),
        ("metadata", "name the key of metadata, as metadata.team"),
        ("job_id", 'nothing is summed by "job_id"'),
        ("\x1b[2J", 'nothing is summed by "\\x1b[2J"'),
    ],
)
def test_only_what_is_known_can_be_asked_for(by: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Wanted((by,))
    assert said in str(caught.value)


def test_nothing_is_asked_for_twice() -> None:
    with pytest.raises(UsageError, match=r"metadata\.a is named twice"):
        Wanted(("metadata.a", "month", "metadata.a"))


def generated(count: int) -> Iterator[tuple[dict[str, Any], list[tuple[int, str, str]]]]:
    dice = random.Random(6)
    for number in range(count):
        status = dice.choice(["succeeded"] * 6 + ["failed", "cancelled", "running"])
        day = f"202{dice.randint(3, 5)}-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}"
        made = job(
            number,
            f"{day} {dice.randint(0, 23):02}:00:00",
            dice.choice([None, 0, -1, dice.randrange(10**7), dice.randrange(10**7)]),
            model=dice.choice(["gpt-4o-mini", "gpt-4o", "o4-mini", "gpt-9"]),
            status=status,
            project_id=dice.choice([None, "proj_1", "proj_2"]),
            source=dice.choice(["research", "search"]),
            method_type=dice.choice(["supervised", "dpo", "reinforcement", None]),
        )
        tags = [
            (number, name, dice.choice("abc")) for name in ("team", "run") if dice.random() < 0.6
        ]
        yield made, tags


def test_every_breakdown_adds_up_to_the_same_total(engine: Engine) -> None:
    made = list(generated(400))
    mirror(engine, [one for one, _ in made], [tag for _, tags in made for tag in tags])
    total = found(engine).total
    assert total.jobs == 400
    assert total.trained_tokens == sum(max(one["trained_tokens"] or 0, 0) for one, _ in made)
    words = ["month", "day", "model", "method", "project", "source", "status", "metadata.team"]
    words += ["metadata.run", "metadata.none"]
    breakdowns = [(word,) for word in words] + [tuple(words), ("metadata.team", "metadata.run")]
    for by in breakdowns:
        sums = found(engine, *by)
        assert sums.total == total
        assert sum((one for _, one in sums.rows), Amounts()) == total
        assert sum(sums.parts.values(), Amounts()) == total


def test_each_job_costs_what_python_says(engine: Engine) -> None:
    made = [one for one, _ in generated(400)]
    mirror(engine, made)
    usd = {"gpt-4o-mini": 3, "gpt-4o": 25}
    expected = sum(
        # Dollars for a million tokens are micro-dollars for one.
        one["trained_tokens"] * usd[one["base_model"]]
        for one in made
        if one["status"] != "running"
        and one["method_type"] != "reinforcement"
        and (one["trained_tokens"] or 0) > 0
        and one["base_model"] in usd
    )
    assert found(engine).total.cost_microusd == expected


# Budgets


def check(engine: Engine, *limits: Limit, **when: Any) -> list[Spent]:
    with engine.connect() as connection:
        return checked(connection, limits, at("2025-02-28 12:00:00"), **when)


def brief(found: Sequence[Spent]) -> list[tuple[Any, ...]]:
    return [
        (one.limit.name, one.month, one.amounts.cost_microusd, one.is_exceeded, one.is_sure)
        for one in found
    ]


def test_a_limit_is_held_against_this_month(engine: Engine) -> None:
    mirror(engine, SIX, [(2, "team", "search"), (2, "env", "prod"), (3, "team", "search")])
    limits = (
        Limit(16_005_099),
        Limit(6_000_000, "proj_2"),
        Limit(16_000_000, "proj_2"),
        Limit(5_999_999, "proj_2"),
        Limit(15_000_000, None, (("team", "search"),)),
        Limit(1_000_000, "proj_2", (("env", "prod"), ("team", "search"))),
        Limit(0, "proj_9"),
    )
    assert brief(check(engine, *limits)) == [
        # Of which 5,100 are uncertain: without them it would hold.
        ("all", "2025-02", 16_005_100, True, False),
        # Another 10 dollars are of no project, and may be of this one.
        ("project proj_2", "2025-02", 6_000_000, False, False),
        ("project proj_2", "2025-02", 6_000_000, False, True),
        ("project proj_2", "2025-02", 6_000_000, True, True),
        ("metadata team=search", "2025-02", 16_000_000, True, True),
        (
            "project proj_2, metadata env=prod, metadata team=search",
            "2025-02",
            6_000_000,
            True,
            True,
        ),
        # No job is of it.
        ("project proj_9", "2025-02", 0, False, False),
    ]


def test_a_limit_of_what_other_months_have_is_one_of_something(engine: Engine) -> None:
    mirror(engine, SIX, [(1, "team", "search")])
    limits = (
        Limit(0, "proj_1", (("team", "search"),)),
        Limit(0, "proj_2", (("team", "search"),)),
        Limit(0, None, (("team", "Search"),)),
    )
    found = check(engine, *limits)
    assert [one.is_matched for one in found] == [True, False, False]
    assert [one.amounts.jobs for one in found] == [0, 0, 0]


def test_jobs_of_no_project_are_counted_beside_the_limit_of_one(engine: Engine) -> None:
    mirror(engine, SIX, [(3, "team", "search")])
    limits = (
        Limit(10**9, "proj_2"),
        Limit(10**9, "proj_2", (("team", "search"),)),
        Limit(10**9, "proj_2", (("team", "ads"),)),
        Limit(10**9),
    )
    found = check(engine, *limits)
    assert [one.without_project.cost_microusd for one in found] == [10_000_000, 10_000_000, 0, 0]
    assert [one.is_sure for one in found] == [True, False, False, False]


def test_within_a_limit_is_unsure_while_a_cost_is_unknown(engine: Engine) -> None:
    mirror(engine, SIX)
    limit = Limit(10**9)
    assert brief(check(engine, limit)) == [("all", "2025-02", 16_005_100, False, False)]
    march = check(engine, limit, since=at("2025-03-01"), until=at("2025-04-01"))
    assert brief(march) == [("all", "2025-03", 0, False, False)]
    january = check(engine, limit, since=at("2025-01-01"), until=at("2025-02-01"))
    assert brief(january) == [("all", "2025-01", 3_000_000, False, True)]


@pytest.mark.parametrize(
    ("since", "until", "asked"),
    [
        (None, None, ["2025-02"]),
        ("2025-01-01", None, ["2025-01", "2025-02"]),
        # A month that is touched is held against its limit as a whole.
        ("2025-01-31", "2025-02-02", ["2025-01", "2025-02"]),
        ("2025-01-01", "2025-02-01", ["2025-01"]),
        # Nothing is known of the time before the first job.
        ("0001-01-01", "2025-02-01", ["2025-01"]),
        (None, "2025-03-02", ["2025-01", "2025-02", "2025-03"]),
        ("2025-12-31", "2026-01-02", ["2025-12", "2026-01"]),
        ("2030-01-01", None, ["2025-02"]),
        ("2020-01-01", "2020-02-01", ["2020-01"]),
    ],
)
def test_the_months_that_are_checked(
    sqlite_engine: Engine, since: str | None, until: str | None, asked: list[str]
) -> None:
    mirror(sqlite_engine, SIX)
    when = {"since": since and at(since), "until": until and at(until)}
    found = check(sqlite_engine, Limit(1), **when)
    assert [one.month for one in found] == asked


def test_an_empty_mirror_holds_every_limit(sqlite_engine: Engine) -> None:
    assert brief(check(sqlite_engine, Limit(0), since=at("0001-01-01"))) == [
        ("all", "2025-02", 0, False, True)
    ]
