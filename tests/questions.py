"""The questions of docs/questions.md, a mirror worth asking, and what its world says by itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, text

from etl.db import bulk
from etl.db.tables import metadata
from etl.db.types import utc_text
from etl.resources import discover
from etl.settings import Secret
from etl.simulator import Simulator, World
from etl.spend.prices import load
from tests.evolving import Evolving
from tests.mirror import import_files, source_of, sync
from tests.servers import create_database

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "questions.md"

_QUESTION = re.compile(
    r"^### ([^\n]+)\n((?:(?!^###).)*?)^```sql\n(.*?)^```\n", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Question:
    """A question, how its answer is read, and the SQL that gets it."""

    title: str
    reading: str
    sql: str


def questions() -> list[Question]:
    """Every question of the page, in its order."""
    page = PAGE.read_text(encoding="utf-8")
    return [Question(*(part.strip() for part in found)) for found in _QUESTION.findall(page)]


def ask(engine: Engine, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the answer's columns and its rows, as a reader without our types gets them."""
    with engine.connect() as connection:
        found = connection.execute(text(sql))
        return list(found.keys()), [tuple(row) for row in found]


@dataclass
class Known:
    """A job as the API last showed it, with its events and checkpoints."""

    job: dict[str, Any]
    #: Oldest first.
    events: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]


@dataclass
class Witness:
    """Everything that the world showed at the moments when it was mirrored."""

    jobs: dict[str, Known] = field(default_factory=dict)
    #: Models that another project may use.
    shared: set[str] = field(default_factory=set)

    def look(self, world: World) -> None:
        """Take down how the world is now; what is gone stays as it was last."""
        for job_id in world.job_ids():
            job = json.loads(world.job(job_id))
            self.jobs[job_id] = Known(
                job,
                [json.loads(one) for _, one in world.events(job_id, None, 100_000).items][::-1],
                [json.loads(one) for _, one in world.checkpoints(job_id, None, 1_000).items],
            )
            models = {one["fine_tuned_model_checkpoint"] for one in self.jobs[job_id].checkpoints}
            models |= {job["fine_tuned_model"]} - {None}
            self.shared |= {model for model in models if world.permissions(model)}


def fill(engine: Engine, seed: int = 676, jobs: int = 80) -> Witness:
    """Mirror a history, and say what there was to see.

    Everything that an admin key opens too; jobs go on, vanish and come, files vanish, and a record
    of a saved file goes to quarantine.
    """
    story, witness = Evolving(seed, jobs), Witness()
    with story.served() as simulator:
        for _ in range(2):
            witness.look(story.world)
            _mirror(engine, simulator, story)
            story.world.remove([list(story.world.job_ids())[7]])
            story.world.advance(8, 2)
            page = story.world.files(None, 2, "fine-tune", rising=False)
            story.world.expire(one for one, _ in page.items)
            story.wait(timedelta(days=1, hours=1))
        witness.look(story.world)
        _mirror(engine, simulator, story)
    import_files(engine, [ROOT / "tests" / "examples" / "broken.jsonl"])
    return witness


def copy(engine: Engine, other: Engine) -> None:
    """Put every row of a mirror into an empty one."""
    with engine.connect() as connection, other.begin() as into:
        for table in metadata.sorted_tables:
            found = connection.execute(select(table))
            bulk.insert_rows(into, table, [tuple(map(_bound, row)) for row in found])


def _bound(value: Any) -> Any:
    """A value as drivers take it, of one that our types have read."""
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value) if isinstance(value, dict | list) else value


def _mirror(engine: Engine, simulator: Simulator, story: Evolving) -> None:
    source = source_of(
        simulator,
        admin_key=Secret.from_text("the test", "sk-admin-test"),
        project=story.world.money.project_ids[0],
    )
    result = sync(engine, source, resources=discover(), mode="auto", now=story.now, book=load(None))
    assert result.status == "success"


def databases(servers: dict[str, str], folder: Path, name: str) -> dict[str, str]:
    """The URL of an empty database of each kind."""
    urls = {kind: create_database(servers[kind], name) for kind in ("postgresql", "mariadb")}
    return {"sqlite": f"sqlite:///{folder / f'{name}.db'}", **urls}
