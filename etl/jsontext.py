"""JSON as it was written: exact slices, number literals, one canonical form.

msgspec does the work wherever the text is in order. What it refuses (a lone surrogate, `NaN`,
absurd nesting, bytes that are not UTF-8) is looked at again by slower code that says what is
wrong, and where, so that one bad record never takes its neighbours with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

_T = TypeVar("_T")

#: Deeper values are refused: no real object comes near, and every reader has some limit.
MAX_DEPTH = 256

#: UTF-8's byte order mark, which some tools put before the first byte of a file.
BOM = b"\xef\xbb\xbf"


class NotJson(ValueError):
    """The text is not JSON; the message says why and where."""


class WrongShape(ValueError):
    """The text is JSON, but not a list response."""


class Number(float):
    """A number with a fraction or an exponent, with the literal it was written as."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        """Keep `text`; the value is the nearest float, infinite when out of range."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[Number], tuple[str]]:
        return (Number, (self.text,))


@dataclass(frozen=True, slots=True)
class ListPage:
    """One list response, its records still as text."""

    #: Exact slices of the body, one a record, in the order of the answer.
    items: list[bytes]
    #: None where the answer did not say.
    has_more: bool | None
    #: The token of the next page, where the endpoint pages by tokens.
    next_page: str | None = None


class _Envelope(msgspec.Struct):
    data: msgspec.Raw
    has_more: Any = None
    next_page: Any = None


class _Head(msgspec.Struct):
    id: str


class _Time(msgspec.Struct):
    created_at: float


class _Heads(msgspec.Struct):
    data: list[_Head]


def _literal(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    message = f"no JSON form for {type(value).__name__}"
    raise TypeError(message)


_decoder = msgspec.json.Decoder(float_hook=Number)
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_records_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_head_decoder = msgspec.json.Decoder(_Head)
_times_decoder = msgspec.json.Decoder(_Time)
_heads_decoder = msgspec.json.Decoder(_Heads)
_encoder = msgspec.json.Encoder(enc_hook=_literal)
_sorting_encoder = msgspec.json.Encoder(order="sorted", enc_hook=_literal)

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb'|[\[\]{},:"]', re.DOTALL)
_BRACKET = re.compile(_STRING + rb'|[\[\]{}"]', re.DOTALL)
_SPACE = b" \t\r\n"
#: What stands before a list that is the value of a key that ends like this, and of nothing else.
_DATA = re.compile(rb'"data"[ \t\r\n]*+:[ \t\r\n]*+(?=\[)')
#: An escaped U+0000, and not an escaped backslash before `u0000`.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKED = re.compile("[\ud800-\udfff\uffff]")


def decode(text: bytes) -> Any:
    """The value of a JSON text, numbers with a fraction as `Number`.

    Raises NotJson for anything that is not JSON, for two keys of one name in an object, and for
    nesting deeper than MAX_DEPTH.
    """
    return decode_with_canonical(text)[0]


def decode_with_canonical(text: bytes) -> tuple[Any, bytes]:
    """The value, as `decode` gives it, and its canonical form, which the check for keys needs."""
    _refuse_depth(text)
    try:
        value = _decoder.decode(text)
        form = _sorting_encoder.encode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = _decode_slowly(text)
        return value, canonical(value)
    if _may_repeat_keys(text, form):
        _decode_slowly(text)
    return value, form


class Shape(Generic[_T]):
    """What a record of one kind looks like as a rule, so that most are read in one go.

    Declared as a msgspec Struct that forbids unknown fields and leaves absent ones `UNSET`. What
    is not like it (one field more, a number in text, an escape, a letter beyond ASCII) is left to
    slower code that says what is odd; nothing that fits needs that code.
    """

    def __init__(self, struct: type[_T]) -> None:
        self._decoder = msgspec.json.Decoder(struct, float_hook=Number)

    def read(self, text: bytes) -> tuple[_T, bytes] | None:
        """The value and its canonical form; None where the text does not fit to the letter.

        A text that fits is ASCII without escapes, so every string in it is one that every
        database stores, and holds no key twice (`_may_repeat_keys`).
        """
        if not text.isascii() or text.count(b"{") + text.count(b"[") > MAX_DEPTH:
            return None
        try:
            value = self._decoder.decode(text)
            form = _sorting_encoder.encode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return None if _may_repeat_keys(text, form) else (value, form)


