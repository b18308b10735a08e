"""The price book: what its files may say, which entry counts, and what is told of mistakes."""

from __future__ import annotations

import datetime as dt
import tomllib
from decimal import Decimal, localcontext
from pathlib import Path

import pytest

from etl.errors import ConfigError
from etl.spend import prices
from etl.spend.prices import Book, File, load, parse, shipped

ENTRY = """
[[prices]]
provider = "openai"
model = "gpt-4o-2024-08-06"
unit = "1M trained tokens"
price = 25.00
valid_from = 2024-08-20
"""


def book(own: str = "", ours: str = "") -> Book:
    """The book of a user's text over a shipped one."""
    problems: list[str] = []
    files = [File("shipped.toml", ours, is_own=False), File("own.toml", own, is_own=True)]
    made = parse(files, problems)
    assert problems == []
    return made


def problems_of(text: str) -> list[str]:
    problems: list[str] = []
    parse([File("own.toml", text, is_own=True)], problems)
    return problems


def said(**changes: str | None) -> str:
    """An entry with some lines changed, added, or left out for None."""
    lines = dict(line.split(" = ") for line in ENTRY.strip().splitlines()[1:])
    lines |= {name: value for name, value in changes.items() if value is not None}
    left = {name: value for name, value in lines.items() if changes.get(name, "") is not None}
    return "[[prices]]\n" + "".join(f"{name} = {value}\n" for name, value in left.items())


def day(year: int, month: int, number: int) -> dt.datetime:
    return dt.datetime(year, month, number, tzinfo=dt.UTC)


# What is shipped


def test_the_shipped_prices_are_those_that_openai_published() -> None:
    told = [
        (one.model, str(one.price_usd), one.unit_text, str(one.valid_from), one.has_free_allowance)
        for one in load().prices
    ]
    tokens = "1M trained tokens"
    assert sorted(told) == [
        ("ada", "0.40", tokens, "2022-01-19", False),
        ("babbage", "0.60", tokens, "2022-01-19", False),
        ("babbage-002", "0.40", tokens, "2023-08-22", False),
        ("curie", "3.00", tokens, "2022-01-19", False),
        ("davinci", "30.00", tokens, "2022-01-19", False),
        ("davinci-002", "6.00", tokens, "2023-08-22", False),
        ("gpt-3.5-turbo", "8.00", tokens, "2023-08-22", False),
        ("gpt-3.5-turbo-0125", "8.00", tokens, "2023-08-22", False),
        ("gpt-3.5-turbo-0613", "8.00", tokens, "2023-08-22", False),
        ("gpt-3.5-turbo-1106", "8.00", tokens, "2023-08-22", False),
        ("gpt-4.1-2025-04-14", "25.00", tokens, "2025-04-14", False),
        ("gpt-4.1-mini-2025-04-14", "5.00", tokens, "2025-04-14", False),
        ("gpt-4.1-nano-2025-04-14", "1.50", tokens, "2025-05-01", False),
        ("gpt-4o-2024-08-06", "25.00", tokens, "2024-08-20", True),
        ("gpt-4o-2024-08-06", "25.00", tokens, "2024-11-01", False),
        ("gpt-4o-mini-2024-07-18", "3.00", tokens, "2024-07-18", True),
        ("gpt-4o-mini-2024-07-18", "3.00", tokens, "2024-11-01", False),
        ("o4-mini-2025-04-16", "100.00", "training hour", "2025-05-01", False),
    ]
    assert {one.provider for one in load().prices} == {"openai"}
    assert all(one.source for one in load().prices)


def test_a_model_is_never_free_of_price_between_two_shipped_entries() -> None:
    ends = {(one.model, one.valid_until) for one in load().prices if one.has_free_allowance}
    begins = {(one.model, one.valid_from) for one in load().prices}
    assert len(ends) == 2
    assert ends <= begins


def test_the_retired_models_end() -> None:
    legacy = [one for one in load().prices if one.model in ("ada", "babbage", "curie", "davinci")]
    assert {str(one.valid_until) for one in legacy} == {"2024-01-05"}
    assert {one.confidence for one in legacy} == {"likely"}


