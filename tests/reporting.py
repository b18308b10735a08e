"""A small history for the report, the report as its readers see it, and a browser to look at it.

fill(engine)
page = Page(made(engine))
assert page.tables["Spend by month and model"][0] == ["Month", ...]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from etl.db import prices
from etl.db.tables import metadata
from etl.report.figures import Period
from etl.report.page import page
from etl.report.queries import read
from etl.spend.prices import load

NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
EVER = Period()
MINI, LARGE = "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"
ATTACK = "<script>alert(1)</script>"


def at(clock: str) -> datetime:
    return datetime.fromisoformat(clock).replace(tzinfo=UTC)


def put(engine: Engine, table: str, rows: Iterable[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(metadata.tables[table]), list(rows))


def job(job_id: str, began: str, ended: str | None = None, **values: Any) -> dict[str, Any]:
    """A job's row: all columns, so that many go in at once."""
    return {
        "id": job_id,
        "source": "research",
        "provider": "openai",
        "id_space": "openai",
        "project_id": None,
        "status": "succeeded",
        "model": MINI,
        "base_model": values.get("model", MINI),
        "user_provided_suffix": None,
        "method_type": "supervised",
        "trained_tokens": None,
        "error_code": None,
        "error_message": None,
        "created_at": at(began),
        "finished_at": None if ended is None else at(ended),
        **values,
    }


def put_jobs(engine: Engine, jobs: list[dict[str, Any]]) -> None:
    """Jobs, and what they used."""
    put(engine, "jobs", jobs)
    used = [
        {
            "job_id": one["id"],
            "unit": "trained_token",
            "origin": "trained_tokens",
            "quantity": one["trained_tokens"],
        }
        for one in jobs
        if one["trained_tokens"] is not None
    ]
    if used:
        put(engine, "job_usage", used)


def fill(engine: Engine) -> None:
    """Six jobs: $25 and $6 for sure, 30 cents maybe, two without a price, one open."""
    prices.bring_under_lease(engine, load(None), "test")
    put_jobs(
        engine,
        [
            job(
                *("ftjob-a", "2025-01-10 10:00", "2025-01-10 12:00"),
                model=LARGE,
                trained_tokens=1_000_000,
                project_id="proj_1",
                user_provided_suffix=ATTACK,
            ),
            job("ftjob-b", "2025-02-28 22:00", "2025-03-01 00:10", trained_tokens=2_000_000),
            job(
                *("ftjob-c", "2025-03-05 10:00", "2025-03-05 10:30"),
                status="failed",
                trained_tokens=100_000,
                error_code="server_error",
                error_message="It broke: <b>sorry</b>\x1b[2J",
            ),
            job(
                *("ftjob-d", "2025-03-06 10:00", "2025-03-06 11:00"),
                model="mystery-1",
                trained_tokens=500,
            ),
            job("ftjob-e", "2025-03-07 10:00", status="running"),
            job("ftjob-f", "2025-01-11 10:00", "2025-01-11 11:00", status="cancelled"),
        ],
    )
    tags = [("ftjob-a", "team", "search"), ("ftjob-b", "team", "<i>legal</i>")]
    put(engine, "job_metadata", ({"job_id": i, "name": n, "value": v} for i, n, v in tags))
    events = [("ftjob-a", "2025-01-10 10:10"), ("ftjob-b", "2025-02-28 22:30")]
    put(
        engine,
        "job_events",
        (
            {
                "id": f"ftevent-{job_id}",
                "job_id": job_id,
                "position": 0,
                "created_at": at(clock),
                "level": "info",
                "type": "message",
                "message": "Fine-tuning job started",
            }
            for job_id, clock in events
        ),
    )
    put(
        engine,
        "training_metrics",
        (
            {
                "job_id": "ftjob-a",
                "origin": "result_file",
                "origin_id": "file-a",
                "step": step,
                "name": name,
                "value": value,
            }
            for step, losses in enumerate([(2.5, 2.75), (1.5, 1.25), (0.5, 1.5)], 1)
            for name, value in zip(("train_loss", "valid_loss"), losses, strict=True)
        ),
    )
    put(
        engine,
        "job_checkpoints",
        (
            {
                "id": f"ftckpt-{step}",
                "job_id": "ftjob-a",
                "created_at": at("2025-01-10 11:00"),
                "step_number": step,
                "fine_tuned_model_checkpoint": f"ft:{LARGE}:acme::a:ckpt-step-{step}",
                "full_valid_loss": loss,
            }
            for step, loss in ((2, 1.125), (3, 1.375))
        ),
    )


