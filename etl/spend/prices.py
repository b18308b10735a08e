"""The price book: what training costs, by model and time, as the shipped and the user's file say.

Read and checked here, without a database: a `Book` knows the rows of the tables `prices` and
`line_item_patterns`. Money is Decimal from the file's digits to whole micro-dollars, never float.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from etl.errors import ConfigError
from etl.settings import PROVIDERS, escaped, nearest
from etl.settings.table import Table
from etl.spend.rules import BILLED_BY_TIME

#: What every file may hold, and what each of its tables may.
KEYS = ("prices", "line_items")
PRICE_KEYS = (
    "provider",
    "model",
    "method",
    "unit",
    "price",
    "valid_from",
    "valid_until",
    "has_free_allowance",
    "confidence",
    "source",
)
LINE_ITEM_KEYS = ("contains", "kind")

#: Methods that a job may have; a price of another would be nobody's.
METHODS = ("supervised", "dpo", "reinforcement")
#: How sure a price is.
CONFIDENCES = ("sure", "likely", "unknown")
#: US dollars: more for a million tokens or an hour is a slip of the pen.
HIGHEST_PRICE = Decimal(10_000)
#: Nobody trained anything there before.
EARLIEST = dt.date(2000, 1, 1)

#: The kind of line item that reconciliation asks for; any other word is the user's own.
TRAINING = "training"

_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MICRO = Decimal("0.000001")
#: Digits enough for the highest price, whatever context the caller's thread has.
_EXACT = Context(prec=28)
_MODEL_LENGTH = 255

_PACKAGED = Path(__file__).parent.parent / "_config"
_CHECKOUT = Path(__file__).parent.parent.parent / "config"


class Unit(NamedTuple):
    """What a price is for, as the table `prices` has it."""

    #: Of `job_usage`.
    name: str
    #: So many of it cost the price.
    per_quantity: int
    #: A quantity is rounded half up to a multiple of this first.
    quantity_step: int


#: By what the file calls them. OpenAI bills hours of reinforcement rounded to two decimals.
UNITS = {
    "1M trained tokens": Unit("trained_token", 1_000_000, 1),
    "training hour": Unit("training_second", 3_600, 36),
}


@dataclass(frozen=True)
class Price:
    """One dated price of one model, or of all whose names begin alike."""

    provider: str
    #: A model's name, or with a `*` at its end how such names begin.
    model: str
    #: '' for any method.
    method: str
    #: As the file calls it, a key of UNITS.
    unit_text: str
    #: UTC days; `valid_until` is the first day on which it no longer counts.
    valid_from: dt.date
    valid_until: dt.date | None
    amount_microusd: int
    has_free_allowance: bool
    confidence: str
    source: str
    #: The file it stands in, which of its entries it is, and whether that file is the user's.
    file: str
    number: int
    is_own: bool

    @property
    def price_usd(self) -> Decimal:
        """US dollars for one unit."""
        return (self.amount_microusd * _MICRO).normalize(_EXACT) + Decimal("0.00")

    @property
    def unit(self) -> Unit:
        """What it is for."""
        return UNITS[self.unit_text]

    @property
    def prefix_length(self) -> int | None:
        """Characters of a model's name that must be alike; None where all must."""
        return len(self.model) - 1 if self.model.endswith("*") else None

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """What no two prices of a file may have on one day."""
        return self.provider, self.model, self.method, self.unit_text

    @property
    def rank(self) -> tuple[Any, ...]:
        """Of prices that fit a job the one with the highest counts; no two have the same.

        The user's before the shipped, an exact model before a beginning, a longer beginning before
        a shorter, one for a method before one for any.
        """
        length = self.prefix_length
        exactness = (True, 0) if length is None else (False, length)
        return self.is_own, exactness, self.method != "", self.kind, self.valid_from

    def is_valid_with(self, other: Price) -> bool:
        """Whether there is a day on which both are valid."""
        return (self.valid_until is None or other.valid_from < self.valid_until) and (
            other.valid_until is None or self.valid_from < other.valid_until
        )


