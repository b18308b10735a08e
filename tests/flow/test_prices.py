"""The price book in the database: when it is written, when not, and which price counts."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from etl import replay as replaying
from etl.db import lease, prices, store
from etl.db.engine import open_engine
from etl.db.prices import UnpricedModel
from etl.db.tables import leases
from etl.errors import LeaseHeld, LeaseLost
from etl.resources import discover
from etl.simulator import Simulator, World
from etl.spend.prices import Book, File, load, parse
from tests import servers
from tests.conftest import make_schema
from tests.jobs import job
from tests.mirror import import_objects, rows, source_of, statements, sync
from tests.users import READER, user_of

_WRITES = re.compile(r"(INSERT|UPDATE|DELETE|COPY) ")
_OURS = re.compile(r"\b(prices|line_item_patterns)\b")


def book_of(*entries: dict[str, Any], ours: str = "") -> Book:
    """A book of these entries of a user; what they do not say is as of the first."""
    problems: list[str] = []
    usual = {
        "provider": '"openai"',
        "model": '"gpt-4o-mini-2024-07-18"',
        "unit": '"1M trained tokens"',
        "price": "3.00",
        "valid_from": "2024-01-01",
    }
    lines = ["[[prices]]\n" + written({**usual, **one}) for one in entries]
    files = [File("shipped", ours, is_own=False), File("own", "".join(lines), is_own=True)]
    book = parse(files, problems)
    assert problems == []
    return book


def written(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def amounts(engine: Engine) -> list[int]:
    return [row["amount_microusd"] for row in rows(engine, "prices")]


def writes(seen: list[str]) -> list[str]:
    return [one for one in seen if _WRITES.match(one)]


# When it is written


def test_every_run_brings_the_prices_whatever_else_it_is_to_do(
    engine: Engine, tmp_path: Path
) -> None:
    def by_sync(book: Book) -> None:
        with Simulator(World(1, 3)) as simulator:
            sync(engine, source_of(simulator), resources=("files",), book=book)

    def by_import(book: Book) -> None:
        import_objects(engine, [], tmp_path, book=book)

    def by_replay(book: Book) -> None:
        (chosen,) = (one for name, one in discover().items() if name == "files")
        replaying.replay(engine, [chosen], lambda _: None, book=book)

    ways: list[Callable[[Book], None]] = [by_sync, by_import, by_replay]
    for number, way in enumerate(ways, start=1):
        book = book_of({"price": number})
        way(book)
        assert rows(engine, "prices") == book.price_rows()


def test_the_shipped_book_comes_back_as_it_was_written(engine: Engine) -> None:
    book = load()
    assert prices.bring_under_lease(engine, book, "test")
    stored = sorted(rows(engine, "prices"), key=lambda row: int(row["precedence"]))
    assert stored == book.price_rows()
    assert rows(engine, "line_item_patterns") == book.pattern_rows()


def test_an_equal_book_is_compared_by_two_looks_and_written_by_nobody(engine: Engine) -> None:
    book = load()
    with Simulator(World(1, 3)) as simulator:
        source = source_of(simulator)
        sync(engine, source, book=book)
        with statements(engine) as without:
            sync(engine, source)
        with statements(engine) as seen:
            sync(engine, source, book=book)
    about = [one for one in seen if _OURS.search(one)]
    assert [one.split()[0] for one in about] == ["SELECT", "SELECT"]
    assert len(writes(seen)) == len(writes(without))
    with statements(engine) as seen:
        assert not prices.bring_under_lease(engine, book, "test")
        assert prices.bring_or_warn(engine, book, "test")
    assert {one.split()[0] for one in seen} <= {"SELECT", "BEGIN"}
    assert "BEGIN IMMEDIATE" not in seen  # as a writer begins on SQLite


def test_another_book_is_written_in_one_transaction_that_begins_with_the_lease(
    engine: Engine,
) -> None:
    prices.bring_under_lease(engine, book_of({}), "test")
    with Simulator(World(1, 0)) as simulator, statements(engine) as seen:
        sync(engine, source_of(simulator), book=book_of({"price": 4}))
    assert amounts(engine) == [4_000_000]
    begin = max(n for n, one in enumerate(seen) if one == "COMMIT" and n < _first_of(seen))
    end = seen.index("COMMIT", _first_of(seen))
    changes = [" ".join(one.split()[:3]) for one in writes(seen[begin:end])]
    assert [change.split()[0] for change in changes] == ["UPDATE", "DELETE", "INSERT"]
    assert [change.split()[-1] for change in changes[1:]] == ["prices", "prices"]


def _first_of(seen: list[str]) -> int:
    return next(n for n, one in enumerate(seen) if one.startswith("DELETE FROM prices"))


def test_a_book_without_entries_empties_the_tables(engine: Engine) -> None:
    prices.bring_under_lease(engine, load(), "test")
    prices.bring_under_lease(engine, Book(), "test")
    assert (rows(engine, "prices"), rows(engine, "line_item_patterns")) == ([], [])


def test_what_somebody_changed_in_the_table_is_undone(engine: Engine) -> None:
    book = book_of({})
    prices.bring_under_lease(engine, book, "test")
    with engine.begin() as connection:
        connection.execute(text("UPDATE prices SET amount_microusd = 1"))
    assert prices.bring_under_lease(engine, book, "test")
    assert amounts(engine) == [3_000_000]


def test_a_writer_that_lost_the_lease_leaves_the_prices_alone(engine: Engine) -> None:
    prices.bring_under_lease(engine, book_of({}), "test")
    with lease.hold(engine, "first") as held:
        writer = store.Store(engine, held.fence)
        with engine.begin() as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1))
        with pytest.raises(LeaseLost):
            prices.bring(engine, book_of({"price": 4}), writer.again)
    assert amounts(engine) == [3_000_000]


# Where it cannot be written


def test_who_only_reads_goes_on_with_a_warning_while_another_writes(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    prices.bring_under_lease(engine, book_of({}), "test")
    with lease.hold(engine, "sync"):
        assert not prices.bring_or_warn(engine, book_of({"price": 4}), "spend")
        (warning,) = caplog.records
        assert warning.getMessage().startswith(
            "costs are by other prices than those of the price book: another writer is at work on "
            "this database: `ftmirror sync` on "
        )
        with pytest.raises(LeaseHeld):
            prices.bring_under_lease(engine, book_of({"price": 4}), "db upgrade")
        assert prices.bring_or_warn(engine, book_of({}), "spend")  # nothing to write
    assert amounts(engine) == [3_000_000]


def test_a_file_that_may_only_be_read_gives_a_warning(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    prices.bring_under_lease(sqlite_engine, book_of({}), "test")
    reader = open_engine(f"sqlite:///file:{sqlite_engine.url.database}?mode=ro&uri=true")
    assert not prices.bring_or_warn(reader, book_of({"price": 4}), "spend")
    assert "costs are by other prices" in caplog.text
    assert "the database may only be read" in caplog.text
    assert amounts(reader) == [3_000_000]
    reader.dispose()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_user_who_may_only_read_gets_a_warning(
    kind: str, database_servers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    url = servers.create_database(database_servers[kind], f"prices_{kind}")
    owner = make_schema(url)
    prices.bring_under_lease(owner, book_of({}), "test")
    reader = user_of(url, kind, "prices_reader", READER[kind])
    assert not prices.bring_or_warn(reader, book_of({"price": 4}), "spend")
    assert "costs are by other prices" in caplog.text
    assert amounts(reader) == [3_000_000]
    blind = user_of(url, kind, "prices_blind", _ONE_TABLE[kind])
    caplog.clear()
    assert not prices.bring_or_warn(blind, book_of({}), "spend")
    assert "nobody knows whether the prices in the database are current" in caplog.text
    for one in (owner, reader, blind):
        one.dispose()


#: What a user may do who sees one table, and not that of the prices.
_ONE_TABLE = {
    "postgresql": ("GRANT SELECT ON jobs TO {user}",),
    "mariadb": ("GRANT SELECT ON {database}.jobs TO {user}",),
}


def test_a_first_book_is_no_news_and_another_is(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    prices.bring_under_lease(sqlite_engine, book_of({}), "test")
    assert caplog.messages == []
    prices.bring_under_lease(sqlite_engine, book_of({"price": 4}), "test")
    assert caplog.messages == ["the table prices was brought into step with the price book"]


# Which price counts


def price_of(engine: Engine, identifier: str) -> str | None:
    """The price of a job in US dollars, and how sure its cost is; None where there is none."""
    query = text("SELECT price_usd, certainty FROM job_costs WHERE job_id = :id")
    with engine.connect() as connection:
        price, certainty = connection.execute(query, {"id": identifier}).one()
    return None if price is None else f"{float(price):.2f} {certainty}"


def test_the_narrowest_price_counts_and_the_users_before_all(
    engine: Engine, tmp_path: Path
) -> None:
    def shipped(**values: Any) -> str:
        usual = {"provider": '"openai"', "unit": '"1M trained tokens"', "valid_from": "2024-01-01"}
        return "[[prices]]\n" + written({**usual, **values})

    ours = shipped(model='"gpt-4*"', price=1) + shipped(model='"gpt-4o*"', price=2)
    ours += shipped(model='"gpt-4o-a"', price=3)
    ours += shipped(model='"gpt-4o-a"', price=4, method='"dpo"')
    ours += shipped(model='"gpt-9"', price=5) + shipped(model='"gpt_8*"', price=6)
    dpo = {"type": "dpo", "dpo": {"hyperparameters": {}}}
    made = [
        job("ftjob-1", model="gpt-4.5"),
        job("ftjob-2", model="gpt-4o-b"),
        job("ftjob-3", model="gpt-4o-a"),
        job("ftjob-4", model="gpt-4o-a", method=dpo),
        job("ftjob-5", model="gpt-9"),
        job("ftjob-6", model="ft:gpt-4o-a:acme::Aj9zpMdD"),
        job("ftjob-7", model="GPT-4o-a"),
        job("ftjob-8", model="gpt-9-b"),
        job("ftjob-9", model="gptx8-b"),
        job("ftjob-10", model="gpt-4o-a", created_at=1704067199, finished_at=1704067300),
        job("ftjob-11", model="gpt-4o-a", created_at=1704067200, finished_at=1704067300),
        job("ftjob-12", model="gpt-4o-a", method=None),
    ]
    import_objects(engine, made, tmp_path, book=book_of(ours=ours))
    assert {one["id"]: price_of(engine, one["id"]) for one in made} == {
        "ftjob-1": "1.00 list_price",
        "ftjob-2": "2.00 list_price",
        "ftjob-3": "3.00 list_price",
        "ftjob-4": "4.00 list_price",
        "ftjob-5": "5.00 list_price",
        "ftjob-6": "3.00 list_price",
        "ftjob-7": None,
        "ftjob-8": None,
        "ftjob-9": None,
        "ftjob-10": None,
        "ftjob-11": "3.00 list_price",
        "ftjob-12": "3.00 list_price",
    }
    own = book_of({"model": '"gpt-4*"', "price": 7}, {"model": '"*"', "price": 8}, ours=ours)
    prices.bring_under_lease(engine, own, "test")
    assert [price_of(engine, f"ftjob-{number}") for number in (1, 3, 4, 5, 7)] == [
        "7.00 list_price",
        "7.00 list_price",
        "7.00 list_price",
        "8.00 list_price",
        "8.00 list_price",
    ]


def test_a_price_changes_at_the_beginning_of_its_day(engine: Engine, tmp_path: Path) -> None:
    last, first = 1735689599, 1735689600  # around the midnight before 2025-01-01
    made = [
        job("ftjob-1", created_at=last, finished_at=first),
        job("ftjob-2", created_at=first, finished_at=first),
    ]
    book = book_of({"valid_until": "2025-01-01"}, {"price": 4, "valid_from": "2025-01-01"})
    import_objects(engine, made, tmp_path, book=book)
    assert price_of(engine, "ftjob-1") == "3.00 list_price"
    assert price_of(engine, "ftjob-2") == "4.00 list_price"


def test_in_a_time_of_free_tokens_a_cost_is_uncertain(engine: Engine, tmp_path: Path) -> None:
    book = book_of({"has_free_allowance": "true"})
    import_objects(engine, [job("ftjob-1")], tmp_path, book=book)
    assert price_of(engine, "ftjob-1") == "3.00 uncertain"


def test_models_without_a_price_are_counted_and_open_jobs_are_not(
    engine: Engine, tmp_path: Path
) -> None:
    made = [
        job("ftjob-1", model="new-model"),
        job("ftjob-2", model="new-model", created_at=1735400000),
        job("ftjob-3", model="ft:new-model:acme::Aj9zpMdD", trained_tokens=300),
        job("ftjob-4", created_at=1704067199, finished_at=1704067300),
        job("ftjob-5"),
        job("ftjob-6", "running", model="new-model"),
        job("ftjob-7", model="new-model", trained_tokens=None),
    ]
    import_objects(engine, made, tmp_path, book=book_of({}))
    with engine.connect() as connection:
        found = prices.unpriced_models(connection)
    assert found == [
        UnpricedModel(
            "openai",
            "new-model",
            "trained_token",
            "no_price",
            3,
            3700,
            dt.datetime(2024, 12, 27, 18, 20, 48, tzinfo=dt.UTC),
            dt.datetime(2024, 12, 28, 15, 33, 20, tzinfo=dt.UTC),
        ),
        UnpricedModel(
            "openai",
            "gpt-4o-mini-2024-07-18",
            "trained_token",
            "outside_price_dates",
            1,
            1700,
            dt.datetime(2023, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
            dt.datetime(2023, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
        ),
    ]
    assert {type(one.trained_tokens) for one in found} == {int}


def test_absurd_counts_of_tokens_are_in_no_sum_of_a_model(engine: Engine, tmp_path: Path) -> None:
    counts = [2**63 - 1, 2**63 - 1, 10**12 + 1, 10**12, -5]
    made = [
        job(f"ftjob-{number}", model="new-model", trained_tokens=count)
        for number, count in enumerate(counts)
    ]
    import_objects(engine, made, tmp_path, book=book_of({}))
    with engine.connect() as connection:
        (found,) = prices.unpriced_models(connection)
    # Less than nothing is no usage, and lacks more than a price.
    assert (found.jobs, found.trained_tokens) == (4, 10**12)
