"""The body of an answer, unpacked here and not below: however small it came, never much at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import requests
from requests import exceptions
from urllib3 import exceptions as urllib3_exceptions

#: Bytes that are read, and bytes that are unpacked, at once.
PIECE = 64 * 1024

#: What is asked for, and all that is understood: others unpack a byte to a million.
CODINGS = "gzip, deflate"

_PLAIN = ("", "identity")
_PACKED = ("gzip", "x-gzip", "deflate")
#: zlib's word for: look yourself whether gzip or zlib packed it.
_EITHER = 32 + zlib.MAX_WBITS


def pieces(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces of at most `PIECE` bytes.

    Raises exceptions of requests: for a connection that was cut, and for what cannot be unpacked to
    its end.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in _PLAIN:
        return _sent(response)
    if coding in _PACKED:
        return _unpacked(_sent(response))
    raise exceptions.ContentDecodingError("a coding that was not asked for")


def _sent(response: requests.Response) -> Iterator[bytes]:
    """The bytes as they were sent, without the marks of chunks."""
    try:
        yield from response.raw.stream(PIECE, decode_content=False)
    # As requests itself would say it.
    except urllib3_exceptions.ProtocolError as error:
        raise exceptions.ChunkedEncodingError(error) from None
    except urllib3_exceptions.SSLError as error:
        raise exceptions.SSLError(error) from None


def _unpacked(sent: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_EITHER)
    is_begun = False
    for piece in sent:
        rest = piece
        while rest:
            if unpacker.eof:  # several packed texts, one behind the other, are one
                unpacker, is_begun = zlib.decompressobj(_EITHER), False
            is_begun = True
            yield _next(unpacker, rest)
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    # What is still to come out when all went in.
    while is_begun and not unpacker.eof:
        more = _next(unpacker, b"")
        if not more:
            raise exceptions.ContentDecodingError("the packed body was cut")
        yield more


def _next(unpacker: zlib._Decompress, packed: bytes) -> bytes:
    try:
        return unpacker.decompress(packed, PIECE)
    except zlib.error as error:
        raise exceptions.ContentDecodingError(error) from None
