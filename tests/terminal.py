"""A tool: programs that run on a terminal of their own, and what they print there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Terminal:
    """The other end of a terminal: its keyboard, and what was printed so far."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self._ours = ours
        self.process = process
        self.printed = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def read(self, seconds: float) -> bool:
        """Take what is printed within so many seconds; False at the end."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            found = os.read(self._ours, 65536)
        except OSError:  # how Linux tells of the end
            return False
        self.printed += found.decode(errors="replace")
        return bool(found)

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Wait until this was printed; an AssertionError shows what was instead."""
        until = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < until, self.printed
            assert self.read(0.1), self.printed

    def finish(self) -> str:
        """All that the program prints until it ends."""
        while self.read(30.0):
            if self.process.poll() is not None and not select.select([self._ours], [], [], 0)[0]:
                break
        self.process.wait(30)
        return self.printed


@contextmanager
def on_terminal(
    call: Sequence[str], env: Mapping[str, str], cwd: Path, columns: int = 80
) -> Iterator[Terminal]:
    """Run a program on a terminal; it is ended with the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        call, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