def test_the_shipped_line_items_are_those_of_training() -> None:
    assert load().pattern_rows() == [
        {"pattern": "fine-tun", "kind": "training"},
        {"pattern": "train", "kind": "training"},
    ]


def test_the_head_of_the_shipped_file_explains_each_key() -> None:
    text = shipped().read_text(encoding="utf-8")
    head = text.partition("\n\n")[0]
    assert [key for key in prices.PRICE_KEYS if f"#   {key} " not in head] == []
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert set(tomllib.loads(text)) == set(prices.KEYS)


# Rows


def test_an_entry_becomes_a_row() -> None:
    own = said(valid_until="2024-11-01", method='"dpo"', source='"our contract"', price="1.5")
    assert book(own).price_rows() == [
        {
            "provider": "openai",
            "model": "gpt-4o-2024-08-06",
            "method": "dpo",
            "unit": "trained_token",
            "valid_from": day(2024, 8, 20),
            "valid_until": day(2024, 11, 1),
            "amount_microusd": 1_500_000,
            "per_quantity": 1_000_000,
            "quantity_step": 1,
            "has_free_allowance": False,
            "prefix_length": None,
            "precedence": 1,
            "confidence": "sure",
            "source_note": "our contract",
        }
    ]


def test_an_hour_is_seconds_rounded_to_a_hundredth_of_it() -> None:
    (row,) = book(said(unit='"training hour"', price="100")).price_rows()
    assert (row["unit"], row["amount_microusd"]) == ("training_second", 100_000_000)
    assert (row["per_quantity"], row["quantity_step"]) == (3600, 36)


def test_a_beginning_says_how_much_of_the_name_must_be_alike() -> None:
    (row,) = book(said(model='"gpt-4o*"')).price_rows()
    assert (row["model"], row["prefix_length"]) == ("gpt-4o*", 6)
    (row,) = book(said(model='"*"')).price_rows()
    assert (row["model"], row["prefix_length"]) == ("*", 0)


@pytest.mark.parametrize(
    ("written", "amount", "shown"),
    [
        ("25", 25_000_000, "25.00"),
        ("0.1", 100_000, "0.10"),
        ("0.000001", 1, "0.000001"),
        ("0.4000000000000", 400_000, "0.40"),
        ("8.31", 8_310_000, "8.31"),
        ("1e2", 100_000_000, "100.00"),
        ("9999.999999", 9_999_999_999, "9999.999999"),
        ("10_000", 10_000_000_000, "10000.00"),
        ("0", 0, "0.00"),
        ("-0.0", 0, "0.00"),
    ],
)
def test_a_price_keeps_every_digit(written: str, amount: int, shown: str) -> None:
    with localcontext(prec=3):  # whatever the caller's context is
        (one,) = book(said(price=written)).prices
    assert (one.amount_microusd, str(one.price_usd)) == (amount, shown)
    assert isinstance(one.price_usd, Decimal)


# Which counts


def test_what_counts_more_comes_later() -> None:
    own = said(model='"gpt*"')
    ours = said() + said(model='"gpt-4o-2024-08-06"', method='"dpo"')
    ours += said(model='"gpt-4o*"') + said(model='"gpt-4*"', method='"dpo"')
    assert [(one.model, one.method, one.is_own) for one in book(own, ours).prices] == [
        ("gpt-4*", "dpo", False),
        ("gpt-4o*", "", False),
        ("gpt-4o-2024-08-06", "", False),
        ("gpt-4o-2024-08-06", "dpo", False),
        ("gpt*", "", True),
    ]
    rows = book(own, ours).price_rows()
    assert [row["precedence"] for row in rows] == [1, 2, 3, 4, 5]


def test_the_order_of_entries_in_a_file_changes_nothing() -> None:
    some = [said(), said(model='"gpt-4o*"'), said(provider='"azure"')]
    assert book("".join(some)).price_rows() == book("".join(reversed(some))).price_rows()


def test_an_entry_of_the_user_stands_in_the_place_of_the_same_shipped_one() -> None:
    (one,) = book(said(price="20"), said()).prices
    assert (one.is_own, one.amount_microusd) == (True, 20_000_000)


