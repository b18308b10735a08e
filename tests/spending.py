"""A history to be priced, and its cost worked out by other means than the views: one job at a time.

Prices are read from the shipped file as it stands, sums are made of fractions.
"""

from __future__ import annotations

import random
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

from tests.jobs import job

BOOK = Path(__file__).parents[1] / "config" / "prices.toml"
BEGINNING = datetime(2023, 8, 1, tzinfo=UTC)
DAYS = 3 * 365
MODELS = (
    "gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06",
    "gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14", "babbage-002",
    "davinci-002", "gpt-4-0613", "davinci",
)  # fmt: skip
REINFORCED = "o4-mini-2025-04-16"
METHODS = ("supervised", "dpo", None, "supervised", "dpo", None, "new")
STATUSES = ("succeeded",) * 6 + ("failed", "cancelled", "running", "queued", "paused", "odd")
TEAMS = ("search", "ads", "Ads", "support ", None, None)
#: More trained tokens than anybody trains.
ABSURD = 10**12


@dataclass(frozen=True)
class Cost:
    """What one job cost."""

    #: Micro-dollars; None where it is not known.
    micro: int | None
    certainty: str
    reason: str | None = None


def history(count: int, seed: int = 1) -> Iterator[tuple[dict[str, Any], list[float]]]:
    """Jobs as the API sends them, with the seconds of each step of those that are reinforced."""
    dice = random.Random(seed)
    for number in range(count):
        base = REINFORCED if dice.random() < 0.1 else dice.choice(MODELS)
        method = "reinforcement" if base == REINFORCED else dice.choice(METHODS)
        status = dice.choice(STATUSES)
        created = BEGINNING + timedelta(seconds=dice.randrange(DAYS * 86_400))
        is_done = status in ("succeeded", "failed", "cancelled")
        finished = created + timedelta(seconds=dice.randrange(60, 400_000)) if is_done else None
        chained = dice.choice((base, base, base, f"ft:{base}:acme:x:{number:08}"))
        tokens = dice.choice(
            (dice.randrange(10**8), dice.randrange(10**4), 0, None, -5, ABSURD * 2)
        )
        if status == "succeeded" and dice.random() < 0.9:
            tokens = dice.randrange(1, 5 * 10**7)
        metadata: dict[str, str] = {}
        team = dice.choice(TEAMS)
        if team is not None:
            metadata["team"] = team
        if dice.random() < 0.2:
            metadata["cost_center"] = f"CC-{dice.randrange(4)}"
        steps = [dice.random() * 90 for _ in range(dice.randrange(6))]
        made = job(
            f"ftjob-{number:06}",
            status,
            model=chained,
            created_at=int(created.timestamp()),
            finished_at=None if finished is None else int(finished.timestamp()),
            fine_tuned_model=None,
            result_files=[],
            trained_tokens=tokens,
            metadata=metadata or None,
            method=None if method is None else {"type": method, method: {}},
            hyperparameters={"n_epochs": 1},
        )
        yield made, steps if method == "reinforcement" else []


def base_of(model: str) -> str:
    """The model under a fine-tuned one's name."""
    return model.split(":")[1] if model.startswith("ft:") else model


def method_of(job: dict[str, Any]) -> str | None:
    """The method's name; None for a job that names none."""
    return job["method"]["type"] if job["method"] else None


class Book:
    """The shipped prices, one after the other."""

    def __init__(self) -> None:
        text = BOOK.read_text(encoding="utf-8")
        self._entries = tomllib.loads(text, parse_float=Decimal)["prices"]

    def find(self, model: str, unit: str, day: date) -> tuple[dict[str, Any] | None, bool]:
        """The entry for a day, and whether there is any for the model."""
        known = [one for one in self._entries if one["model"] == model and one["unit"] == unit]
        for one in known:
            if one["valid_from"] <= day < one.get("valid_until", date.max):
                return one, True
        return None, bool(known)


def rounded(value: Fraction) -> int:
    """To the nearest whole number, half up."""
    return floor(value + Fraction(1, 2))


def cost_of(job: dict[str, Any], steps: list[float], book: Book) -> Cost:
    """What a job cost by the rules of the README."""
    status = job["status"]
    if status == "odd":
        return Cost(None, "open", "unknown_status")
    if status not in ("succeeded", "failed", "cancelled"):
        return Cost(None, "open", "open")
    is_timed = method_of(job) == "reinforcement"
    if method_of(job) not in (None, "supervised", "dpo", "reinforcement"):
        return Cost(None, "unpriced", "unknown_method")
    quantity: int | None = job["trained_tokens"]
    if is_timed:
        thousandths = sum(rounded(Fraction(step * 1000)) for step in steps)
        quantity = rounded(Fraction(thousandths, 1000)) if steps else None
    elif quantity is not None and quantity < 0:
        return Cost(None, "unpriced", "negative_tokens")
    if quantity is None:
        return Cost(None, "unpriced", "no_usage")
    unit = "training hour" if is_timed else "1M trained tokens"
    day = datetime.fromtimestamp(job["created_at"], UTC).date()
    entry, is_known = book.find(base_of(job["model"]), unit, day)
    if entry is None:
        return Cost(None, "unpriced", "outside_price_dates" if is_known else "no_price")
    if quantity > ABSURD:
        return Cost(None, "unpriced", "absurd_quantity")
    price = Fraction(Decimal(entry["price"]))
    if is_timed:
        hours = Fraction(rounded(Fraction(quantity, 36)), 100)
        micro = rounded(hours * price * 10**6)
    else:
        micro = rounded(Fraction(quantity) * price)
    if status != "succeeded":
        return Cost(micro, "uncertain", status)
    if entry.get("has_free_allowance"):
        return Cost(micro, "uncertain", "free_allowance")
    return Cost(micro, "estimate" if is_timed else "list_price")


@dataclass
class Sum:
    """What some jobs cost together."""

    jobs: int = 0
    tokens: int = 0
    micro: int = 0
    uncertain: int = 0
    unpriced: int = 0
    open: int = 0

    def add(self, job: dict[str, Any], cost: Cost) -> None:
        """One more."""
        self.jobs += 1
        tokens = job["trained_tokens"]
        if tokens is not None and 0 <= tokens <= ABSURD:
            self.tokens += tokens
        self.micro += cost.micro or 0
        self.uncertain += (cost.micro or 0) if cost.certainty == "uncertain" else 0
        self.unpriced += cost.certainty == "unpriced"
        self.open += cost.certainty == "open"


def spent_at(job: dict[str, Any]) -> datetime:
    """The moment that a job's cost counts to."""
    return datetime.fromtimestamp(job["finished_at"] or job["created_at"], UTC)


def summed(
    costs: Iterable[tuple[dict[str, Any], Cost]], key: Callable[[dict[str, Any]], Any]
) -> dict[Any, Sum]:
    """The sums of what has one key, by key."""
    found: dict[Any, Sum] = defaultdict(Sum)
    for one, cost in costs:
        found[key(one)].add(one, cost)
    return dict(found)