@dataclass(frozen=True)
class LineItem:
    """Line items of a bill that hold this text, in small letters, are of this kind."""

    contains: str
    kind: str
    file: str
    number: int
    is_own: bool


@dataclass(frozen=True)
class Book:
    """A checked price book."""

    #: What counts more comes later.
    prices: tuple[Price, ...] = ()
    line_items: tuple[LineItem, ...] = ()

    def price_rows(self) -> list[dict[str, Any]]:
        """The rows of the table `prices`."""
        return [
            {
                "provider": one.provider,
                "model": one.model,
                "method": one.method,
                "unit": one.unit.name,
                "valid_from": _midnight(one.valid_from),
                "valid_until": None if one.valid_until is None else _midnight(one.valid_until),
                "amount_microusd": one.amount_microusd,
                "per_quantity": one.unit.per_quantity,
                "quantity_step": one.unit.quantity_step,
                "has_free_allowance": one.has_free_allowance,
                "prefix_length": one.prefix_length,
                "precedence": precedence,
                "confidence": one.confidence,
                "source_note": one.source,
            }
            for precedence, one in enumerate(self.prices, start=1)
        ]

    def pattern_rows(self) -> list[dict[str, Any]]:
        """The rows of the table `line_item_patterns`."""
        return [{"pattern": one.contains, "kind": one.kind} for one in self.line_items]


class File(NamedTuple):
    """A file of the price book, read already."""

    name: str
    text: str
    is_own: bool


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def shipped() -> Path:
    """The price book that this version brings: in the wheel, else beside the package."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / "prices.toml"


def load(own: Path | None = None) -> Book:
    """The shipped price book, and over it the user's own, if there is one.

    Raises ConfigError with every problem of both files.
    """
    problems: list[str] = []
    files = [File(str(path := shipped()), _text(path, problems), is_own=False)]
    if own is not None:
        files.append(File(str(own), _text(own, problems), is_own=True))
    book = parse(files, problems)
    if problems:
        raise ConfigError(problems)
    return book


def _text(path: Path, problems: list[str]) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        what = "it is not UTF-8 text"
    except (OSError, RuntimeError) as error:  # the second where nobody knows a home directory
        what = str(getattr(error, "strerror", None) or error)
    problems.append(f"{escaped(str(path))}: the price book cannot be read: {escaped(what)}")
    return ""


def parse(files: Iterable[File], problems: list[str]) -> Book:
    """The book that some files make.

    Every problem goes to `problems`, with file and entry; where there is any, the book is no good.
    """
    prices: dict[bool, list[Price]] = {False: [], True: []}
    items: dict[str, LineItem] = {}
    for file in files:
        values = _values(file, problems)
        top = Table(escaped(file.name), values, problems, KEYS)
        found = list(_prices(file, top, values, problems))
        _refuse_overlaps(found, problems)
        prices[file.is_own] += found
        # The user's word about the same text counts.
        items |= _line_items(file, top, values, problems)
    taken = {(*one.kind, one.valid_from): one for one in prices[True]}
    left = [rest for one in prices[False] if (rest := _beside(one, taken)) is not None]
    return Book(
        tuple(sorted([*left, *prices[True]], key=lambda one: one.rank)),
        tuple(items[contains] for contains in sorted(items)),
    )


def _values(file: File, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.text, parse_float=Decimal)
    except ArithmeticError:
        what = "holds a number that is too large or too small for any price"
    except (ValueError, RecursionError) as error:
        what = f"is not TOML: {error}"
    problems.append(f"{escaped(file.name)}: {escaped(what)}")
    return {}


def _entries(
    top: Table, values: Mapping[str, Any], key: str, name: str
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The tables that begin with a line `[[key]]`, each with its number and how problems name it.

    `name`: the key by which a person knows one from another.
    """
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        top.bad(key, f"each entry begins with a line [[{key}]], with two brackets")
        return
    for number, one in enumerate(found, start=1):
        said = one.get(name)
        is_short = isinstance(said, str) and 0 < len(said) <= 64
        called = f" ({escaped(said)})" if is_short else ""
        yield number, f"{top.place}: [[{key}]] number {number}{called}", one


