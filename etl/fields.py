"""Read one JSON object softly: what fits becomes a value, what does not becomes a note.

Real servers send things their description does not know. A reader here never refuses a record
for the shape of a plain field: the value is folded as well as it can be, and a `Drift` says what
was seen. Only a field that is a key is strict (`key`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from etl import jsontext
from etl.errors import RecordError

#: What no database takes in text: U+0000 (PostgreSQL) and lone surrogates (UTF-8 itself).
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: Things that look like a key or a token, so that no example shows one.
_SECRET = re.compile(r"\b(?:sk|pk|ghp|xox[a-z])[-_][A-Za-z0-9_-]{8,}|\bBearer\s+\S+", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}\Z")
_SECONDS = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]*)?\Z")
_BOOLEANS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}

_CONTAINERS = (dict, list)

INT64 = 2**63
#: The last second of the year 9999: the end of DATETIME on MariaDB and of Python's own datetime.
LAST_SECOND = 253402300799
EXAMPLE_LENGTH = 200


class Drift(NamedTuple):
    """Something the API sent that this version does not know, or knows otherwise."""

    #: Where, as `method.supervised.hyperparameters.n_epochs`; list positions as `[]`.
    path: str
    #: `unknown_field`, `unknown_value`, `wrong_type`, `out_of_range`, `replaced_characters`,
    #: `too_long`, `missing`, `repeated` or `rounded`.
    kind: str
    example: str


def moment(seconds: float) -> str:
    """Unix seconds as text in UTC, `YYYY-MM-DD HH:MM:SS`, with a fraction only where there is one.

    Every database takes a time like that, whatever the zone of the session.
    """
    if type(seconds) is not int:
        return datetime.fromtimestamp(seconds, UTC).isoformat(" ")[:-6]
    day, second = divmod(seconds, 86_400)
    return _day(day) + _MINUTES[second // 60] + _SECONDS_OF_MINUTE[second % 60]


@lru_cache(maxsize=8192)  # a quarter of the time of making each date anew
def _day(number: int) -> str:
    return str(date.fromordinal(_EPOCH + number))


_EPOCH = date(1970, 1, 1).toordinal()
_MINUTES = [f" {minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60)]
_SECONDS_OF_MINUTE = [f"{second:02}" for second in range(60)]


def clean(text: str) -> str:
    """The text with U+FFFD for each character that no database stores."""
    return _UNSTORABLE.sub("\ufffd", text)


def example(value: Any) -> str:
    """A short, storable look at a value, with anything that looks like a key masked."""
    text = value if isinstance(value, str) else jsontext.compact(value)
    return clean(_SECRET.sub("***", text[: EXAMPLE_LENGTH * 4]))[:EXAMPLE_LENGTH]


class Fields:
    """The members of one JSON object, read by name; `rest` notes those nobody asked for.

    Readers take the short way where a value is as it should be, which nearly all are.
    """

    __slots__ = ("_asked", "notes", "path", "value")

    def __init__(self, value: Mapping[str, Any], notes: list[Drift], path: str = "") -> None:
        self.value = value
        self.notes = notes
        self.path = path
        self._asked: set[str] = set()

    def __bool__(self) -> bool:
        return any(not is_empty(item) for item in self.value.values())

    def note(self, name: str, kind: str, value: Any) -> None:
        """Note drift at a member of this object."""
        self.notes.append(Drift(self._path(name), kind, example(value)))

    def raw(self, name: str) -> Any:
        """The member as it is; None where it is absent, null, `{}` or `[]`."""
        self._asked.add(name)
        value = self.value.get(name)
        return None if is_empty(value) else value

    def text(self, name: str, length: int | None = None) -> str | None:
        """A text of at most `length` characters; numbers and structures as their JSON text."""
        self._asked.add(name)
        value = self.value.get(name)
        if value is None or is_plain(value, length):
            return value
        if is_empty(value):
            return None
        if not isinstance(value, str):
            self.note(name, "wrong_type", value)
            value = jsontext.compact(value)
        if not value.isascii() or "\x00" in value:
            stored = clean(value)
            if stored != value:
                self.note(name, "replaced_characters", value)
                value = stored
        if length is not None and len(value) > length:
            self.note(name, "too_long", value)
            return None
        return str(value)

    def key(self, name: str, length: int) -> str:
        """A text that is part of a key. Raises RecordError where it cannot be one."""
        return key(self.raw(name), self._path(name), length)

    def integer(self, name: str) -> int | None:
        """A whole number that fits 64 bits; `5.0` and `"5"` count as 5."""
        value = whole = self.raw(name)
        if value is None:
            return None
        if type(value) is not int:
            self.note(name, "wrong_type", value)
            whole = _whole(value)
            if whole is None:
                return None
        if not -INT64 <= whole < INT64:
            self.note(name, "out_of_range", value)
            return None
        return int(whole)

    def boolean(self, name: str) -> bool | None:
        """True or false; 0, 1 and their spellings count."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return value
        self.note(name, "wrong_type", value)
        spelled = value.lower() if isinstance(value, str) else value
        return _BOOLEANS.get(spelled) if isinstance(spelled, (str, int, float)) else None

    def moment(self, name: str, *, zero_is_none: bool = False) -> str | None:
        """A time as `moment` writes it; unix seconds in text, and ISO 8601, are read but noted."""
        value = self.raw(name)
        if value is None or (zero_is_none and value == 0):
            return None
        seconds: float | None = None
        if type(value) is int:
            seconds = value
        else:
            self.note(name, "wrong_type", value)
            seconds = _seconds(value)
            if seconds is None:
                return None
        if not 0 < seconds <= LAST_SECOND:
            self.note(name, "out_of_range", value)
            return None
        return moment(seconds)

    def object(self, name: str) -> Fields:
        """An object's members; of nothing where it is absent or something else."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            self.note(name, "wrong_type", value)
            value = None
        return Fields(value or {}, self.notes, self._path(name))

    def array(self, name: str) -> list[Any]:
        """A list's items; none where it is absent or something else."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            self.note(name, "wrong_type", value)
            value = None
        return value or []

    def json(self, name: str) -> str | None:
        """Any value as JSON text."""
        value = self.raw(name)
        if value is None:
            return None
        text, is_replaced = jsontext.storable(value)
        if is_replaced:
            self.note(name, "replaced_characters", value)
        return text

    def rest(self) -> None:
        """Note every member that holds something and that nobody asked for."""
        for name, value in self.value.items():
            if name not in self._asked and not is_empty(value):
                self.note(name, "unknown_field", value)

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def is_empty(value: Any) -> bool:
    """Does a value say nothing? The API means the same by absent, null, `{}` and `[]`."""
    return value is None or (not value and type(value) in _CONTAINERS)


