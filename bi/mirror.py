"""Mirrors in PostgreSQL to look at: one filled by runs of `ftmirror sync`, one without jobs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import URL

from etl.simulator import Simulator, World
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
#: Source → seed of its world, and jobs in it: two projects of two organisations.
SOURCES = {"research": (1, 360), "product": (2, 240)}
#: Between two runs so many jobs move on, and so many are new.
STEPS = ((9, 4), (7, 3), (5, 6))


class SyncFailed(Exception):
    """A command of ours that should have filled the mirror did not."""


def filled(server_url: str, room: Path) -> str:
    """The URL of a database that holds what two APIs told in four runs."""
    url = servers.create_database(server_url, "filled")
    with ExitStack() as stack:
        simulators = {
            name: stack.enter_context(Simulator(World(seed, jobs)))
            for name, (seed, jobs) in SOURCES.items()
        }
        config = _configured(room / "ftmirror.toml", simulators)
        _ftmirror(url, config, "db", "upgrade")
        _ftmirror(url, config, "sync")
        for changed, new in STEPS:
            for simulator in simulators.values():
                simulator.world.advance(changed, new)
            _ftmirror(url, config, "sync")
    return url


def empty(server_url: str, room: Path) -> str:
    """The URL of a database with the schema and not one job."""
    url = servers.create_database(server_url, "empty")
    config = room / "empty.toml"
    config.touch()
    _ftmirror(url, config, "db", "upgrade")
    return url


def reader_of(url: str, room: Path) -> URL:
    """The address for a new role that may read the views, and nothing else. Raises SyncFailed."""
    address = make_url(url)
    role, password = f"{address.database}_reader", secrets.token_urlsafe(16)
    owner = create_engine(address, isolation_level="AUTOCOMMIT")
    try:
        with owner.connect() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    finally:
        owner.dispose()
    _ftmirror(url, room / "empty.toml", "db", "grant-reader", role)
    return address.set(username=role, password=password)


def _configured(path: Path, simulators: dict[str, Simulator]) -> Path:
    """A configuration file with a source for each API."""
    lines = []
    for name, simulator in simulators.items():
        lines += [
            "[[sources]]",
            f"name = {json.dumps(name)}",
            f"base_url = {json.dumps(simulator.url)}",
            f"project = {json.dumps(simulator.world.money.project_ids[0])}",
            'api_key_env = "BI_KEY"',
            'admin_key_env = "BI_ADMIN_KEY"',
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def _ftmirror(url: str, config: Path, *words: str) -> None:
    """Run the command as cron would. Raises SyncFailed."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
        "FTMIRROR_DATABASE_URL": url,
        "FTMIRROR_CONFIG": str(config),
        "BI_KEY": "sk-bi",
        "BI_ADMIN_KEY": "sk-admin-bi",
    }
    command = [sys.executable, "-m", "etl.cli", "-q", *words]
    ended = subprocess.run(
        command, check=False, env=env, cwd=config.parent, capture_output=True, text=True
    )
    if ended.returncode:
        said = f"{ended.stdout}{ended.stderr}".strip()
        raise SyncFailed(f"ftmirror {' '.join(words)} ended with {ended.returncode}:\n{said}")
