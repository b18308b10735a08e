"""The simulator's log: a line for each request, with no key and nothing that steers a terminal."""

from __future__ import annotations

import socket

import pytest

from etl.simulator import Simulator, World


def logged(*targets: bytes, headers: bytes = b"") -> list[str]:
    """The lines for requests of these targets, sent as they are."""
    lines: list[str] = []
    with Simulator(World(1, 3), log=lines.append) as simulator:
        for target in targets:
            with socket.create_connection(("127.0.0.1", simulator.port)) as connection:
                head = b"GET %s HTTP/1.1\r\nConnection: close\r\n%s\r\n" % (target, headers)
                connection.sendall(head)
                while connection.recv(65_536):
                    pass
    return lines


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/v1/files", "/v1/files"),
        (b"/v1/files?limit=5&after=file-1", "/v1/files?limit=5&after=file-1"),
        (b"/v1/files?metadata%5Bteam%5D=a&metadata[b]=c", None),
        (b"/v1/files?api-version=1&api-key=sk-secret", "/v1/files?api-version=1&api-key=***"),
        (b"/v1/files?sig=a%2Bb&code=&x", "/v1/files?sig=***&code=&x"),
        (b"/v1/files?a=b=c?d", "/v1/files?a=***"),
    ],
)
def test_only_parameters_of_the_api_keep_their_values(target: bytes, shown: str | None) -> None:
    """Some put their key into the query."""
    (line,) = logged(target)
    assert line.split(" ")[1] == (shown or target.decode())


def test_headers_are_not_logged() -> None:
    headers = b"Authorization: Bearer sk-secret\r\nX-Key: sk-secret\r\n"
    assert logged(b"/v1/models", headers=headers) == ["GET /v1/models 404"]


def test_a_request_cannot_steer_a_terminal() -> None:
    """It is shown as it came, written out."""
    assert logged(b"/v1/files/\x1b[2J\x9b\x7f\x00x") == [
        r"GET /v1/files/\x1b[2J\x9b\x7f\x00x 401",
    ]