def is_plain(value: Any, length: int | None = None) -> bool:
    """Is this a text that every database stores as it is? Only ASCII is looked for."""
    return (
        type(value) is str
        and value.isascii()
        and "\x00" not in value
        and (length is None or len(value) <= length)
    )


def key(value: Any, path: str, length: int) -> str:
    """A text fit to be part of a key: nothing in it may be folded, so nothing two keys share.

    Raises RecordError.
    """
    if value and is_plain(value, length):
        return str(value)
    if not isinstance(value, str):
        kind = "missing" if is_empty(value) else f"no text: {example(value)}"
        raise RecordError(f"`{path}` is {kind}")
    if not value:
        raise RecordError(f"`{path}` is empty")
    if len(value) > length:
        raise RecordError(f"`{path}` has {len(value)} characters, {length} fit")
    if _UNSTORABLE.search(value):
        raise RecordError(f"`{path}` holds U+0000 or a lone surrogate: {example(value)}")
    return value


def _whole(value: Any) -> int | None:
    if isinstance(value, jsontext.Number) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.match(value):
        return int(value)
    return None


def _seconds(value: Any) -> float | None:
    if isinstance(value, jsontext.Number):
        return float(value) if math.isfinite(value) else math.inf
    if not isinstance(value, str):
        return None
    if _SECONDS.match(value):
        return float(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
