"""Pictures of the dashboards, as a browser draws them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bi import bundle

INSIDE = Path(__file__).resolve().parent / "inside"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class NoChromium(Exception):
    """This machine has no Chromium."""


def browser() -> str:
    """Where Chromium is. Raises NoChromium."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoChromium(
        f"pictures need Chromium; looked for: {', '.join(BROWSERS)}.\n"
        "Install it (apt-get install chromium), or leave them out: ARGS=--no-pictures"
    )


def taken(
    python: Path, url: str, password: str, directory: Path, say: Callable[[str], None]
) -> int:
    """Write `superset-NAME.png` for each dashboard; how many were not drawn as they should be.

    A dashboard is drawn when each of its charts asked for its data and shows something. Raises
    NoChromium, and CalledProcessError where the browser fails.
    """
    boards = {one["slug"]: one for one in bundle.dashboards().values()}
    command = [str(python), str(INSIDE / "shoot.py"), url, browser(), str(directory), *boards]
    env = {**os.environ, "SUPERSET_ADMIN_PASSWORD": password}
    ended = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    wrong = 0
    for line in ended.stdout.splitlines():
        drawn = json.loads(line)
        expected = len(bundle.charts_of(boards.pop(drawn["dashboard"])))
        whole = drawn["charts"] == drawn["asked"] == expected
        if drawn["wrong"] or drawn["empty"] or not whole:
            wrong += 1
            say(f"{drawn['dashboard']}: of {expected} charts {drawn}")
    return wrong + len(boards)
