"""`ftmirror` as real processes, killed at a moment that was chosen."""

from __future__ import annotations

import json
import os
import random
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

ROOT = Path(__file__).parent.parent
#: Seconds after which a process counts as one that hangs.
PATIENCE = 90.0
#: Seconds between two looks at whether it is still there.
_LOOK = 0.004
#: What a process is at. `starting` is before the first request or transaction, `ending` after.
PHASES = ("listing", "children", "writing", "migrating")
#: Lists of their own, and what stands in one and is read again by its id.
_LISTS = re.compile(r"/(fine_tuning/jobs(/[^/]+)?|organization/projects)$")


@dataclass(frozen=True)
class Command:
    """One call of `ftmirror`."""

    argv: Sequence[str]
    env: Mapping[str, str]
    knobs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Blow:
    """A signal, and when: `delay` seconds after the `count`-th event of a phase, or after begin."""

    signal: signal.Signals
    #: One of PHASES, or `any` for `delay` seconds after the process began.
    phase: str
    count: int
    delay: float

    def __str__(self) -> str:
        when = f"{self.delay * 1000:.1f} ms after"
        return f"{self.signal.name} {when} {self.phase} {self.count}"


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    #: As `subprocess` has it: below 0 for a signal.
    code: int
    out: str
    err: str
    seconds: float
    #: How often it came by what, by phase.
    events: Mapping[str, int]
    #: At what it was when it was killed; None where it was not.
    struck_in: str | None = None
    is_hanging: bool = False

    @property
    def was_killed(self) -> bool:
        """Did the signal end it? One that was through before is not killed."""
        codes = {-int(one) for one in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)}
        return self.struck_in is not None and self.code in {*codes, 130, 143}


class Bell:
    """Tells whoever waits that the API was asked for something."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self.reader, False)

    def ring(self, line: str) -> None:
        """A line of the simulator's log."""
        path = line.split()[1].partition("?")[0]
        word = b"l" if _LISTS.search(path) else b"c"
        try:
            os.write(self._writer, word)
        except BlockingIOError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self._writer)


class Process(Protocol):
    """What can be watched and struck."""

    def is_over(self) -> bool:
        """Has it ended? It is still there to be struck without hitting another."""

    def strike(self, number: signal.Signals) -> None:
        """Send a signal."""

    def code(self) -> int:
        """Take its exit code, after its end."""


class Plain:
    """A process that was started as people start it."""

    def __init__(self, command: Command, cwd: Path, out: Path, err: Path) -> None:
        with out.open("wb") as stdout, err.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "etl.cli", *command.argv],
                cwd=cwd,
                env={**command.env, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def is_over(self) -> bool:
        """It is reaped here, and from then on not struck."""
        return self._process.poll() is not None

    def strike(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        self._process.send_signal(number)

    def code(self) -> int:
        """Its exit code."""
        return self._process.wait()


class Zygote:
    """Forks processes that need not import anything; one at a time."""

    def __init__(self) -> None:
        self.events, writer = os.pipe()
        os.set_blocking(self.events, False)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.zygote", str(writer)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(writer,),
            bufsize=0,  # or what was read ahead would never make it ready to be read
            start_new_session=True,
        )
        os.close(writer)
        self._pid = 0
        self._is_over = False
        self._answer()

    def start(self, command: Command, cwd: Path, out: Path, err: Path) -> None:
        """Begin a process."""
        asked: dict[str, Any] = {
            "argv": list(command.argv),
            "env": dict(command.env),
            "knobs": dict(command.knobs),
            "cwd": str(cwd),
            "out": str(out),
            "err": str(err),
        }
        self._ask(json.dumps(asked))
        self._pid = int(self._answer())
        self._is_over = False

    def is_over(self) -> bool:
        """Has the child ended? It stays a zombie until its code is taken."""
        if not self._is_over:
            stdout = self._process.stdout
            assert stdout is not None
            with selectors.DefaultSelector() as ready:
                ready.register(stdout, selectors.EVENT_READ)
                self._is_over = bool(ready.select(0)) and self._answer() == "ended"
        return self._is_over

    def strike(self, number: signal.Signals) -> None:
        """Send the child a signal."""
        os.kill(self._pid, number)

    def code(self) -> int:
        """Take the child's exit code, once it has ended."""
        self._is_over = self._is_over or self._answer() == "ended"
        self._ask("reap")
        return int(self._answer())

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self.events)

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the zygote is gone")
        return line.decode().strip()


