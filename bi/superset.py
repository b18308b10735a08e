"""Superset, started on loopback over tables of its own, and asked through its API."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from sqlalchemy.engine import URL

from bi import bundle
from tests.servers import free_port

INSIDE = Path(__file__).resolve().parent / "inside"
CONFIG = bundle.HERE / "superset_config.py"
#: Seconds that a start and an answer may take on a busy machine.
PATIENCE = 300.0
ADMIN = "admin"


class SupersetFailed(Exception):
    """Superset did not start, or did not answer as it should."""


class Superset:
    """A running Superset, and a session of its administrator."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self._session = requests.Session()
        body = {"username": ADMIN, "password": password, "provider": "db", "refresh": False}
        token = self._call("POST", "/api/v1/security/login", json=body)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def bring_in(self, address: URL) -> None:
        """Import the bundle as the page for imports does: the password comes beside it."""
        password = str(address.password or "")
        masked = address.set(drivername="postgresql+psycopg2", password=bundle.MASK)
        packed = bundle.packed(masked.render_as_string(hide_password=False))
        self._call(
            "POST",
            "/api/v1/dashboard/import/",
            files={"formData": ("ftmirror-superset.zip", packed, "application/zip")},
            data={
                "overwrite": "true",
                "passwords": json.dumps({"databases/ftmirror.yaml": password}),
            },
        )

    def point_at(self, address: URL) -> None:
        """Let the same dashboards look at another mirror."""
        uri = address.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        name = bundle.database()["database_name"]
        listed = self._call("GET", "/api/v1/database/")["result"]
        (number,) = [one["id"] for one in listed if one["database_name"] == name]
        self._call("PUT", f"/api/v1/database/{number}", json={"sqlalchemy_uri": uri})

    def charts(self) -> dict[str, int]:
        """Superset's number of each chart, by UUID."""
        asked = {"q": "(columns:!(id,uuid),page_size:200)"}
        listed = self._call("GET", "/api/v1/chart/", params=asked)["result"]
        return {one["uuid"]: one["id"] for one in listed}

    def data(self, number: int) -> dict[str, Any]:
        """What a chart shows: `colnames` and `data`. Raises SupersetFailed."""
        (found,) = self._call("GET", f"/api/v1/chart/{number}/data/")["result"]
        if found.get("error"):
            raise SupersetFailed(str(found["error"]))
        return dict(found)

    def _call(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        answer = self._session.request(method, self.url + path, timeout=PATIENCE, **given)
        if answer.status_code >= 400:
            words = " ".join(answer.text.split())[:500]
            raise SupersetFailed(f"{method} {path}: HTTP {answer.status_code}: {words}")
        return dict(answer.json())


@contextmanager
def running(python: Path, room: Path) -> Iterator[tuple[Superset, str]]:
    """A fresh Superset with an administrator, and that one's password. Raises SupersetFailed.

    What it writes goes to `superset.log` in the room.
    """
    home = room / "superset"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    password = secrets.token_urlsafe(16)
    env = {
        **os.environ,
        "FLASK_APP": "superset.app:create_app()",
        "SUPERSET_CONFIG_PATH": str(CONFIG),
        "SUPERSET_HOME": str(home),
        "SUPERSET_SECRET_KEY": secrets.token_urlsafe(42),
        "SUPERSET_ADMIN_PASSWORD": password,
    }
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve = [str(python), "-m", "flask", "run", "-h", "127.0.0.1", "-p", str(port)]
    with (room / "superset.log").open("wb") as log:
        prepare = [str(python), str(INSIDE / "prepare.py")]
        made = subprocess.run(prepare, check=False, env=env, stdout=log, stderr=log)
        if made.returncode:
            raise SupersetFailed(f"its tables could not be made; see {log.name}")
        process = subprocess.Popen(serve, env=env, stdout=log, stderr=log)
        try:
            _wait(url, process, log.name)
            yield Superset(url, password), password
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise SupersetFailed(f"it did not start; see {log}")
        time.sleep(0.3)
