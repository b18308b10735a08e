"""One table of the configuration file, read key by key; problems are collected, not raised."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from etl.settings.text import duration, escaped, has_controls, nearest

#: What a header's name may be made of (RFC 9110).
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What people call a key that they write down where it does not belong.
_KEYLIKE = re.compile(r"(key|token|secret|password)$", re.IGNORECASE)

#: More than anybody has; its micro-dollars fit into 64 bits.
_MOST_DOLLARS = 1_000_000_000_000

_TYPES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
    dt.datetime: "a date with time",
    dt.date: "a date",
    dt.time: "a time",
}


def header_problem(value: str) -> str | None:
    """What keeps this text from being a header's value, or None. The text is not quoted."""
    if not value.strip():
        return "is empty"
    if has_controls(value):
        return "holds a line break or another control character"
    if any(ord(char) > 255 for char in value):
        return "holds characters that no header can carry (beyond Latin-1)"
    return None


def is_header_name(text: str) -> bool:
    """Whether this can be the name of a header."""
    return _TOKEN.fullmatch(text) is not None


class Table:
    """One table: its values are taken by kind; what is wrong is told to `problems`.

    No message quotes a value: it might be a secret in the wrong place.
    """

    def __init__(
        self, place: str, values: Mapping[str, Any], problems: list[str], known: Collection[str]
    ) -> None:
        #: What every problem begins with, as `ftmirror.toml: [[sources]] research`.
        self.place = place
        self._values = values
        self._problems = problems
        for key in values:
            if key not in known:
                self._unknown(key, known)

    def _unknown(self, key: str, known: Collection[str]) -> None:
        if _KEYLIKE.search(key) and "api_key_env" in known:
            stem = "admin_key" if "admin" in key.lower() else "api_key"
            self.bad(
                key,
                f"never write a key into the file; name where it is: {stem}_env = "
                f'"VARIABLE", {stem}_file or {stem}_command',
            )
        else:
            hint = nearest(key, known) or f"; known: {', '.join(known)}"
            self.bad(key, f"unknown key{hint}")

    def bad(self, key: str, what: str) -> None:
        """Note a problem of one key."""
        self._problems.append(f"{self.place}: {escaped(key)}: {what}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def _typed(self, key: str, kinds: tuple[type, ...], wanted: str) -> Any:
        """The value if it is of one of these kinds; None where it is absent or something else."""
        value = self._values.get(key)
        if value is None or type(value) in kinds:
            return value
        self.bad(key, f"is {_TYPES.get(type(value), 'something else')}; must be {wanted}")
        return None

    def text(self, key: str) -> str | None:
        """Text that is not empty and holds no control characters."""
        value: str | None = self._typed(key, (str,), 'text in quotes, as "…"')
        if value is None:
            return None
        if not value.strip():
            self.bad(key, "is empty; give it a value or leave the line out")
            return None
        if has_controls(value):
            self.bad(key, "holds a line break or another control character")
            return None
        return value.strip()

    def name(self, key: str) -> str | None:
        """Text short enough for a key column."""
        value = self.text(key)
        if value is not None and len(value) > 64:
            self.bad(key, f"is {len(value)} characters long; 64 is the most")
            return None
        return value

    def header(self, key: str) -> str | None:
        """Text that can be a header's value."""
        value = self.text(key)
        problem = header_problem(value) if value is not None else None
        if problem:
            self.bad(key, problem)
            return None
        return value

    def variable(self, key: str) -> str | None:
        """The name of an environment variable."""
        value = self.text(key)
        if value is not None and not _VARIABLE.fullmatch(value):
            self.bad(key, 'must be the name of an environment variable, as "OPENAI_API_KEY"')
            return None
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value: bool | None = self._typed(key, (bool,), "true or false, without quotes")
        return default if value is None else value

    def whole(self, key: str, default: int, *, least: int = 1, most: int = 2**63 - 1) -> int:
        """A whole number within these bounds."""
        value: int | None = self._typed(key, (int,), "a whole number")
        if value is None:
            return default
        if not least <= value <= most:
            self.bad(key, f"must be {least} or more" if value < least else f"is above {most}")
            return default
        return value

    def dollars(self, key: str) -> int | None:
        """An amount in dollars, of six decimals at most, as whole micro-dollars; None if absent."""
        value = self._typed(key, (int, float, Decimal), "an amount in US dollars, as 500 or 99.50")
        if value is None:
            return None
        # Of a float the digits that were written, not those of its binary neighbour.
        amount = Decimal(repr(value) if isinstance(value, float) else value)
        if not amount.is_finite() or not 0 <= amount <= _MOST_DOLLARS:
            self.bad(key, f"must be between 0 and {_MOST_DOLLARS:,}")
            return None
        micro = amount * 1_000_000
        if micro != int(micro):
            self.bad(key, "has more than six decimals")
            return None
        return int(micro)

    def seconds(self, key: str, default: float, *, zero: bool = False) -> float:
        """A duration in seconds: a number, or text such as `90s`."""
        value = self._typed(key, (int, float, str), 'seconds, or "90s", "15m", "2h", "1d"')
        if value is None:
            return default
        try:
            seconds = duration(value) if isinstance(value, str) else float(value)
        except (ValueError, OverflowError):
            seconds = math.nan
        if not math.isfinite(seconds):
            self.bad(key, 'must be seconds, or a duration such as "90s", "15m", "2h", "1d"')
            return default
        if seconds < 0 or (seconds == 0 and not zero):
            self.bad(key, "must be 0 or more" if zero else "must be more than 0")
            return default
        return seconds

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of texts, as `{name = "value"}`."""
        value: dict[str, Any] = self._typed(key, (dict,), 'a table, as {name = "value"}') or {}
        found = []
        for name, text in value.items():
            if type(text) is not str:
                kind = _TYPES.get(type(text), "something else")
                self.bad(f"{key}.{name}", f'is {kind}; must be text in quotes, as "…"')
            elif not name.strip() or has_controls(name) or has_controls(text):
                self.bad(f"{key}.{name}", "name and value must be free of control characters")
            else:
                found.append((name, text))
        return tuple(found)

    def headers(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of headers, names and values fit to be sent."""
        found = []
        for name, value in self.pairs(key):
            problem = header_problem(value)
            if not is_header_name(name):
                self.bad(f"{key}.{name}", "is not a header's name, as X-Portkey-Provider")
            elif problem:
                self.bad(f"{key}.{name}", problem)
            else:
                found.append((name, value.strip()))
        return tuple(found)

    def variables(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of headers and the environment variables their values come from."""
        found = []
        for name, variable in self.pairs(key):
            if not is_header_name(name):
                self.bad(f"{key}.{name}", "is not a header's name, as X-Portkey-Api-Key")
            elif not _VARIABLE.fullmatch(variable):
                self.bad(f"{key}.{name}", "must be the name of an environment variable")
            else:
                found.append((name, variable))
        return tuple(found)
