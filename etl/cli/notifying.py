"""`--notify`: what a command found, told to people who do not look at it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from etl.cli.options import Context
from etl.errors import AlertFailed, StoreError
from etl.settings import escaped

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.alerts import Alert
    from etl.sending import Send

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])

#: Characters of one line: an error's message may be a page.
LONGEST = 300


def notify_option(what: str) -> Callable[[Command], Command]:
    """The option, which says what it tells of."""
    return click.option(
        "--notify",
        is_flag=True,
        help=f"Send an alert of {what}, once, to the addresses that [alerts] names.",
    )


def opened(context: Context) -> Send:
    """What sends to the addresses of the settings: made first, so that a wrong one is told at once.

    Raises ConfigError where there is none, UsageError without the extra.
    """
    from etl import sending

    return sending.sender(context.settings.alert_urls)


def tell(context: Context, engine: Engine, send: Send, alerts: Iterable[Alert]) -> None:
    """Send what is new, and note that it was told. Raises AlertFailed where that went wrong.

    An alert that one address took counts as told, or that one would get it again and again.
    """
    from etl import alerts as telling

    problems: list[str] = []
    for alert in alerts:
        if alert.lines:
            sent = send(alert.title, "\n".join(_line(context, line) for line in alert.lines))
            if sent.taken:
                addresses = "1 address" if sent.taken == 1 else f"{sent.taken:,} addresses"
                log.info('alert sent to %s: "%s"', addresses, alert.title)
            if sent.failed:
                problems.append(
                    f'the alert "{alert.title}" did not reach address {", ".join(sent.failed)}'
                    f"{'' if sent.taken else ', and is sent again the next time'}; -v says why"
                )
            if not sent.taken:
                continue
        try:
            telling.note(engine, alert, dt.datetime.now(dt.UTC))
        except StoreError as error:
            problems.append(f"an alert may be sent twice, for it could not be noted: {error}")
    if problems:
        raise AlertFailed("; ".join(problems))


def _line(context: Context, text: str) -> str:
    line = escaped(context.mask(text))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
