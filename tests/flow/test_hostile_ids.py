"""Hostile texts as ids: in paths and queries on the way out, in every table on the way in."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from sqlalchemy import Engine

from etl.resources import discover
from etl.settings import Secret, Source
from tests.hostile import HOSTILE, UNSTORABLE
from tests.http_server import Reply, Seen, serve
from tests.jobs import job
from tests.mirror import rows, statements, sync
from tests.parts import ENDED, NOW, checkpoint, event, file, page, quarantined

#: The beginning of a UTC day.
DAY = 1735257600

#: Ids that fit, and two that no path can hold.
IDS = [
    text
    for name, text in HOSTILE.items()
    if name not in UNSTORABLE and len(text) <= 60 and text.strip()
]
IN_NO_PATH = [".", ".."]
#: Parts of the texts above that stand in no statement of ours.
TELLING = ("DROP TABLE", "WHERE ''=", "alert(1)", "OR '1'", "OR 1=1", "passwd", "calc")


def world(seen: Seen) -> Reply:
    """An API of one job for each id, all of whose texts are that id, and of what hangs off it."""
    parts = [unquote(part) for part in seen.path.removeprefix("/v1/").split("/")]
    match parts:
        case ["fine_tuning", "jobs"]:
            return page([one_job(text) for text in IDS + IN_NO_PATH], seen)
        case ["fine_tuning", "jobs", text]:
            return Reply(one_job(text))
        case ["fine_tuning", "jobs", text, "events"]:
            return page([event(text, level=text, message=text, data={text: text}, type=text)], seen)
        case ["fine_tuning", "jobs", text, "checkpoints"]:
            made: dict[str, Any] = {
                "fine_tuned_model_checkpoint": text,
                "metrics": {"step": 1, text: 0.5},
            }
            return page([checkpoint(text, text, **made)], seen)
        case ["fine_tuning", "checkpoints", text, "permissions"]:
            return page([{"id": text, "created_at": ENDED, "project_id": text}], seen)
        case ["files", text]:
            return Reply(file(text, filename=text, purpose=text))
        case ["files", text, "content"]:
            quoted = text.replace('"', '""')
            return Reply(f'step,"{quoted}"\r\n1,0.5\r\n', headers={"Content-Type": "text/csv"})
        case ["organization", "projects"]:
            found = [{"id": text, "name": text, "created_at": ENDED} for text in IDS]
            return page(found, seen)
        case ["organization", "costs"]:
            amount = {"value": "1", "currency": "usd"}
            billed = [{"amount": amount, "line_item": text, "project_id": text} for text in IDS]
            day = {"object": "bucket", "start_time": DAY, "results": billed}
            return Reply({"object": "page", "data": [day], "has_more": False})
    return Reply({"error": {"message": f"no path of ours: {seen.path}"}}, status=500)


def one_job(text: str) -> dict[str, Any]:
    """A job that came to its end."""
    return job(
        text,
        **dict.fromkeys(("model", "fine_tuned_model", "training_file", "organization_id"), text),
        result_files=[text],
        metadata={text: text},
        hyperparameters={text: text},
        error={"code": text, "message": text, "param": text},
        integrations=[{"type": text, "wandb": {"project": text, "tags": [text, text]}}],
        method={"type": text, text: {"hyperparameters": {text: text}, "grader": {text: text}}},
    )


def column(engine: Engine, table: str, name: str) -> list[str]:
    return sorted(row[name] for row in rows(engine, table))


def test_ids_of_any_kind_come_through_the_api(engine: Engine) -> None:
    """Every path is one of ours, names the very id that was meant, and no text becomes SQL."""
    with serve(world) as server, statements(engine) as said:
        key = Secret("KEY", "sk-1")
        source = Source(base_url=server.url, max_attempts=1, api_key=key, admin_key=key)
        result = sync(engine, source, resources=discover(), mode="auto", now=lambda: NOW)
    # A header of several lines is none; the file waits in quarantine, as it came.
    broken = [text for text in IDS if {"\n", "\r"} & set(text)]
    assert sorted(one[:2] for one in quarantined(engine)) == sorted(
        ("metrics", text) for text in broken
    )
    assert result.error is None
    assert column(engine, "jobs", "id") == sorted(IDS + IN_NO_PATH)
    for table in ("job_events", "job_checkpoints", "files", "projects", "checkpoint_permissions"):
        assert column(engine, table, "id") == sorted(IDS), table
    for name in ("line_item", "project_id"):
        assert column(engine, "billed_costs", name) == sorted(IDS), name
    for table, name in (("job_metadata", "name"), ("job_metadata", "value"), ("jobs", "model")):
        assert column(engine, table, name) == sorted(IDS + IN_NO_PATH), (table, name)
    measured = [(row["origin"], row["name"]) for row in rows(engine, "training_metrics")]
    names = [("checkpoint", text) for text in IDS]
    names += [("result_file", text.strip()) for text in IDS if text not in broken]
    assert sorted(measured) == sorted(names)
    assert {seen.method for seen in server.seen} == {"GET"}
    asked = {unquote(seen.path.split("/")[4]) for seen in server.seen if "/events" in seen.path}
    assert asked == set(IDS)
    is_literal = engine.dialect.name == "mariadb"
    odd = [
        one
        for one in said
        if any(text in one for text in TELLING)
        and not (is_literal and one.startswith("INSERT INTO") and " VALUES (" in one)
    ]
    assert odd == []