def canonical(value: Any) -> bytes:
    """One text for one value: keys sorted, no white space, number literals as they were."""
    try:
        return _sorting_encoder.encode(value)
    except UnicodeEncodeError:
        # Never the text of another value: none begins like this, and U+FFFF itself is marked too.
        return b"lone surrogates " + _sorting_encoder.encode(_replaced(value, _MARKED, _marked))


def compact(value: Any) -> str:
    """A JSON text of a decoded value, as a JSON column keeps it.

    U+0000 and lone surrogates, which no database takes in a JSON value, become U+FFFD.
    """
    return storable(value)[0]


def storable(value: Any) -> tuple[str, bool]:
    """What `compact` gives, and whether a character had to be replaced."""
    is_replaced = False
    try:
        text = _encoder.encode(value).decode()
    except UnicodeEncodeError:
        is_replaced = True
        text = _encoder.encode(_replaced(value, _SURROGATE, "\ufffd")).decode()
    if "\\u0000" not in text:
        return text, is_replaced
    text, times = _NUL.subn("\\1\ufffd", text)
    return text, is_replaced or times > 0


def literal(value: float | int) -> str:
    """A decoded number as it was written."""
    return value.text if isinstance(value, Number) else str(value)


def item_id(text: bytes) -> str | None:
    """The `id` of a record, or None where it has none that is a string and can be written.

    A record that is broken elsewhere (`NaN`, absurd nesting) still says which one it is: the next
    page begins after it, and once it comes in good shape its quarantine ends.
    """
    try:
        return _head_decoder.decode(text).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        for name, value in _members(text):
            if name == "id":
                found = decode(value)
                return found if isinstance(found, str) and not _SURROGATE.search(found) else None
    except NotJson:
        pass
    return None


def item_time(text: bytes) -> float | None:
    """The `created_at` of a record in unix seconds, or None where it has none that is a number."""
    try:
        found = _times_decoder.decode(text).created_at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return float(found) if math.isfinite(found) else None


def item_ids(body: bytes, items: list[bytes]) -> list[str | None]:
    """The `item_id` of each record that `split_list` found in a list response.

    All in one pass where the answer is in order, which costs half of looking at each.
    """
    try:
        heads = _heads_decoder.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [item_id(item) for item in items]
    return [head.id for head in heads]


