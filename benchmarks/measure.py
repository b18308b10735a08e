"""Run a command, or a pipe of some, and say what it took: one line of JSON.

    measure.py SECONDS LOG COMMAND… [+ COMMAND…]

In a process of its own, because a child's peak memory counts from that of the process it was
forked from. CPU seconds are those of the commands and of all they started and waited for; peak
memory is that of the largest of them. What is still at work after SECONDS is killed. What they
print goes to LOG. Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO


def split(words: Sequence[str]) -> list[list[str]]:
    """The commands of a pipe; a lone `+` stands between two."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "+":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def start(commands: Sequence[Sequence[str]], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start them, each reading what the one before it prints."""
    source: IO[bytes] | None = None
    for place, command in enumerate(commands, start=1):
        process = subprocess.Popen(
            command,
            stdin=source or subprocess.DEVNULL,
            stdout=log if place == len(commands) else subprocess.PIPE,
            stderr=log,
        )
        if source:
            source.close()
        source = process.stdout
        yield process


def measure(commands: Sequence[Sequence[str]], seconds: int, log: Path) -> dict[str, float]:
    """What they took; the exit code is the first that is not 0."""
    with log.open("wb") as stream:
        began = time.perf_counter()
        processes = list(start(commands, stream))

        def give_up(*_: object) -> None:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        ends = [os.wait4(process.pid, 0) for process in processes]
        took = time.perf_counter() - began
        signal.alarm(0)
    codes = [os.waitstatus_to_exitcode(status) for _, status, _ in ends]
    for process, code in zip(processes, codes, strict=True):
        process.returncode = code  # waited for here, where it says what it used
    return {
        "seconds": took,
        "cpu": sum(usage.ru_utime + usage.ru_stime for _, _, usage in ends),
        "peak_mb": max(usage.ru_maxrss for _, _, usage in ends) / 1024,
        "exit": next((code for code in codes if code), 0),
    }


def main(seconds: str, log: str, *words: str) -> None:
    """Measure and print."""
    print(json.dumps(measure(split(words), int(seconds), Path(log))))


if __name__ == "__main__":
    main(*sys.argv[1:])
