"""Costs and projects of the organisation, as an admin key sees them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from . import clock
from .biography import LONGEST_LIFE, REINFORCEMENT
from .dice import Dice, base62, mix
from .jobs import Invented
from .scenery import Json
from .slices import dump

#: US dollars for a million trained tokens, by snapshot.
TOKEN_PRICES = {
    "babbage-002": "0.40",
    "davinci-002": "6",
    "gpt-3.5-turbo-0613": "8",
    "gpt-3.5-turbo-1106": "8",
    "gpt-3.5-turbo-0125": "8",
    "gpt-4o-mini-2024-07-18": "3",
    "gpt-4o-2024-08-06": "25",
    "gpt-4.1-2025-04-14": "25",
    "gpt-4.1-mini-2025-04-14": "5",
    "gpt-4.1-nano-2025-04-14": "1.50",
}
#: US dollars for an hour of reinforcement training.
HOUR_PRICE = Decimal(100)
#: An item whose amounts have as many decimals as there is room for.
CACHED = "gpt-4o-mini, cached input"
GROUPS = ("project_id", "line_item", "api_key_id")


class Charge(NamedTuple):
    """One billing event; the amount in US dollars."""

    at: int
    line_item: str
    project_id: str
    api_key_id: str
    amount: Decimal
    quantity: Decimal
    unit: str | None


def tokens_charge(at: int, model: str, tokens: int, project: str, key: str) -> Charge | None:
    """What supervised training cost, or None for a model without a known price."""
    base = model.split(":")[1] if model.startswith("ft:") else model
    price = TOKEN_PRICES.get(base)
    if price is None:
        return None
    amount = Decimal(price) * tokens / 1_000_000
    item = f"{base}, fine-tuning training"
    return Charge(at, item, project, key, amount, Decimal(tokens), "tokens")


class Money:
    """The organisation's projects and its daily costs.

    All jobs of the world belong to the first project; the others only have other spend.
    """

    def __init__(self, jobs: Invented, seed: int) -> None:
        self._jobs = jobs
        self._key = mix(seed, 40)
        self.project_ids = [
            "proj_" + base62(mix(self._key, n) << 64 | mix(self._key, n, 1), 24) for n in range(4)
        ]
        self.key_ids = ["key_" + base62(mix(self._key, n, 2), 16) for n in range(3)]

    def projects(self, *, archived: bool) -> list[tuple[str, str]]:
        """Id and JSON text of the projects."""
        names = ("Default project", "Search relevance", None, "Old experiments")
        found = []
        for number, (project_id, name) in enumerate(zip(self.project_ids, names, strict=True)):
            gone = number == 3
            if gone and not archived:
                continue
            project: Json = {
                "id": project_id,
                "object": "organization.project",
                "name": name,
                "created_at": clock.START + number * 40 * clock.DAY,
                "archived_at": clock.START + 500 * clock.DAY if gone else None,
                "status": "archived" if gone else "active",
            }
            found.append((project_id, dump(project)))
        return found

    def bucket(
        self,
        start: int,
        groups: Sequence[str],
        given: Iterable[Charge],
        projects: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> str:
        """The JSON text of one UTC day, grouped by some of `GROUPS`."""
        sums: dict[tuple[str | None, ...], tuple[Decimal, Decimal, set[str | None]]] = {}
        for charge in [*self._training(start), *self._noise(start), *given]:
            if projects and charge.project_id not in projects:
                continue
            if keys and charge.api_key_id not in keys:
                continue
            group = tuple(getattr(charge, name) if name in groups else None for name in GROUPS)
            amount, quantity, units = sums.get(group, (Decimal(0), Decimal(0), set()))
            sums[group] = (
                amount + charge.amount,
                quantity + charge.quantity,
                units | {charge.unit},
            )
        results = []
        for group, (amount, quantity, units) in sums.items():
            by_item = "line_item" in groups
            result: Json = {
                "object": "organization.costs.result",
                # A string with many decimals, though described as a number.
                "amount": {"value": f"{amount:.16f}", "currency": "usd"},
                **dict(zip(GROUPS, group, strict=True)),
                "organization_id": self._jobs.organization,
                "quantity": float(quantity) if by_item else None,
                "quantity_unit": next(iter(units)) if by_item and len(units) == 1 else None,
            }
            results.append(result)
        bucket: Json = {
            "object": "bucket",
            "start_time": start,
            "end_time": start + clock.DAY,
            "results": results,
        }
        return dump(bucket)

    def _training(self, start: int) -> list[Charge]:
        jobs, end = self._jobs, start + clock.DAY
        planned = range(jobs.planned)
        first = bisect_left(planned, start - LONGEST_LIFE, key=jobs.created_at)
        last = bisect_left(planned, end, key=jobs.created_at)
        near = [serial for serial in range(first, last) if serial not in jobs.changed]
        charges = (self._charge(serial) for serial in [*near, *sorted(jobs.changed)])
        return [charge for charge in charges if charge is not None and start <= charge.at < end]

    def _charge(self, serial: int) -> Charge | None:
        state, life = self._jobs.state(serial), self._jobs.life(serial)
        if state.status != "succeeded" or state.ended_at is None:
            return None
        project, key = self.project_ids[0], self.key_ids[life.key % 2]
        if life.method != REINFORCEMENT:
            return tokens_charge(state.ended_at, life.base, life.trained_tokens, project, key)
        # Billed by the second, the hours rounded to two decimals.
        hours = (Decimal(int(life.steps * life.step_seconds)) / 3_600).quantize(Decimal("0.01"))
        item = f"{life.base}, reinforcement fine-tuning training"
        amount = hours * HOUR_PRICE
        return Charge(state.ended_at, item, project, key, amount, hours, "duration_hours")

    def _noise(self, start: int) -> list[Charge]:
        dice = Dice(self._key, 3, start)
        charges: list[Charge] = []
        # Some days have no spend at all, so that empty buckets occur.
        if dice.percent(15):
            return charges
        items = ("gpt-4o-mini, input", "Text tokens", "web search tool calls", CACHED)
        for item in items:
            if not dice.percent(60):
                continue
            tokens = dice.between(10_000, 9_000_000)
            project = self.project_ids[dice.between(0, 2)]
            unit = None if item.startswith("web") else "tokens"
            amount = Decimal(tokens) * 15 / 100_000_000
            if item == CACHED:
                amount /= 13  # so that no decimal of it is nought
            key = self.key_ids[2]
            charges.append(Charge(start, item, project, key, amount, Decimal(tokens), unit))
        return charges
