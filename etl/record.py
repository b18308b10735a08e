"""Record: one raw record, with what its text does not say."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from etl import jsontext
from etl.errors import RecordError

_Shape = TypeVar("_Shape")

#: Bytes from which a payload is kept compressed.
COMPRESS_FROM = 32 * 1024


@dataclass(frozen=True)
class Origin:
    """Where records come from: what every record of one source has in common."""

    source: str
    provider: str
    #: Whose ids these are: the same id under another id space is another record.
    id_space: str
    project_id: str | None = None


@dataclass(frozen=True)
class Arrival:
    """How the text of a record came: what it takes, beside the text, to read it again."""

    origin: Origin
    parent_id: str | None = None
    position: int | None = None
    observed_at: datetime | None = None


class Record(msgspec.Struct, frozen=True, dict=True):
    """One raw record. Rows are made from this alone, so a replay needs nothing else."""

    resource: str
    id: str
    #: The text as it came.
    payload: bytes
    origin: Origin
    parent_id: str | None = None
    #: Its place in its parent's list, 0 the oldest.
    position: int | None = None
    #: When the API said so; None where nobody knows (an import without a time).
    observed_at: datetime | None = None

    @property
    def arrival(self) -> Arrival:
        """All that is known of it but its text and its name."""
        return Arrival(self.origin, self.parent_id, self.position, self.observed_at)

    @cached_property
    def _decoded(self) -> tuple[Any, bytes]:
        try:
            return jsontext.decode_with_canonical(self.payload)
        except jsontext.NotJson as error:
            raise RecordError(f"not JSON: {error}") from error

    @property
    def value(self) -> Any:
        """The payload's JSON value. Raises RecordError where it is not JSON."""
        return self._decoded[0]

    def typed(self, shape: jsontext.Shape[_Shape]) -> _Shape | None:
        """The payload as a shape that it fits to the letter; None where only `value` will do."""
        found = shape.read(self.payload)
        if found is None:
            return None
        value, canonical = found
        self.__dict__.setdefault("canonical_digest", self._digest(canonical))
        return value

    def forget_value(self) -> None:
        """Free what was decoded; it is decoded again when it is asked for."""
        self.__dict__.pop("_decoded", None)

    @cached_property
    def digest(self) -> str:
        """Of the bytes, the parent and the project: equal means nothing to do."""
        return self._digest(self.payload)

    @cached_property
    def canonical_digest(self) -> str:
        """Of the value, the parent and the project: equal means nothing changed.

        Of the bytes where they are no JSON, as a result file's are not.
        """
        try:
            return self._digest(self._decoded[1])
        except RecordError:
            return self.digest

    def _digest(self, text: bytes) -> str:
        digest = blake2b(text, digest_size=16)
        digest.update(_context(self.parent_id, self.origin.project_id))
        return digest.hexdigest()


@lru_cache(maxsize=64)
def _context(parent_id: str | None, project_id: str | None) -> bytes:
    return f"\n{parent_id or ''}\n{project_id or ''}".encode()


def pack(payload: bytes) -> tuple[str, str]:
    """Bytes as text that every database stores, and the name of the encoding.

    `text` as they are; `base64` where they are not UTF-8 or hold U+0000; `zlib+base64` where
    they are large and that makes them smaller.
    """
    if len(payload) >= COMPRESS_FROM:
        packed = base64.b64encode(zlib.compress(payload, 6)).decode()
        if len(packed) < len(payload):
            return packed, "zlib+base64"
    if b"\x00" not in payload:
        try:
            return payload.decode(), "text"
        except UnicodeDecodeError:
            pass
    return base64.b64encode(payload).decode(), "base64"


def unpack(text: str, encoding: str) -> bytes:
    """The bytes that `pack` was given."""
    if encoding == "text":
        return text.encode()
    packed = base64.b64decode(text)
    return zlib.decompress(packed) if encoding == "zlib+base64" else packed