def test_a_shipped_price_goes_on_where_the_users_ends() -> None:
    """Who changes a price for some months does not take it away for the time after."""
    own = said(price="20", valid_until="2025-01-01") + said(
        price="22", valid_from="2025-01-01", valid_until="2025-02-01"
    )
    told = [(str(one.valid_from), str(one.price_usd)) for one in book(own, said()).prices]
    assert told == [("2025-02-01", "25.00"), ("2024-08-20", "20.00"), ("2025-01-01", "22.00")]
    ends = said(valid_until="2025-02-01")
    assert [one.is_own for one in book(own, ends).prices] == [True, True]


def test_a_users_price_that_begins_on_another_day_stands_beside_the_shipped_one() -> None:
    found = book(said(price="20", valid_from="2025-01-01"), said()).prices
    assert [one.is_own for one in found] == [False, True]


def test_the_users_kind_of_a_line_item_counts() -> None:
    ours = '[[line_items]]\ncontains = "train"\nkind = "training"\n'
    own = '[[line_items]]\ncontains = "TRAIN"\nkind = "other"\n'
    own += '[[line_items]]\ncontains = "grader"\nkind = "training"\n'
    assert book(own, ours).pattern_rows() == [
        {"pattern": "grader", "kind": "training"},
        {"pattern": "train", "kind": "other"},
    ]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("")
    assert load(own) == load()


# Mistakes


def test_two_prices_for_one_day_are_refused_with_both_named() -> None:
    text = said(valid_until="2025-01-01") + said(price="30", valid_from="2024-12-31")
    (problem,) = problems_of(text)
    assert problem == (
        "own.toml: [[prices]] number 2 (gpt-4o-2024-08-06): overlaps with number 1 "
        "(gpt-4o-2024-08-06, valid from 2024-08-20): both count on 2024-12-31; end one by "
        "valid_until before the other begins"
    )


