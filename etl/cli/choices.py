"""What a sync is asked to do: the options that `sync` and `schedule` share, and their order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.options import DURATION, KEY_VALUE, WAIT, Context, metadata
from etl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from etl.resource import Resource
    from etl.settings import Settings, Source
    from etl.sync import Order


@dataclass(frozen=True)
class Choices:
    """What the shared options said; each is named as its option's parameter."""

    sources: Sequence[str] = ()
    resources: Sequence[str] = ()
    #: `auto`, `full` or `incremental`.
    mode: str = "auto"
    pairs: Sequence[tuple[str, str] | str] = ()
    workers: int | None = None
    #: Seconds.
    time_limit: float | None = None
    accept_missing: bool = False
    #: Seconds.
    wait: float = 0.0
    metrics_file: Path | None = None

    def order(self, settings: Settings) -> Order:
        """The order to a run, with the sources as the settings have them.

        Raises UsageError for a source or resource that is not there, ConfigError where no source
        has its key, or for a wrong price book.
        """
        from etl.api.paging import metadata_filter
        from etl.spend.prices import load
        from etl.sync import Order

        chosen = settings.chosen(self.sources)
        if self.workers is not None:
            chosen = tuple(replace(source, workers=self.workers) for source in chosen)
        wanted = metadata(self.pairs)
        order = Order(
            sources=chosen,
            resources=resources_named(self.resources),
            narrowing=()
            if wanted is None
            else metadata_filter(None if isinstance(wanted, str) else wanted),
            mode=self.mode,
            time_limit=self.time_limit,
            accept_missing=self.accept_missing,
            is_picked=bool(self.resources),
            configured=frozenset(source.name for source in settings.sources),
            wait=self.wait,
            book=load(settings.prices_file),
        )
        require_a_key(chosen)
        return order


_OPTIONS = (
    click.option(
        "--source", "sources", multiple=True, metavar="NAME", help="Only this source. Repeatable."
    ),
    click.option(
        "--resource",
        "resources",
        multiple=True,
        metavar="NAME",
        help="Only this resource. Repeatable.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["auto", "full", "incremental"]),
        default="auto",
        show_default=True,
        help="full: list every job. incremental: what is new or still open. auto: full once a day.",
    ),
    click.option(
        "--metadata",
        "pairs",
        multiple=True,
        type=KEY_VALUE,
        help="Only jobs with this metadata, or `null`: only jobs without any. Repeatable.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 64),
        metavar="N",
        help="Requests under way at once (else the configuration's, 4).",
    ),
    click.option(
        "--time-limit",
        type=DURATION,
        metavar="DURATION",
        help="Begin nothing more after so long (90s, 15m, 2h); the next run goes on.",
    ),
    click.option(
        "--accept-missing",
        is_flag=True,
        help="Believe a listing that came with fewer than half of the jobs.",
    ),
    WAIT,
    click.option(
        "--metrics-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="After each run, write metrics for Prometheus, as a textfile (…/NAME.prom).",
    ),
)


def choosing(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the shared options: it gets a Context first, then their Choices."""

    @functools.wraps(function)
    def run(context: Context, **options: Any) -> int | None:
        said = {one.name: options.pop(one.name) for one in fields(Choices)}
        return function(context, Choices(**said), **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def require_a_key(sources: Sequence[Source]) -> None:
    """Raise ConfigError where no source has its key; one that lacks it does not stop the others."""
    from etl.settings import require_keys

    problems: list[str] = []
    for source in sources:
        try:
            require_keys([source])
        except ConfigError as error:
            problems += error.problems
        else:
            return
    raise ConfigError(problems)


def resources_named(names: Sequence[str]) -> list[Resource]:
    """The resources with these names, all of them for none. Raises UsageError for an unknown."""
    from etl.resources import discover
    from etl.settings import nearest

    known = discover()
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no resource {name!r}{nearest(name, list(known))}; "
                f"known: {', '.join(known)}"
            )
    return [resource for name, resource in known.items() if not names or name in names]
