"""`ftmirror status` and `check`: how the mirror stands, and whether the next run can work."""

from __future__ import annotations

import datetime as dt
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli import database, notifying, output
from etl.cli.options import DURATION, Context, command
from etl.errors import ConfigError, EtlError, UsageError
from etl.settings import passwords, split_addresses
from etl.settings.masking import finder
from etl.settings.model import ALERTS_VARIABLE

if TYPE_CHECKING:
    from etl.reports import Standing, Status
    from etl.settings import Settings, Source

log = logging.getLogger(__name__)

FOUND_SOMETHING = 5


@command(
    "status",
    example="""
    ftmirror status
    ftmirror status --max-age 26h --notify
    """,
)
@click.option(
    "--max-age",
    type=DURATION,
    metavar="DURATION",
    help="Exit 5 when anything was last in step longer ago (26h), or never.",
)
@notifying.notify_option("what is too old by --max-age, and of jobs that failed")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def status(context: Context, *, max_age: float | None, notify: bool, as_json: bool) -> int:
    """Show how fresh the mirror is.

    By source and resource: how many records it holds, and when a sync last brought them in step.
    """
    from etl import reports

    expected = configured(context.settings)
    send = notifying.opened(context) if notify else None
    with database.for_reading(context) as engine:
        found = reports.status(engine, expected, dt.datetime.now(dt.UTC))
        if as_json:
            output.json(found.as_json(max_age))
        else:
            _show(found)
        if not any(one.records for one in found.standings):
            (log.info if as_json else output.data)(
                "nothing is mirrored yet; `ftmirror sync` begins"
            )
        stale = (
            [(one, _lateness(one)) for one in found.stale(max_age)] if max_age is not None else []
        )
        for _, said in stale:
            log.warning("%s", said)
        if send is not None:
            from etl import alerts

            told = [alerts.stale(engine, stale), alerts.failed_jobs(engine)]
            notifying.tell(context, engine, send, told)
    return FOUND_SOMETHING if stale else 0


def _lateness(one: Standing) -> str:
    ago = "never in step" if one.age_seconds is None else f"in step {age(one.age_seconds)} ago"
    return f"{one.source}, {one.resource}: {ago}"


def configured(settings: Settings) -> list[tuple[str, str]]:
    """The sources and resources that a sync reads, as the settings are."""
    from etl.api.access import has_key
    from etl.resources import discover

    return [
        (source.name, resource.name)
        for source in settings.sources
        for resource in discover().values()
        if has_key(source, resource.path)
    ]


def _show(found: Status) -> None:
    """One table, or one for each source where their names leave too little room."""
    columns = ["resource", "records", "last sync (UTC)", "age", "quarantined"]
    rows: dict[str, list[tuple[str | int, ...]]] = {}
    for one in found.standings:
        synced = "never" if one.synced_at is None else f"{one.synced_at:%Y-%m-%d %H:%M:%S}"
        since = "" if one.age_seconds is None else age(one.age_seconds)
        line = (one.resource, one.records, synced, since, one.quarantined)
        rows.setdefault(one.source, []).append(line)
    flat = [(source, *line) for source, lines in rows.items() for line in lines]
    widths = [
        max(len(str(cell)) for cell in column)
        for column in zip(("source", *columns), *flat, strict=True)
    ]
    if sum(widths) + 2 * len(columns) <= output.WIDTH:
        output.table(["source", *columns], flat)
    else:
        for source, lines in rows.items():
            output.table(columns, lines, title=source)
    for one in found.standings:
        if one.last_error:
            said = f"{one.source}, {one.resource}: last run {one.last_status}: {one.last_error}"
            output.data("\n".join(output.wrapped(said)))


@command("check", example="ftmirror check")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def check(context: Context, *, as_json: bool) -> int:
    """Check settings, database and keys.

    The configuration, the database and its schema, and what each key can read.
    Exit code 0: a sync can work. 1: it cannot, and the lines say why.
    """
    settings = context.settings
    lines: list[dict[str, Any]] = [
        _line("configuration", True, str(settings.path) if settings.path else "defaults")
    ]
    lines += _open_files(settings)
    lines += _prices(settings)
    lines += _budget(settings)
    lines += _database(context)
    for source in settings.sources:
        lines += _source(source)
    context.mask.ask(settings.hidden)
    good = all(line["ok"] for line in lines if line["required"])
    if as_json:
        masked = [{**line, "said": context.mask(line["said"])} for line in lines]
        output.json({"ok": good, "checks": masked})
    else:
        for line in lines:
            mark = "ok" if line["ok"] else ("failed" if line["required"] else "no")
            first = f"{mark:7} {line['check']}: "
            output.data(
                "\n".join(output.hanging(first, context.mask(line["said"]), len("failed  ")))
            )
    return 0 if good else 1