@pytest.mark.parametrize(
    "other",
    [
        said(valid_from="2025-01-01"),
        said(valid_from="2024-01-01", valid_until="2024-08-20"),
        said(provider='"azure"'),
        said(model='"gpt-4o*"'),
        said(method='"dpo"'),
        said(unit='"training hour"'),
    ],
)
def test_these_do_not_overlap(other: str) -> None:
    assert problems_of(said(valid_until="2025-01-01") + other) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"provider": '"opnai"'}, 'provider: "opnai" is unknown (did you mean openai?)'),
        ({"provider": None}, 'provider: is missing; write provider = "openai"'),
        ({"model": None}, "model: is missing"),
        ({"model": '"gpt*4"'}, "model: a * may stand at the end only"),
        ({"model": '"**"'}, "model: a * may stand at the end only"),
        ({"model": '"gpt-4é"'}, "model: holds a space or a character beyond ASCII"),
        ({"model": '"gpt 4"'}, "model: holds a space or a character beyond ASCII"),
        ({"model": f'"{"a" * 256}"'}, "model: is 256 characters long; 255 is the most"),
        (
            {"model": '"ft:gpt-4o*"'},
            "model: a job on an ft: model has the price of",
        ),
        ({"model": '"a\\u001b"'}, "model: holds a line break or another control character"),
        ({"model": "4"}, "model: is a whole number; must be text in quotes"),
        ({"method": '"suprevised"'}, 'method: "suprevised" is unknown (did you mean supervised?)'),
        ({"method": '"reinforcement"'}, "unit: jobs of the method reinforcement are billed by"),
        ({"unit": '"1M tokens"'}, 'unit: "1M tokens" is unknown (did you mean 1M trained tokens?)'),
        ({"price": None}, "price: is missing; write US dollars, as price = 25.00"),
        ({"price": '"25.00"'}, "price: is text; must be US dollars without quotes, as 25.00"),
        ({"price": "true"}, "price: is true or false; must be US dollars"),
        ({"price": "-0.01"}, "price: must be 0 or more"),
        ({"price": "10000.01"}, "price: is above 10,000 US dollars"),
        ({"price": "0.0000001"}, "price: has more than 6 decimals"),
        ({"price": "25.12345678901234567890"}, "price: has more than 6 decimals"),
        ({"price": "9999.00000000000000000000000000000001"}, "price: has more than 6 decimals"),
        ({"price": "1e-999999"}, "price: has more than 6 decimals"),
        ({"price": "1e999999"}, "price: is above 10,000 US dollars"),
        ({"price": "nan"}, "price: must be a number of US dollars"),
        ({"price": "-inf"}, "price: must be a number of US dollars"),
        ({"valid_from": None}, "valid_from: is missing; write the first day of the price"),
        ({"valid_from": '"2024-08-20"'}, "valid_from: is text; must be a day without quotes"),
        ({"valid_from": "2024-08-20T00:00:00Z"}, "valid_from: is a date with time; must be a day"),
        ({"valid_from": "0001-01-01"}, "valid_from: 0001-01-01 is too early"),
        ({"valid_until": "2024-08-20"}, "valid_until: must be later than valid_from"),
        ({"valid_until": "5"}, "valid_until: is a whole number; must be a day without quotes"),
        ({"has_free_allowance": '"yes"'}, "has_free_allowance: is text; must be true or false"),
        ({"confidence": '"certain"'}, 'confidence: "certain" is unknown; known: "sure"'),
        ({"prise": "1"}, "prise: unknown key (did you mean price?)"),
        ({"source": "1.5"}, "source: is a number; must be text in quotes"),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(
    changes: dict[str, str | None], problem: str
) -> None:
    (found,) = problems_of(ENTRY + said(**{"model": '"b"', **changes}))
    assert found.startswith("own.toml: [[prices]] number 2")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[price]]", "own.toml: price: unknown key (did you mean prices?)"),
        ("[prices]", "own.toml: prices: each entry begins with a line [[prices]]"),
        ("prices = 1", "own.toml: prices: each entry begins with a line [[prices]]"),
        ("[[prices", "own.toml: is not TOML"),
        (ENTRY + ENTRY, "number 2 (gpt-4o-2024-08-06): overlaps with number 1"),
        (said(valid_from="2024-02-30"), "own.toml: is not TOML"),
        (said(price="1e9999999999999999999999"), "own.toml: holds a number that is too large"),
        ('[[line_items]]\nkind = "training"', "[[line_items]] number 1: contains: is missing"),
        ('[[line_items]]\ncontains = "a"', "[[line_items]] number 1 (a): kind: is missing"),
        (
            '[[line_items]]\ncontains = "a"\nkind = "trainng"',
            'kind: "trainng" is no kind; did you mean training?',
        ),
        ('[[line_items]]\ncontains = "a"\nkind = "Training"', "must be a word in small letters"),
        ('[[line_items]]\ncontains = "a "\nkind = "training"', "has a space at an end"),
        ('[[line_items]]\ncontains = "é"\nkind = "training"', "a character beyond ASCII"),
        (
            "".join(f'[[line_items]]\ncontains = "{one}"\nkind = "x"\n' for one in "aA"),
            "[[line_items]] number 2 (A): contains: number 1 says the same",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(text: str, problem: str) -> None:
    (found,) = problems_of(text)
    assert problem in found


def test_every_problem_of_a_file_is_told_at_once() -> None:
    found = problems_of(said(price="-1", provider='"x"', colour='"red"') + said(valid_from=None))
    assert [one.split(": ")[2] for one in found] == ["colour", "provider", "price", "valid_from"]


def test_no_problem_can_steer_a_terminal() -> None:
    text = said(provider='"\\u001b[2J"', model='"\\u001b[2J"') + '"\\u001b" = 1\n'
    assert not any("\x1b" in one for one in problems_of(text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "none.toml")
    assert raised.value.problems == [
        f"{tmp_path}/none.toml: the price book cannot be read: No such file or directory"
    ]
    odd = tmp_path / "odd.toml"
    odd.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: it is not UTF-8 text"):
        load(odd)


def test_the_home_directory_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.toml").write_text(ENTRY)
    assert any(one.is_own for one in load(Path("~/own.toml")).prices)
