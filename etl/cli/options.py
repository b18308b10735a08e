"""What commands share: the common options, the kinds of values, and the decorator of a command."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from etl.cli.helping import CommonOption, Helpful
from etl.cli.masking import Mask
from etl.cli.words import Choice
from etl.settings import passwords

if TYPE_CHECKING:
    from etl.settings import Settings

    # Generic for the type checker only: at run time older clicks know no brackets here.
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType

P = ParamSpec("P")

log = logging.getLogger(__name__)

#: Variables whose values are secret, and those that hold URLs with passwords.
_SECRET_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "AZURE_OPENAI_API_KEY",
    "FTMIRROR_ALERT_URLS",
    "PGPASSWORD",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_URL_VARIABLES = ("FTMIRROR_DATABASE_URL", *_PROXIES, *map(str.upper, _PROXIES))
#: The word that asks for records without any metadata.
NULL = "null"


class Interrupted(Exception):
    """A command was told to stop; the interrupt itself is the first argument."""


class Unread(Exception):
    """Who read stdout went away; click would make exit code 1 of the error itself."""


@dataclass(frozen=True)
class Context:
    """What the common options said, wherever they stood."""

    config: Path | None = None
    database_url: str | None = field(default=None, repr=False)
    #: -1 quiet, 0 as usual, 1 and above verbose.
    verbosity: int = 0
    #: `text` or `json`.
    log_format: str = "text"
    #: `auto`, `bar`, `log` or `none`.
    progress: str = "auto"
    #: What every text passes before it is logged or shown as an error.
    mask: Mask = field(default_factory=Mask, repr=False, compare=False)

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, loaded when first asked for. Raises ConfigError."""
        return self.load_settings()

    def load_settings(self) -> Settings:
        """The settings as file and environment have them now. Raises ConfigError."""
        from etl.settings import load

        settings = load(self.config, os.environ, database_url=self.database_url, cwd=Path.cwd())
        self.mask.ask(settings.hidden)
        return settings


class Given(dict[str, Any]):
    """The common options met so far; the later one wins. Also seen by who reports an error."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = Mask()
        # Also what goes wrong before the settings are read may quote what they will say.
        self.mask.ask(self._secrets)

    def __repr__(self) -> str:
        return f"<Given {', '.join(self)}>"

    def _secrets(self) -> list[str]:
        words = [os.environ.get(name, "").strip() for name in _SECRET_VARIABLES]
        urls = [os.environ.get(name, "") for name in _URL_VARIABLES]
        for url in (*urls, self.get("database_url") or ""):
            words += passwords(url)
        return [word for word in words if word]

    def context(self) -> Context:
        """These options as the value that commands get."""
        return Context(**self, mask=self.mask)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Note an option that was really given; a default must not undo one before the name."""
    if value is None or not param.name:
        return
    given = ctx.ensure_object(Given)
    if param.name == "verbose":
        if value:
            given["verbosity"] = value
    elif param.name == "quiet":
        if value:
            given["verbosity"] = -1
    else:
        given[param.name] = value


def _common(*names: str, **attributes: Any) -> click.Option:
    return CommonOption(names, callback=_keep, expose_value=False, **attributes)


def common_options() -> list[click.Parameter]:
    """The options that every command takes, before and after its name."""
    return [
        _common(
            "--config",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Configuration file (else FTMIRROR_CONFIG, else ./ftmirror.toml).",
        ),
        _common(
            "--database-url",
            metavar="URL",
            help="Database (else FTMIRROR_DATABASE_URL, else the configuration's).",
        ),
        _common("-v", "--verbose", count=True, help="Say more; -vv with tracebacks."),
        _common("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
        _common("--log-format", type=Choice(["text", "json"]), help="Log lines on stderr."),
        _common(
            "--progress",
            type=Choice(["auto", "bar", "log", "none"]),
            help="How progress shows on stderr.",
        ),
    ]


def command(
    name: str, *, example: str
) -> Callable[[Callable[Concatenate[Context, P], int | None]], click.Command]:
    """Make a function a command: it gets a Context first, and returns its exit code or None.

    Its docstring is its help; `example` (one line each) stands below.
    """

    def decorate(function: Callable[Concatenate[Context, P], int | None]) -> click.Command:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> int | None:
            from etl.cli.logs import logging_to_stderr

            context = click.get_current_context().ensure_object(Given).context()
            with logging_to_stderr(context.log_format, context.verbosity, context.mask):
                if any(passwords(context.database_url or "")):
                    log.warning(
                        "while this runs, every user of this machine can see the password in "
                        "--database-url; put the URL into FTMIRROR_DATABASE_URL"
                    )
                try:
                    return function(context, *args, **kwargs)
                except KeyboardInterrupt as error:
                    # click would print an empty line, which no reader of JSON lines expects.
                    raise Interrupted(error) from None

        make = click.command(name, cls=Helpful, epilog=epilog(example))
        made = make(run)
        made.params += common_options()
        return made

    return decorate


def epilog(example: str) -> str:
    """The end of a help page: examples, their lines kept as they are."""
    lines = "\n".join(f"  {line.strip()}" for line in example.strip().splitlines())
    title = "Examples" if "\n" in lines else "Example"
    return f"\b\n{title}:\n{lines}"


class _Duration(ParamType):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds of `90s`, `15m`, `2h`, `1d`."""
        from etl.settings import duration

        if isinstance(value, int | float):
            return float(value)
        try:
            return duration(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class _Date(ParamType):
    name = "date"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.date:
        """A day in UTC."""
        if isinstance(value, dt.date):
            return value
        # fromisoformat alone would also take 20260131 and 2026-W05-6.
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            self.fail(f"{value!r}: a date is written YYYY-MM-DD, as 2026-01-31", param, ctx)
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r}: there is no such day", param, ctx)


class _Moment(ParamType):
    name = "date or duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """The begin of a day in UTC, or so long ago."""
        if isinstance(value, dt.datetime):
            return value
        if re.match(r"[0-9]+-", value):
            day = DATE.convert(value, param, ctx)
            return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        from etl.settings import duration

        try:
            return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=duration(value))
        except ValueError as error:
            dates = "a date is written YYYY-MM-DD, as 2026-01-31"
            self.fail(f"{value!r}: {dates}; {error}", param, ctx)
        except OverflowError:
            self.fail(f"{value!r}: that is before all calendars", param, ctx)


class _KeyValue(ParamType):
    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str] | str:
        """`K=V` as a pair, or the word `null`."""
        if isinstance(value, tuple):
            return value[0], value[1]
        if value == NULL:
            return NULL
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r}: write KEY=VALUE, or the word null", param, ctx)
        return key, text


DURATION = _Duration()
DATE = _Date()
MOMENT = _Moment()
KEY_VALUE = _KeyValue()

#: For every command that writes: one may at a time.
WAIT = click.option(
    "--wait",
    type=DURATION,
    default=0.0,
    metavar="DURATION",
    help="Wait so long for another writer to end (90s, 15m), instead of exit code 4 at once.",
)


def metadata(values: Sequence[tuple[str, str] | str]) -> dict[str, str] | str | None:
    """One filter out of many `--metadata`: the pairs, the word `null`, or None for none.

    Raises click's UsageError where they cannot go together.
    """
    pairs: dict[str, str] = {}
    for value in values:
        if isinstance(value, str):
            continue
        if value[0] in pairs:
            raise click.UsageError(f"--metadata names the key {value[0]!r} twice")
        pairs[value[0]] = value[1]
    if NULL not in values:
        return pairs or None
    if pairs:
        raise click.UsageError("--metadata null cannot go together with KEY=VALUE")
    return NULL