def _prices(
    file: File, top: Table, values: Mapping[str, Any], problems: list[str]
) -> Iterator[Price]:
    for number, place, said in _entries(top, values, "prices", "model"):
        entry = _Entry(place, said, problems, PRICE_KEYS)
        provider = entry.one_of("provider", PROVIDERS)
        model = entry.model("model")
        method = entry.one_of("method", METHODS) if "method" in entry else ""
        unit = entry.one_of("unit", UNITS)
        amount = entry.microdollars("price")
        begin = entry.day("valid_from")
        end = entry.day("valid_until") if "valid_until" in entry else None
        if begin is not None and end is not None and end <= begin:
            entry.bad("valid_until", "must be later than valid_from: the first day without it")
            continue
        if method and unit and UNITS[unit].name != _unit_of(method):
            wanted = next(text for text, one in UNITS.items() if one.name == _unit_of(method))
            entry.bad("unit", f'jobs of the method {method} are billed by "{wanted}"')
            continue
        has_free_allowance = entry.flag("has_free_allowance", default=False)
        confidence = entry.one_of("confidence", CONFIDENCES) if "confidence" in entry else "sure"
        source = entry.text("source") or ""
        if (
            provider is None
            or model is None
            or method is None
            or unit is None
            or amount is None
            or begin is None
            or confidence is None
            or (end is None and "valid_until" in entry)
        ):
            continue
        yield Price(
            provider,
            model,
            method,
            unit,
            begin,
            end,
            amount,
            has_free_allowance,
            confidence,
            source,
            file.name,
            number,
            file.is_own,
        )


def _unit_of(method: str) -> str:
    return "training_second" if method in BILLED_BY_TIME else "trained_token"


def _line_items(
    file: File, top: Table, values: Mapping[str, Any], problems: list[str]
) -> dict[str, LineItem]:
    found: dict[str, LineItem] = {}
    for number, place, said in _entries(top, values, "line_items", "contains"):
        entry = _Entry(place, said, problems, LINE_ITEM_KEYS)
        contains = entry.pattern("contains")
        kind = entry.kind("kind")
        if contains is None or kind is None:
            continue
        if contains in found:
            entry.bad("contains", f"number {found[contains].number} says the same; keep one")
            continue
        found[contains] = LineItem(contains, kind, file.name, number, file.is_own)
    return found


def _refuse_overlaps(prices: Iterable[Price], problems: list[str]) -> None:
    """Two prices for the same on one day: nobody could say which counts."""
    alike: dict[tuple[str, ...], list[Price]] = {}
    for one in prices:
        alike.setdefault(one.kind, []).append(one)
    for some in alike.values():
        for first, second in combinations(some, 2):
            if first.is_valid_with(second):
                day = max(first.valid_from, second.valid_from)
                problems.append(
                    f"{escaped(second.file)}: [[prices]] number {second.number} ({second.model}): "
                    f"overlaps with number {first.number} ({first.model}, valid from "
                    f"{first.valid_from}): both count on {day}; end one by valid_until before the "
                    "other begins"
                )


def _beside(price: Price, taken: Mapping[tuple[Any, ...], Price]) -> Price | None:
    """What is left of a shipped price beside the user's that begin when it does; None for nothing.

    It goes on after them: who changes a price for some months does not take it away for later.
    """
    begin = price.valid_from
    while (own := taken.get((*price.kind, begin))) is not None:
        if own.valid_until is None:
            return None
        begin = own.valid_until
        if price.valid_until is not None and begin >= price.valid_until:
            return None
    return replace(price, valid_from=begin)


