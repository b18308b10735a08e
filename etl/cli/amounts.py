"""Amounts of money and counts as text, and CSV that spreadsheets may open."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from etl.cli import output
from etl.settings import escaped
from etl.spreadsheets import defused


def usd(microusd: int) -> str:
    """Exact, as `12.345678`."""
    return f"{Decimal(microusd).scaleb(-6):f}"


def cents(microusd: int) -> str:
    """To the cent, as `1,234.57`; `<0.01` for less than shows."""
    return "<0.01" if 0 < microusd < 5_000 else f"{Decimal(whole_cents(microusd)).scaleb(-2):,.2f}"


def whole_cents(microusd: int) -> int:
    """Rounded half up."""
    return int(Decimal(microusd).scaleb(-4).quantize(Decimal(1), ROUND_HALF_UP))


def jobs(count: int) -> str:
    """As `1 job`, `2,000 jobs`."""
    return "1 job" if count == 1 else f"{count:,} jobs"


def write_csv(head: Iterable[str], lines: Iterable[Mapping[str, Any]]) -> None:
    """Print a head and lines of cells, none of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_guarded(name) for name in head)
    for line in lines:
        writer.writerow(_guarded(value) for value in line.values())
    output.data(text.getvalue())


def _guarded(value: object) -> object:
    """A text that no spreadsheet runs and no terminal obeys."""
    if not isinstance(value, str):
        return value
    return escaped(defused(value))
