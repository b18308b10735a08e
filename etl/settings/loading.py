"""From a file, the environment and an option to checked settings, or to every problem at once."""

from __future__ import annotations

import difflib
import io
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from etl.errors import ConfigError
from etl.settings.budget import addresses, limits
from etl.settings.model import ALERTS_VARIABLE, Settings, Source
from etl.settings.sources import KEYS as SOURCE_KEYS
from etl.settings.sources import from_environment, from_table
from etl.settings.table import Table
from etl.settings.text import escaped
from etl.settings.urls import database_problem

#: The variables that are this program's own.
VARIABLES = ("FTMIRROR_CONFIG", "FTMIRROR_DATABASE_URL", ALERTS_VARIABLE)
#: The file that is read where no other is named.
DEFAULT_FILE = "ftmirror.toml"
#: Every key of the file's first level, of `[database]` and of `[prices]`.
KEYS = ("database", "prices", "sources", "budget", "alerts")
DATABASE_KEYS = ("url", "auto_upgrade")
PRICES_KEYS = ("file",)


def load(
    config: Path | None,
    environ: Mapping[str, str],
    *,
    database_url: str | None = None,
    cwd: Path,
) -> Settings:
    """Settings from the file, `.env` and the environment.

    The file is `config`, else FTMIRROR_CONFIG's, else `ftmirror.toml` in `cwd` if there is one.
    Stronger wins: `database_url`, then the environment, then `.env`, then the file. Raises
    ConfigError with all problems. No key is needed or read here.
    """
    problems: list[str] = []
    env = _environment(environ, cwd, problems)
    _misspelt(env, problems)
    path = _path(config, env, cwd)
    values = _values(path, cwd, problems) if path else {}
    place = escaped(_shown(path, cwd)) if path else ""
    top = Table(place, values, problems, KEYS)
    database = Table(f"{place}: [database]", _database(top, values), problems, DATABASE_KEYS)
    settings = Settings(
        database_url=_database_url(database_url, env, database, problems),
        auto_upgrade=database.flag("auto_upgrade", default=False),
        sources=_sources(top, values, env, path, problems),
        limits=limits(top, values, place, problems),
        alert_urls=addresses(top, values, env, path, problems),
        path=path,
        prices_file=_prices_file(top, values, path, problems),
    )
    if problems:
        raise ConfigError(problems)
    return settings


def _environment(environ: Mapping[str, str], cwd: Path, problems: list[str]) -> dict[str, str]:
    """The environment over what `.env` beside the call says."""
    file = cwd / ".env"
    said: dict[str, str] = {}
    if file.is_file():
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f".env: cannot be read: {_reason(error)}")
        else:
            # A key may hold a `$`; what it says is what it is.
            pairs = dotenv_values(stream=io.StringIO(text), interpolate=False)
            said = {name: value for name, value in pairs.items() if value is not None}
    return said | dict(environ)


def variable(name: str, environ: Mapping[str, str], cwd: Path) -> str | None:
    """What the environment, or else `.env` beside the call, says of one name.

    Raises ConfigError for a `.env` that cannot be read.
    """
    problems: list[str] = []
    said = _environment(environ, cwd, problems).get(name)
    if problems:
        raise ConfigError(problems)
    return said


def _misspelt(environ: Mapping[str, str], problems: list[str]) -> None:
    """A name almost like one of ours; others that begin like it may hold somebody's keys."""
    for name in sorted(environ):
        if name.startswith("FTMIRROR_") and name not in VARIABLES:
            close = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
            problems += [f"environment: {name} is unknown; did you mean {one}?" for one in close]


def _path(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = config or (Path(environ["FTMIRROR_CONFIG"]) if environ.get("FTMIRROR_CONFIG") else None)
    if named is not None:
        return cwd / named
    return cwd / DEFAULT_FILE if (cwd / DEFAULT_FILE).exists() else None


def _shown(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _values(path: Path, cwd: Path, problems: list[str]) -> dict[str, Any]:
    """What the file says; nothing, and a problem, where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read: {_reason(error)}"
    except (ValueError, RecursionError) as error:
        what = f"is not TOML: {error}"
    problems.append(f"{escaped(_shown(path, cwd))}: {escaped(what)}")
    return {}


def _reason(error: OSError | UnicodeDecodeError) -> str:
    # A decoder's own message would quote bytes of the file.
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _database(top: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    table = values.get("database", {})
    if isinstance(table, dict):
        return table
    top.bad("database", 'must be a table: a line [database], then url = "…" below it')
    return {}


def _prices_file(
    top: Table, values: Mapping[str, Any], path: Path | None, problems: list[str]
) -> Path | None:
    """The user's own price book, beside the configuration unless it says otherwise."""
    said = values.get("prices", {})
    if not isinstance(said, dict):
        top.bad("prices", 'must be a table: a line [prices], then file = "…" below it')
        return None
    file = Table(f"{top.place}: [prices]", said, problems, PRICES_KEYS).text("file")
    if file is None or path is None:
        return None
    return Path(file) if file.startswith("~") else path.parent / file


def _database_url(
    option: str | None, environ: Mapping[str, str], database: Table, problems: list[str]
) -> str:
    """The strongest URL; each that was given is checked, for the weaker one is wrong too."""
    from_file = database.text("url")
    said = {
        "command line: --database-url": option,
        "environment: FTMIRROR_DATABASE_URL": environ.get("FTMIRROR_DATABASE_URL") or None,
        f"{database.place}: url": from_file,
    }
    given = {place: url for place, url in said.items() if url is not None}
    for place, url in given.items():
        problem = database_problem(url)
        if problem:
            problems.append(f"{place}: {problem}")
    return next(iter(given.values()), Settings.database_url)


def _sources(
    top: Table,
    values: Mapping[str, Any],
    environ: Mapping[str, str],
    path: Path | None,
    problems: list[str],
) -> tuple[Source, ...]:
    tables = values.get("sources", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        top.bad("sources", "each source begins with a line [[sources]], with two brackets")
        return ()
    if not tables or path is None:
        return (from_environment(environ, problems),)
    sources: list[Source] = []
    for number, values_of_one in enumerate(tables, start=1):
        table = _source_table(top.place, number, values_of_one, problems)
        name = table.name("name")
        if name is None and "name" not in table:
            table.bad("name", 'is missing; give each source its own, as name = "research"')
        elif name in {source.name for source in sources}:
            table.bad("name", f"number {number} has the name of an earlier one; give each its own")
        # An unnamed one gets a name that no file can say, so that it equals no other.
        sources.append(from_table(table, name or f"\0{number}", environ, path.parent))
    return tuple(sources)


def _source_table(place: str, number: int, values: Mapping[str, Any], problems: list[str]) -> Table:
    name = values.get("name")
    called = escaped(name) if isinstance(name, str) and 0 < len(name) <= 64 else f"number {number}"
    return Table(f"{place}: [[sources]] {called}", values, problems, SOURCE_KEYS)
