"""The proxy in front of a database passes what it is sent, and cuts when it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.proxy import Proxy, Weather, proxied


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """The path of a Unix socket behind which somebody repeats what is said."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield path
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            threading.Thread(target=_repeat, args=(listener.accept()[0],), daemon=True).start()


def _repeat(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while said := connection.recv(1000):
            connection.sendall(said)


@pytest.fixture
def proxy(echo: str) -> Iterator[Proxy]:
    made = Proxy(echo, seed=1)
    made.start()
    yield made
    made.stop()


def call(proxy: Proxy, *words: bytes) -> list[bytes]:
    """What comes back for each; nothing from where the connection was cut."""
    heard: list[bytes] = []
    with suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port), 5) as line:
        line.settimeout(5)
        for word in words:
            line.sendall(word)
            heard.append(line.recv(1000))
    return heard


def test_what_is_sent_passes_both_ways(proxy: Proxy) -> None:
    assert call(proxy, b"one", b"two") == [b"one", b"two"]
    assert (proxy.met, proxy.cut) == (1, 0)


def test_a_connection_is_cut_within_so_many_bytes_and_only_so_often(proxy: Proxy) -> None:
    proxy.become(Weather(cut_within=200, cuts=2))
    words = [b"x" * 20] * 10
    heard = [len(b"".join(call(proxy, *words))) for _ in range(4)]
    assert all(one < 200 for one in heard[:2])
    assert heard[2:] == [200, 200]
    assert proxy.cut == 2


def test_new_connections_are_refused_after_a_cut(proxy: Proxy) -> None:
    proxy.become(Weather(cut_within=1, cuts=1, refused=2))
    assert [call(proxy, b"hello") for _ in range(4)][-1] == [b"hello"]
    assert (proxy.cut, proxy.refused, proxy.met) == (1, 2, 4)


def test_whoever_is_connected_can_be_cut_at_once(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 5) as line:
        line.sendall(b"hello")
        assert line.recv(10) == b"hello"
        proxy.cut_all()
        with suppress(OSError):
            assert line.recv(10) == b""
    assert proxy.cut == 1
    assert call(proxy, b"again") == [b"again"]


def test_a_url_leads_over_the_proxy_to_a_socket_or_a_port(tmp_path: Path) -> None:
    over_socket = f"postgresql+psycopg://me:word@/mirror?host={tmp_path}"
    with proxied(over_socket) as (proxy, url):
        assert url == f"postgresql+psycopg://me:word@127.0.0.1:{proxy.port}/mirror"
    with proxied("mariadb+pymysql://root@127.0.0.1:4000/mirror?charset=utf8mb4") as (proxy, url):
        port = proxy.port
        assert url == f"mariadb+pymysql://root@127.0.0.1:{port}/mirror?charset=utf8mb4"