def fill_bills(engine: Engine) -> None:
    """What was billed in January and February 2025: training, something else, and who knows."""
    items = [
        ("2025-01-10", f"{LARGE}, fine-tuning training", 24_000_000_000),
        ("2025-01-11", f"ft:{LARGE}, input", 2_500_000_000),
        ("2025-02-01", "<b>odd</b> thing", 990_000_000),
    ]
    put(
        engine,
        "records",
        (
            {
                "resource": "costs",
                "id": f"org-1/{day}",
                "version": 1,
                "last_version": 1,
                "id_space": "openai",
                "source": "research",
                "provider": "openai",
                "payload": "{}",
                "payload_encoding": "text",
                "digest": "",
                "canonical_digest": "",
                "changed_at": NOW,
                "run_id": 1,
                "first_seen_at": NOW,
            }
            for day, _, _ in items
        ),
    )
    put(
        engine,
        "billed_costs",
        (
            {
                "organization_id": "org-1",
                "bucket_id": f"org-1/{day}",
                "start_time": at(f"{day} 00:00"),
                "end_time": at(f"{day} 00:00") + timedelta(days=1),
                "project_id": "proj_1",
                "line_item": item,
                "currency": "usd",
                "quantity_unit": "",
                "amount": Decimal(nano).scaleb(-9),
                "amount_nano": nano,
            }
            for day, item, nano in items
        ),
    )


def made(engine: Engine, period: Period = EVER) -> str:
    """The page of a mirror."""
    return page(read(engine, period, NOW))


class Page(HTMLParser):
    """A page as its readers find it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        #: Elements with their attributes, in the order in which they begin.
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        #: What is read, without style sheets.
        self.words = ""
        #: Rows of cells by the name of the table.
        self.tables: dict[str, list[list[str]]] = {}
        #: The words of each part by its id.
        self.parts: dict[str, str] = {}
        self._open: list[str] = []
        self._part = self._table = ""
        self.feed(text)
        self.close()
        assert self._open == [], "not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag not in ("meta", "br"):
            self._open.append(tag)
        if tag == "section":
            self._part = given["id"] or ""
        elif given.get("role") == "region":
            self._table = given["aria-label"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("th", "td"):
            self.tables[self._table][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open or "svg" in self._open:
            return
        self.words += data
        if self._part:
            self.parts[self._part] = self.parts.get(self._part, "") + data
        if {"th", "td"} & set(self._open):
            self.tables[self._table][-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each of these elements."""
        return [attributes for name, attributes in self.elements if name == tag]


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page."""

    #: The page as the browser holds it, after scripts, if it runs any.
    dom: str
    #: What it complained of.
    console: list[str]
    #: What the page asked for, beside itself.
    requests: list[str]


def browser() -> str:
    """The path of a Chromium; without one the test is skipped, and fails in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    said = "no chromium, chromium-browser or google-chrome is installed"
    if os.environ.get("CI"):
        pytest.fail(f"{said} (in CI a missing browser is a failure)")
    pytest.skip(said)


def visit(path: Path, directory: Path, *options: str) -> Visit:
    """Open a file in headless Chromium, which cannot reach anything but this machine."""
    return visit_address(path.as_uri(), directory, *options)


def visit_address(address: str, directory: Path, *options: str) -> Visit:
    """The same with a page of a server on this machine."""
    log = directory / "net.json"
    done = subprocess.run(
        [
            browser(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--user-data-dir={directory / 'profile'}",
            "--enable-logging=stderr",
            f"--log-net-log={log}",
            "--virtual-time-budget=3000",
            *options,
            "--dump-dom",
            address,
        ],
        capture_output=True,
        timeout=120,
        check=True,
        text=True,
    )
    return Visit(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if ":CONSOLE" in line],
        requests=_requests(log.read_text(encoding="utf-8")),
    )


def _requests(log: str) -> list[str]:
    """What pages asked for; what the browser asks for itself names no page as its origin."""
    found = []
    for line in log.splitlines():
        if '"initiator":' not in line:
            continue
        parameters = json.loads(re.sub(r",$|\]\}$", "", line.strip())).get("params", {})
        if parameters.get("initiator") != "not an origin":
            found.append(parameters["url"])
    return found
