"""What a column holds, whichever database and driver it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Integer, Table
from sqlalchemy.types import TypeEngine

from etl.db.explained import ViewColumn
from etl.db.types import Exact, Json, UtcDateTime

_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
#: The least and the most that 64 bits hold, which is what files have for a whole number.
_LEAST, _MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Kind:
    """One kind of values: its name, and for exact decimals how many digits."""

    #: As a manifest says it.
    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"{self.name}({self.precision},{self.scale})" if self.precision else self.name

    @property
    def reads(self) -> Callable[[Any], Any]:
        """What makes one Python value, never None, of what any of the drivers gives."""
        return self._decimal if self.precision else _READS[self.name]

    def _decimal(self, value: Any) -> Decimal:
        # SQLite gives a view's figures as floats; with their shortest text they are exact again.
        said = repr(value) if isinstance(value, float) else value
        return _EXACT.create_decimal(said).quantize(Decimal(1).scaleb(-self.scale), context=_EXACT)


def _whole(value: Any) -> int:
    whole = int(value)
    if not _LEAST <= whole <= _MOST:
        message = f"{whole} has no room in 64 bits"
        raise OverflowError(message)
    return whole


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC)


_READS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "json": str,
    "integer": _whole,
    "float": float,
    "boolean": bool,
    "timestamp": _moment,
}

TEXT = Kind("text")
#: JSON as the mirror has it: the very text, so that no number changes.
JSON = Kind("json")
INTEGER = Kind("integer")
FLOAT = Kind("float")
BOOLEAN = Kind("boolean")
#: A moment in UTC, to the microsecond.
MOMENT = Kind("timestamp")
#: Dollars with six decimals, as the views have them.
DOLLARS = Kind("decimal", 20, 6)
#: What was billed, with all digits that are kept of it.
BILLED = Kind("decimal", 38, 20)


def of_table(table: Table) -> dict[str, Kind]:
    """The kind of each column of a declared table, in its order."""
    return {column.name: _of_type(column.type) for column in table.columns}


def _of_type(declared: TypeEngine[Any]) -> Kind:
    for types, kind in (
        ((UtcDateTime,), MOMENT),
        ((Json,), JSON),
        ((Exact,), BILLED),
        ((Boolean,), BOOLEAN),
        ((BigInteger, Integer), INTEGER),
        ((Double,), FLOAT),
    ):
        if isinstance(declared, types):
            return kind
    return TEXT


#: What the words of `etl.db.explained.TYPES` mean here.
_OF_WORD = {
    "text": TEXT,
    "integer": INTEGER,
    "number": FLOAT,
    "decimal": BILLED,
    "timestamp": MOMENT,
    "boolean": BOOLEAN,
    "json": JSON,
}
#: Of the numbers in views, those that are whole micro-units by their making: exact, not floats.
_DOLLARS = frozenset(
    {
        "billed_other",
        "billed_training",
        "cost_usd",
        "difference",
        "estimated",
        "price_usd",
        "uncertain_usd",
    }
)


def of_view(column: ViewColumn) -> Kind:
    """The kind of a view's column; databases do not type those alike, so its word says it."""
    return DOLLARS if column.name in _DOLLARS else _OF_WORD[column.type]
