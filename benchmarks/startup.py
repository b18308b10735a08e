"""What our command costs before it does anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.entrants import FTMIRROR
from benchmarks.environments import HERE

_TIMES = 7


def start_up() -> dict[str, float]:
    """CPU seconds beyond those of an interpreter that does nothing, by command."""
    bare = [sys.executable, "-c", "pass"]
    commands = {"version": [str(FTMIRROR), "version"], "-h": [str(FTMIRROR), "-h"]}
    took: dict[str, list[float]] = {name: [] for name in ["bare", *commands]}
    with TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        for _ in range(_TIMES):
            took["bare"].append(_cpu(bare, log))
            for name, command in commands.items():
                took[name].append(_cpu(command, log))
    return {name: round(median(took[name]) - median(took["bare"]), 3) for name in commands}


def _cpu(command: list[str], log: Path) -> float:
    measure = [sys.executable, "-I", str(HERE / "measure.py"), "60", str(log)]
    ran = subprocess.run([*measure, *command], check=True, stdout=subprocess.PIPE, cwd=log.parent)
    return float(json.loads(ran.stdout)["cpu"])