@contextmanager
def zygote() -> Iterator[Zygote]:
    """A zygote until the end of the block."""
    made = Zygote()
    try:
        yield made
    finally:
        made.close()


class Watch:
    """Follows what a process says it is at."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._writing = 0
        self._migrating = 0
        self._asked = ""

    def take(self, words: bytes) -> list[str]:
        """What these words say; the phases that they are events of."""
        found = []
        for word in words.decode():
            if word in "()":
                self._writing += 1 if word == "(" else -1
            elif word in "[]":
                self._migrating += 1 if word == "[" else -1
            else:
                phase = {"l": "listing", "c": "children"}.get(word)
                if phase is not None:
                    self._asked = phase
                else:
                    phase = "migrating" if self._migrating else "writing"
                self.counts[phase] += 1
                found.append(phase)
        return found

    @property
    def phase(self) -> str:
        """What the process is at."""
        if self._migrating:
            return "migrating"
        if self._writing > 0:
            return "writing"
        return self._asked or "starting"


class Runner:
    """Runs processes one after the other, some of them struck."""

    def __init__(self, zygote: Zygote, bell: Bell, directory: Path) -> None:
        self._zygote = zygote
        self._bell = bell
        self._directory = directory

    def run(self, command: Command, blow: Blow | None = None, *, is_plain: bool = False) -> Ended:
        """Run a command to its end, or to its violent one."""
        place = Path(tempfile.mkdtemp(dir=self._directory))
        out, err = place / "out", place / "err"
        watch = Watch()
        self._drain()
        began = time.monotonic()
        process: Process
        if is_plain:
            process = Plain(command, place, out, err)
        else:
            self._zygote.start(command, place, out, err)
            process = self._zygote
        struck, is_hanging = self._follow(process, blow, watch, began)
        code = process.code()
        seconds = time.monotonic() - began
        said = [one.read_text(errors="replace") if one.exists() else "" for one in (out, err)]
        return Ended(code, said[0], said[1], seconds, dict(watch.counts), struck, is_hanging)

    def _follow(
        self, process: Process, blow: Blow | None, watch: Watch, began: float
    ) -> tuple[str | None, bool]:
        """Watch a process to its end, strike when it is time; at what was it, and did it hang?"""
        due = began + blow.delay if blow is not None and blow.phase == "any" else None
        struck: str | None = None
        with selectors.DefaultSelector() as ready:
            ready.register(self._bell.reader, selectors.EVENT_READ)
            ready.register(self._zygote.events, selectors.EVENT_READ)
            while not process.is_over():
                left = _LOOK if due is None else max(0.0, min(_LOOK, due - time.monotonic()))
                for key, _ in ready.select(left):
                    for phase in watch.take(os.read(key.fd, 4096)):
                        is_it = blow is not None and phase == blow.phase
                        if blow is not None and is_it and watch.counts[phase] == blow.count:
                            due = time.monotonic() + blow.delay
                now = time.monotonic()
                if blow is not None and struck is None and due is not None and now >= due:
                    process.strike(blow.signal)
                    struck = watch.phase
                if now - began > PATIENCE:
                    process.strike(signal.SIGKILL)
                    return struck, True
        return struck, False

    def _drain(self) -> None:
        for end in (self._bell.reader, self._zygote.events):
            try:
                while os.read(end, 65_536):
                    pass
            except BlockingIOError:
                continue


def chosen(dice: random.Random, phase: str, count: int, seconds: float) -> Blow:
    """A blow in a phase of `count` events; for `any`, within so many seconds."""
    number = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    if phase == "any":
        return Blow(number, phase, 0, dice.uniform(0, seconds))
    longest = 0.004 if phase in ("writing", "migrating") else 0.02
    return Blow(number, phase, dice.randint(1, max(1, count)), dice.uniform(0, longest))