class _Entry(Table):
    """One entry of a price book; what is wrong with it is told to the problems."""

    def _needed(self, key: str, example: str) -> str | None:
        if key not in self:
            self.bad(key, f"is missing; write {key} = {example}")
            return None
        return self.text(key)

    def one_of(self, key: str, known: Collection[str]) -> str | None:
        """One of these words."""
        value = self._needed(key, f'"{next(iter(known))}"')
        if value is None or value in known:
            return value
        words = ", ".join(f'"{word}"' for word in known)
        self.bad(key, f'"{escaped(value)}" is unknown{nearest(value, known)}; known: {words}')
        return None

    def model(self, key: str) -> str | None:
        """A model's name, or with a `*` at its end how such names begin."""
        value = self._needed(key, '"gpt-4o-2024-08-06"')
        if value is None:
            return None
        if not value.isascii() or any(char.isspace() for char in value):
            self.bad(key, "holds a space or a character beyond ASCII, which no model's name has")
        elif len(value) > _MODEL_LENGTH:
            self.bad(key, f"is {len(value)} characters long; {_MODEL_LENGTH} is the most")
        elif "*" in value[:-1]:
            self.bad(key, "a * may stand at the end only, for every name that begins so")
        elif value.startswith("ft:"):
            self.bad(key, "a job on an ft: model has the price of the model under it; name that")
        else:
            return value
        return None

    def microdollars(self, key: str) -> int | None:
        """US dollars, to the micro-dollar at most."""
        if key not in self:
            self.bad(key, "is missing; write US dollars, as price = 25.00")
            return None
        value = self._typed(key, (int, Decimal), "US dollars without quotes, as 25.00")
        if value is None:
            return None
        price = Decimal(value)
        if not price.is_finite():
            self.bad(key, "must be a number of US dollars, as 25.00")
        elif price < 0:
            self.bad(key, "must be 0 or more")
        elif price > HIGHEST_PRICE:
            self.bad(key, f"is above {HIGHEST_PRICE:,} US dollars; is it meant for another unit?")
        elif price != price.quantize(_MICRO, context=_EXACT):
            self.bad(key, "has more than 6 decimals; a millionth of a dollar is the least")
        else:
            return int(price.scaleb(6, context=_EXACT))
        return None

    def day(self, key: str) -> dt.date | None:
        """A day in UTC."""
        if key not in self:
            self.bad(key, "is missing; write the first day of the price, as 2024-08-20")
            return None
        value: dt.date | None
        value = self._typed(key, (dt.date,), "a day without quotes, as 2024-08-20")
        if value is not None and value < EARLIEST:
            self.bad(key, f"{value} is too early; nobody trained models then")
            return None
        return value

    def pattern(self, key: str) -> str | None:
        """Text to be found in a line item, in small letters."""
        value = self._needed(key, '"train"')
        if value is None:
            return None
        if value != self._values[key]:
            self.bad(key, "has a space at an end; leave it out")
        elif not value.isascii():
            self.bad(key, "holds a character beyond ASCII, which databases fold unlike each other")
        elif len(value) > _MODEL_LENGTH:
            self.bad(key, f"is {len(value)} characters long; {_MODEL_LENGTH} is the most")
        else:
            return value.lower()
        return None

    def kind(self, key: str) -> str | None:
        """What a line item is for: `training`, or a word of the user's own."""
        value = self._needed(key, '"training"')
        if value is None:
            return None
        if not _KIND.fullmatch(value):
            self.bad(key, "must be a word in small letters, 32 at most, as training")
        elif value != TRAINING and difflib.get_close_matches(value, [TRAINING], cutoff=0.8):
            self.bad(key, f'"{value}" is no kind; did you mean {TRAINING}?')
        else:
            return value
        return None
