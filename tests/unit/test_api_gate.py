"""The gate of a source: one pace for all of its readers, and one rest."""

from __future__ import annotations

import threading
import time

from etl.api.client import Client
from etl.api.clients import Clients
from etl.api.gate import Gate
from etl.settings import Secret, Source
from tests.http_server import Reply, Seen, serve


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def gate(self, requests_per_minute: int = 0) -> Gate:
        return Gate(requests_per_minute, sleep=self.sleep, now=lambda: self.now)


def test_an_open_gate_lets_everybody_pass() -> None:
    clock = Clock()
    gate = clock.gate()
    for _ in range(3):
        gate.wait()
    assert clock.slept == []


def test_a_pace_is_kept_by_all_together() -> None:
    clock = Clock()
    gate = clock.gate(60)
    for _ in range(3):
        gate.wait()
    assert clock.slept == [1.0, 1.0]
    clock.now += 10
    gate.wait()
    assert clock.slept == [1.0, 1.0]


def test_turns_are_given_out_though_nobody_left_yet() -> None:
    """Three at the same moment: at once, after 2 s, after 4 s."""
    slept: list[float] = []
    gate = Gate(30, sleep=slept.append, now=lambda: 1000.0)
    for _ in range(3):
        gate.wait()
    assert slept == [2.0, 4.0]


def test_a_closed_gate_holds_everybody_but_who_rested() -> None:
    clock = Clock()
    gate = clock.gate()
    until = gate.close(7)
    assert until == 1007.0
    gate.wait(rested_until=until)
    assert clock.slept == []
    gate.wait()
    assert clock.slept == [7.0]


def test_the_longest_wish_counts() -> None:
    clock = Clock()
    gate = clock.gate()
    gate.close(7)
    gate.close(3)
    gate.wait()
    assert clock.slept == [7.0]


def test_who_rested_for_one_wish_still_waits_for_a_later_one() -> None:
    clock = Clock()
    gate = clock.gate()
    until = gate.close(3)
    clock.now += 3
    gate.close(5)
    gate.wait(rested_until=until)
    assert clock.slept == [5.0]


def test_a_gate_closed_meanwhile_holds_those_who_sleep_already() -> None:
    clock = Clock()
    gate = clock.gate(60)
    gate.wait()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 1:
            gate.close(9)

    gate._sleep = sleep
    gate.wait()
    assert clock.slept == [1.0, 9.0]


def test_the_pace_is_kept_behind_a_gate_that_opens() -> None:
    clock = Clock()
    gate = clock.gate(60)
    gate.close(5)
    for _ in range(3):
        gate.wait()
    assert clock.slept == [5.0, 1.0, 1.0]


def test_what_the_server_asks_of_one_client_all_do() -> None:
    """The one sleeps as its retry wants, once; the other waits at the gate."""
    clock = Clock()
    replies = [Reply(b"{}", status=429, headers={"Retry-After": "30"}), Reply(b"{}"), Reply(b"{}")]
    waits: list[float] = []
    with serve(replies) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))
        gate = Gate(sleep=waits.append, now=lambda: clock.now)
        one, two = (Client(source, sleep=clock.slept.append, gate=gate) for _ in range(2))
        with one, two:
            one.get("/files")
            assert (clock.slept, waits) == ([30.0], [])
            two.get("/files")
            assert (clock.slept, waits) == ([30.0], [30.0])


def test_a_server_that_only_fails_slows_nobody_else() -> None:
    """Without a wait in its answer, one client backs off by itself."""
    waits: list[float] = []
    with serve([Reply(status=500), Reply(b"{}"), Reply(b"{}")]) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))
        gate = Gate(sleep=waits.append, now=lambda: 1000.0)
        with (
            Client(source, sleep=lambda _: None, gate=gate) as one,
            Client(source, sleep=lambda _: None, gate=gate) as two,
        ):
            one.get("/files")
            two.get("/files")
    assert waits == []


def test_after_a_wish_nobody_is_seen_before_its_time() -> None:
    """Over the wire, with real threads and a real clock."""
    came: list[float] = []
    lock = threading.Lock()

    def answer(_: Seen) -> Reply:
        with lock:
            came.append(time.monotonic())
            is_first = len(came) == 1
        return (
            Reply(b"{}", status=429, headers={"retry-after-ms": "300"})
            if is_first
            else Reply(b"{}")
        )

    with serve(answer) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"), workers=4)
        with Clients(source) as clients:
            threads = [
                threading.Thread(target=clients[number].get, args=("/files",))
                for number in range(4)
            ]
            threads[0].start()
            while not clients.retries:
                time.sleep(0.001)
            for thread in threads[1:]:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(came) == 5
    assert min(came[1:]) - came[0] >= 0.25


def test_the_clients_of_a_source_are_counted_together() -> None:
    with serve([Reply(status=500), *[Reply(b"{}")] * 3]) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"), workers=2)
        with Clients(source, sleep=lambda _: None) as clients:
            assert clients[0] is clients[0]
            for number in (0, 1, 1):
                clients[number].get("/files")
            assert (clients.requests, clients.retries) == (4, 1)


def test_a_key_is_read_once_for_all_clients() -> None:
    """A password manager asks its question once."""
    with serve(lambda _: Reply(b"{}")) as server:
        key = Secret("command", command="sh -c 'echo sk-$$'")
        source = Source(base_url=server.url, api_key=key, workers=3)
        with Clients(source) as clients:
            for number in range(3):
                clients[number].get("/files")
        assert len({seen.headers["authorization"] for seen in server.seen}) == 1
