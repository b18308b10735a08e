"""dbt over a PostgreSQL mirror: built, tested, and asked how fresh it is.

python -m bi.dbt
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, make_url, text, update

from bi import environments
from etl import sync as syncing
from etl.db import migrate
from etl.db.engine import open_engine
from etl.db.tables import sync_resource_runs
from etl.resources import discover
from etl.settings import Secret, Source
from etl.simulator import Simulator, World
from etl.spend.prices import load
from tests import servers

PROJECT = environments.ROOT / "config" / "dbt"
#: Where its models go, beside the mirror's own schema.
SCHEMA = "ftmirror_dbt"
#: Jobs of the mirror that `python -m bi.dbt` tries it on.
JOBS = 200


class Failed(Exception):
    """dbt found something wrong; it says what."""


def build(url: str, room: Path) -> None:
    """Run `dbt build` and `dbt source freshness` on a mirror, and print what came of each.

    `room`: a directory for what dbt writes, its logs too.

    Raises Failed where a model or a test fails, where the mirror is stale, or where a sum of dbt's
    is not the view's.
    """
    _command(url, room, "build")
    engine = open_engine(url)
    try:
        for line in _built(json.loads((room / "target" / "run_results.json").read_text())):
            print(f"  {line}")
        print(f"  {_same_cost(engine)}")
        print(f"  {_freshness(url, room, engine)}")
    finally:
        engine.dispose()


def _command(url: str, room: Path, *words: str) -> None:
    """Call dbt on our project. Raises Failed with its last lines."""
    dbt = environments.make("dbt") / "dbt"
    command = [str(dbt), *words, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    command += ["--target-path", str(room / "target"), "--log-path", str(room / "logs")]
    environment = {**_quiet(os.environ), **_connection(make_url(url))}
    done = subprocess.run(
        command, env=environment, cwd=room, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise Failed(f"dbt {' '.join(words)} ended with {done.returncode}:\n{said}")


def _quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would lead dbt to another database, project or set of packages."""
    others = ("DBT_", "PG", "PYTHON", "OPENAI_", "AZURE_OPENAI_", "FTMIRROR_")
    kept = {name: value for name, value in environment.items() if not name.startswith(others)}
    return {**kept, "DO_NOT_TRACK": "1", "FTMIRROR_DBT_SCHEMA": SCHEMA}


def _connection(url: URL) -> dict[str, str]:
    """A mirror's URL as profiles.yml asks the environment for it."""
    host = url.query.get("host", url.host or "localhost")
    told = {
        "PGHOST": str(host),
        "PGPORT": str(url.port or url.query.get("port", 5432)),
        "PGUSER": url.username or "postgres",
        "DBT_ENV_SECRET_PGPASSWORD": url.password or "",
        "PGDATABASE": url.database or "",
    }
    if mode := url.query.get("sslmode"):
        told["PGSSLMODE"] = str(mode)
    return told


def _built(results: dict[str, Any]) -> list[str]:
    """A line for each kind of node: how many, how they ended, and rows of the models."""
    kinds: dict[str, Counter[str]] = {}
    models = []
    for one in results["results"]:
        kind = _kind(one)
        kinds.setdefault(kind, Counter())[one["status"]] += 1
        if kind == "models":
            rows = one["adapter_response"].get("rows_affected", 0)
            models.append(f"{one['unique_id'].split('.')[-1]} {rows:,} rows")
    lines = []
    for kind in sorted(kinds):
        ended = ", ".join(f"{count} {status}" for status, count in sorted(kinds[kind].items()))
        lines.append(f"{kind}: {ended}")
    return [*lines, *sorted(models)]


def _kind(result: dict[str, Any]) -> str:
    of, _, name = result["unique_id"].split(".")[:3]
    if of != "test":
        return f"{of}s"
    # A generic test has a digest behind its name; one of our own has none.
    if len(result["unique_id"].split(".")) == 3:
        return "tests of sums"
    return "tests of sources" if name.startswith("source_") else "tests of models"