def split_list(body: bytes) -> ListPage:
    """Cut a list response into its records.

    Raises NotJson when the body is no JSON at all (HTML, empty, cut), WrongShape when it is JSON
    without a list under `data`. A record that is itself broken stays a slice among the others.
    """
    body = body.removeprefix(BOM)
    try:
        envelope = _envelope_decoder.decode(body)
        records = _records_decoder.decode(envelope.data)
    except msgspec.ValidationError as error:
        if not _starts_with(body, b"{"):
            raise WrongShape("the answer is JSON, but not an object") from error
        raise WrongShape(f"the answer is JSON, but not a list response: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _split_slowly(body)
    try:
        may_repeat = _may_repeat_members(_without(body, bytes(envelope.data)))
    except UnicodeDecodeError:  # a key that nobody asked for
        may_repeat = True
    if may_repeat:
        return _split_slowly(body)
    return ListPage(
        [bytes(raw) for raw in records],
        _has_more(envelope.has_more),
        _next_page(envelope.next_page),
    )


def split_array(text: bytes) -> list[bytes]:
    """Cut a JSON array into its elements. Raises NotJson when the array never ends."""
    start = len(text) - len(text.lstrip(_SPACE))
    parts, end = _parts(text, start)
    _refuse_rest(text, end)
    return [text[begin:stop].strip(_SPACE) for begin, stop in parts]


def value_end(text: bytes) -> int | None:
    """Where the object or array that a text begins with ends; None where it begins or ends not."""
    start = len(text) - len(text.lstrip(_SPACE))
    if text[start : start + 1] not in (b"{", b"["):
        return None
    try:
        return _parts(text, start)[1]
    except NotJson:
        return None


def _decode_slowly(text: bytes) -> Any:
    try:
        return json.loads(
            text.decode(),
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise NotJson("nested too deep") from error
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(str(error)) from error
    except ValueError as error:  # Python's own limit on the digits of a whole number
        raise NotJson("a whole number of absurd length") from error


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJson(f"the key {twice[:80]!r} stands twice in one object")
    return result


def _may_repeat_keys(text: bytes, form: bytes) -> bool:
    """Could an object of this text hold one key twice? False only when it certainly does not.

    A decoder keeps the last of two equal keys, so its value, written again, is shorter, and has
    fewer quotes where white space had made the text longer anyway. Looking at that costs a tenth
    of a decoder that looks at every pair; an escape in the text (which may be a quote, or be
    written in several ways) would spoil the count.
    """
    if b"\\" in text:
        return True
    return len(text) != len(form) and text.count(b'"') != form.count(b'"')


def _may_repeat_members(body: bytes) -> bool:
    """Could a list response hold one key twice? A second `data` would hide the first.

    The same count of quotes, of the envelope alone: keys as they were taken, values as they stand.
    """
    members = _members_decoder.decode(body)
    taken = sum(2 + bytes(value).count(b'"') for value in members.values())
    return body.count(b'"') != taken


def _without(body: bytes, data: bytes) -> bytes:
    """A list response without its records, whose keys are then counted in no time.

    Whatever key that list stands behind, even one deep within another value, only a value goes.
    """
    found = _DATA.search(body)
    if found is None or not body.startswith(data, found.end()):
        return body
    return body[: found.end()] + b"[]" + body[found.end() + len(data) :]


def _refuse_depth(text: bytes) -> None:
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET.finditer(text):
        first = text[match.start()]
        if match[0] == b'"':
            return  # a string without an end, which the decoder will refuse
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
        elif first in b"]}":
            depth -= 1


def _marked(match: re.Match[str]) -> str:
    return f"\uffff{ord(match[0]):x}"


def _replaced(value: Any, pattern: re.Pattern[str], replacement: Any) -> Any:
    if isinstance(value, str):
        return pattern.sub(replacement, value)
    if isinstance(value, list):
        return [_replaced(item, pattern, replacement) for item in value]
    if isinstance(value, dict):
        return {
            pattern.sub(replacement, name): _replaced(item, pattern, replacement)
            for name, item in value.items()
        }
    return value


def _has_more(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise WrongShape("`has_more` is neither true nor false")


def _next_page(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise WrongShape("`next_page` is not a string")


def _starts_with(body: bytes, bracket: bytes) -> bool:
    return body.lstrip(_SPACE).startswith(bracket)


def _split_slowly(body: bytes) -> ListPage:
    if not body.strip(_SPACE):
        raise NotJson("the answer is empty")
    if not _starts_with(body, b"{"):
        if body.lstrip(_SPACE).startswith(b"<"):
            raise NotJson("the answer is HTML or XML, not JSON")
        raise NotJson("the answer is not a JSON object")
    members: dict[str, bytes] = {}
    for name, value in _members(body):
        if name in members:
            raise WrongShape(f"the key {name[:80]!r} stands twice in the answer")
        members[name] = value
    if not _starts_with(members.get("data", b""), b"["):
        raise WrongShape("the answer has no list under `data`")
    return ListPage(
        split_array(members["data"]),
        _has_more(decode(members.get("has_more", b"null"))),
        _next_page(decode(members.get("next_page", b"null"))),
    )


def _members(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of the object that a text is, each with its value still as text."""
    parts, end = _parts(text, len(text) - len(text.lstrip(_SPACE)))
    _refuse_rest(text, end)
    for begin, stop in parts:
        part = text[begin:stop].strip(_SPACE)
        key = re.match(_STRING, part, re.DOTALL)
        rest = part[key.end() :].lstrip(_SPACE) if key else b""
        if key is None or not rest.startswith(b":"):
            raise NotJson(f"byte {begin}: no member of an object")
        yield decode(key[0]), rest[1:].strip(_SPACE)


def _parts(text: bytes, start: int) -> tuple[list[tuple[int, int]], int]:
    """Where the comma-separated parts of the bracket at `start` stand, and where it closes."""
    parts: list[tuple[int, int]] = []
    depth, begin = 0, start + 1
    for match in _TOKEN.finditer(text, start):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
        elif token in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                if parts or text[begin : match.start()].strip(_SPACE):
                    parts.append((begin, match.start()))
                return parts, match.end()
        elif token == b"," and depth == 1:
            parts.append((begin, match.start()))
            begin = match.end()
        elif token == b'"':
            break
    raise NotJson("the text ends in the middle of a value")


def _refuse_rest(text: bytes, end: int) -> None:
    if text[end:].strip(_SPACE):
        raise NotJson(f"byte {end}: something follows after the end")