def age(seconds: float) -> str:
    """A length of time, roughly, as `3 min` or `2.5 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def _line(check: str, ok: bool, said: str, *, required: bool = True) -> dict[str, Any]:
    return {"check": check, "ok": ok, "required": required, "said": said}


def _open_files(settings: Settings) -> list[dict[str, Any]]:
    """A line for each file with a secret in it that every user of this machine may read."""
    lines = []
    for path in dict.fromkeys(_secret_files(settings)):
        with suppress(OSError):  # what is not there, or cannot be read, others tell of
            if path.stat().st_mode & stat.S_IROTH and os.name == "posix":
                said = f"every user of this machine may read {path}; `chmod 600` it"
                lines.append(_line("secrets", False, said, required=False))
    return lines


def _prices(settings: Settings) -> list[dict[str, Any]]:
    """A sync brings the price book, so it ends where that is wrong."""
    from etl.spend.prices import load

    try:
        book = load(settings.prices_file)
    except ConfigError as error:
        return [_line("price book", False, problem) for problem in error.problems]
    own = sum(one.is_own for one in book.prices)
    said = f"{len(book.prices):,} prices, {f'{own:,}' if own else 'none'} of them yours"
    return [_line("price book", True, said)]


def _budget(settings: Settings) -> Iterator[dict[str, Any]]:
    """What is set of limits and addresses, by number; no sync needs either."""
    if settings.limits:
        count = len(settings.limits)
        yield _line("budget", True, "1 limit" if count == 1 else f"{count:,} limits")
    urls = settings.alert_urls
    if not urls.is_named and urls.origin == ALERTS_VARIABLE:
        return
    try:
        count = len(split_addresses(urls.read()))
    except ConfigError as error:
        for problem in error.problems:
            yield _line("alerts", False, problem, required=False)
    else:
        said = "1 address" if count == 1 else f"{count:,} addresses"
        yield _line("alerts", True, said, required=False)


def _secret_files(settings: Settings) -> Iterator[Path]:
    for source in settings.sources:
        for key in (source.api_key, source.admin_key):
            if key.file is not None:
                yield key.file
    if settings.alert_urls.file is not None:
        yield settings.alert_urls.file
    yield Path(".env")
    if settings.path is not None:
        with suppress(OSError, UnicodeDecodeError):
            text = settings.path.read_text(encoding="utf-8-sig")
            if finder(passwords(settings.database_url), 1).search(text):
                yield settings.path


def _database(context: Context) -> list[dict[str, Any]]:
    from etl.db import migrate
    from etl.db.engine import shown, sqlite_file

    try:
        with database.opened(context) as engine:
            path = sqlite_file(engine.url)
            if path is not None and not path.exists():
                said = f"{path} is not there yet; the first sync makes it"
                return [_line("database", True, said)]
            found = migrate.current(engine)
            lines = [_line("database", True, shown(engine.url))]
            if found is None and engine.dialect.name == "sqlite":
                database.refuse_strangers(engine)
                lines.append(_line("schema", True, "not there yet; the first sync makes it"))
                return lines
            try:
                migrate.require_current(engine)
            except UsageError as error:
                will_upgrade = engine.dialect.name == "sqlite" or context.settings.auto_upgrade
                may = will_upgrade and (found or "") < migrate.head()
                lines.append(_line("schema", may, str(error)))
            else:
                odd = migrate.differences(engine, with_comments=False)
                said = f"at {found}, but the tables were changed; see `ftmirror db check`"
                good = f"at {found}, as this version needs"
                lines.append(_line("schema", not odd, said if odd else good))
            return lines
    except EtlError as error:
        return [_line("database", False, str(error))]


def _source(source: Source) -> list[dict[str, Any]]:
    from etl.api.access import check_access
    from etl.api.client import Client
    from etl.settings import require_keys

    name = f"source {source.name}"
    try:
        require_keys([source])
        with Client(replace(source, max_attempts=2)) as client:
            asked: list[tuple[str, bool, list[tuple[str, str]]]]
            asked = [("/fine_tuning/jobs", True, [])]
            if source.admin_key:
                week = str(int(time.time()) - 7 * 86400)
                asked.append(("/organization/projects", False, []))
                asked.append(("/organization/costs", False, [("start_time", week)]))
            found = [
                (check_access(client, path, params=params), required)
                for path, required, params in asked
            ]
    except ConfigError as error:
        return [_line(name, False, problem) for problem in error.problems]
    return [
        _line(name, access.ok, access.sentence, required=required) for access, required in found
    ]