def _same_cost(engine: Engine) -> str:
    """The cost in dbt's mart and in the view. Raises Failed where they differ."""
    queries = {
        "monthly_model_spend": f"{SCHEMA}.monthly_model_spend",
        "spend_by_month": "spend_by_month",
    }
    with engine.connect() as connection:
        found = {
            name: connection.scalar(
                text(f"SELECT coalesce(sum(cost_microusd), 0), sum(jobs) FROM {table}")
            )
            for name, table in queries.items()
        }
        jobs = connection.scalar(text("SELECT count(*) FROM job_costs"))
    if len(set(found.values())) != 1:
        raise Failed(f"dbt and the view do not agree on what it cost: {found}")
    if not jobs:
        return "cost: nothing yet"
    return "cost, USD: " + ", ".join(f"{name} {sum_ / 10**6:,.6f}" for name, sum_ in found.items())


def _freshness(url: str, room: Path, engine: Engine) -> str:
    """How old what dbt calls the source's data is. Raises Failed where it is stale."""
    with engine.connect() as connection:
        never = connection.scalar(text("SELECT count(*) FROM sync_health")) == 0
    if never:
        return "source freshness: nothing yet"
    _command(url, room, "source", "freshness")
    status, hours = _told(room)
    return f"source freshness: {status}, in step {hours:.2f} hours ago"


def _told(room: Path) -> tuple[str, float]:
    """How fresh dbt found the source just now: its word for it, and the hours."""
    told = json.loads((room / "target" / "sources.json").read_text())
    (one,) = told["results"]
    return one["status"], one["max_loaded_at_time_ago_in_s"] / 3600


def _filled(url: str) -> None:
    """A mirror of a simulated API, by real syncs over HTTP."""
    engine = open_engine(url)
    with Simulator(World(1, JOBS)) as simulator:
        key = Secret.from_text("the simulator's", "sk-simulated")
        source = Source(name="simulated", base_url=simulator.url, api_key=key)
        order = syncing.Order([source], list(discover().values()), book=load(None))
        done = syncing.sync(engine, order, lambda _: None)
    engine.dispose()
    if done.status != "success":
        raise Failed(f"the mirror to try dbt on could not be filled: {done.status}")


def _empty(server: str, name: str) -> str:
    """The URL of a new mirror with nothing in it."""
    url = servers.create_database(server, f"dbt_{os.getpid()}_{name}")
    engine = open_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    return url


def _age(url: str, hours: float) -> None:
    """Put the run log back, as if nobody had synced since."""
    engine = open_engine(url)
    then = datetime.now(UTC) - timedelta(hours=hours)
    with engine.begin() as connection:
        connection.execute(update(sync_resource_runs).values(started_at=then))
    engine.dispose()


def _staleness(url: str, room: Path) -> str:
    """What dbt says of a stale mirror. Raises Failed where it takes it for a fresh one."""
    with suppress(Failed):
        _command(url, room, "source", "freshness")
    status, hours = _told(room)
    if status not in ("warn", "error"):
        raise Failed(f"dbt takes a mirror that is {hours:.1f} hours old for a fresh one")
    return f"{status}, in step {hours:.2f} hours ago"


def main() -> int:
    """Try it on a mirror that is full, one that nobody has synced for long, and an empty one."""
    with tempfile.TemporaryDirectory() as name, servers.postgresql() as server:
        room = Path(name)
        full, empty = _empty(server, "filled"), _empty(server, "empty")
        _filled(full)
        print(f"dbt on a mirror of {JOBS} jobs:")
        build(full, room)
        for hours in (30, 60):
            _age(full, hours)
            print(f"dbt on the same mirror, not synced for {hours} hours:")
            print(f"  source freshness: {_staleness(full, room)}")
        print("dbt on an empty mirror:")
        build(empty, room)
    return 0


if __name__ == "__main__":
    sys.exit(main())
