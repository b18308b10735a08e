"""datasette over a SQLite mirror: its server started and asked, its dashboard pictured.

python -m bi.datasette docs/datasette.png  # the dashboard, over a demo's mirror
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from bi import environments
from bi.descriptions import DASHBOARD, DATABASE, METADATA

#: Seconds that datasette may take to come up on a busy machine.
PATIENCE = 60.0
#: As README.md there starts it: the sums of a large mirror take longer than datasette's second, and
#: a chart of many months and models has more lines than its thousand.
SETTINGS = {"sql_time_limit_ms": "20000", "max_returned_rows": "10000"}

_OPENER = build_opener(ProxyHandler({}))


@contextmanager
def served(mirror: Path, *, immutable: bool = False) -> Iterator[str]:
    """Serve a mirror's file on a free port of 127.0.0.1; the address. Nothing can be written.

    `immutable`: the file is a copy that nobody changes; else it may be synced meanwhile.

    Raises RuntimeError with datasette's own words where it does not come up.
    """
    datasette = environments.make("datasette") / "datasette"
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        # Its name is that of the file.
        link = Path(name) / f"{DATABASE}.db"
        link.symlink_to(mirror.resolve())
        command = [str(datasette), "serve", *(["-i"] if immutable else []), str(link)]
        command += ["--metadata", str(METADATA), "--host", "127.0.0.1", "--port", str(port)]
        for setting, value in SETTINGS.items():
            command += ["--setting", setting, value]
        log = Path(name) / "log"
        with log.open("wb") as said:
            server = subprocess.Popen(command, stdout=said, stderr=said, env=_environment())
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, server, log)
            yield address
        finally:
            server.terminate()
            server.wait()


def _environment() -> dict[str, str]:
    """Ours, without what names another set of packages or a mirror's password."""
    ours = ("PYTHON", "FTMIRROR_", "OPENAI_", "AZURE_OPENAI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            ask(address, "/-/versions")
            return
        except (URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"datasette does not come up:\n{said}") from None
            time.sleep(0.1)


def ask(address: str, path: str, **parameters: Any) -> Any:
    """What datasette answers in JSON. Raises urllib.error.HTTPError where it refuses."""
    query = f"?{urlencode(parameters)}" if parameters else ""
    with _OPENER.open(Request(f"{address}{path}.json{query}"), timeout=PATIENCE) as answer:
        return json.load(answer)


def rows(address: str, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """All rows of a table, a view, a canned query or a SELECT.

    Raises RuntimeError where there are more than datasette returns: a part would pass for all.
    """
    told = ask(address, path, _shape="objects", _size="max", **parameters)
    if told.get("truncated") or told.get("next"):
        raise RuntimeError(f"{path} has more rows than datasette returns")
    found: list[dict[str, Any]] = told["rows"]
    return found


def refusal(address: str, sql: str) -> str:
    """What datasette says of a statement that it does not run; '' where it ran it."""
    try:
        ask(address, f"/{DATABASE}", sql=sql)
    except HTTPError as error:
        said: str = json.load(error)["error"]
        return said
    return ""


def dashboard(address: str) -> str:
    """Where the dashboard is."""
    return f"{address}/-/dashboards/{DASHBOARD}"


def picture(address: str, file: Path) -> None:
    """Take a picture of a page in headless Chromium.

    Raises FileNotFoundError where there is none on this machine.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        raise FileNotFoundError(f"none of {', '.join(names)} is installed")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        command += ["--disable-component-update", f"--user-data-dir={profile}"]
        command += ["--hide-scrollbars", "--window-size=1400,1560", "--virtual-time-budget=8000"]
        command += [f"--screenshot={file.resolve()}", address]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main(words: list[str]) -> int:
    """Take the picture that the words name; the exit code."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        mirror = Path(name) / "mirror.db"
        demo = [sys.executable, "-m", "etl.cli", "demo", "--database-url", f"sqlite:///{mirror}"]
        subprocess.run(demo, check=True, stdout=subprocess.DEVNULL, cwd=name)
        with served(mirror, immutable=True) as address:
            picture(dashboard(address), Path(words[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
