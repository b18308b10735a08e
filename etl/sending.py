"""Send a message to people's chat, mail or pager, through apprise."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etl.errors import ConfigError, UsageError
from etl.settings import Secret, split_addresses

log = logging.getLogger(__name__)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")


@dataclass(frozen=True)
class Sent:
    """What became of one message."""

    #: How many addresses took it.
    taken: int
    #: Those that did not, each as `number 2 (slack)`: an address itself is a secret.
    failed: tuple[str, ...]


Send = Callable[[str, str], Sent]


def sender(urls: Secret) -> Send:
    """What sends a title and a text to each of these addresses.

    Raises ConfigError where there is none, or one that nothing can be sent to; UsageError without
    the extra `alerts`.
    """
    try:
        import apprise  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError:
        raise UsageError("alerts need apprise: pip install 'ftmirror[alerts]'") from None

    # One after the other, in this thread: nothing is left running behind.
    asset = apprise.AppriseAsset(app_id="ftmirror", async_mode=False)
    found: list[tuple[str, Any]] = []
    problems: list[str] = []
    with _Quiet():
        for number, url in enumerate(split_addresses(urls.read()), start=1):
            scheme = _SCHEME.match(url)
            name = f"number {number} ({scheme[0]})" if scheme else f"number {number}"
            address = apprise.Apprise(asset=asset)
            if address.add(url):
                found.append((name, address))
            else:
                problems.append(
                    f"alerts: address {name} of {urls.origin} is none that apprise knows; "
                    "write it as https://appriseit.com/services/ says"
                )
    if problems:
        raise ConfigError(problems)

    def send(title: str, text: str) -> Sent:
        failed = []
        with _Quiet():
            for name, address in found:
                if not address.notify(
                    text,
                    title=title,
                    notify_type=apprise.NotifyType.WARNING,
                    body_format=apprise.NotifyFormat.TEXT,
                ):
                    failed.append(name)
        return Sent(len(found) - len(failed), tuple(failed))

    return send


class _Quiet(logging.Handler):
    """What apprise says of an address, as a detail of ours: it warns with pieces of addresses.

    Its first address loads all of its hundred services, and what they need is not ours to mend:
    Python's warnings of that are not shown.
    """

    _ITS = logging.getLogger("apprise")

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._before = self._ITS.propagate, self._ITS.level
        self._ITS.propagate = False
        self._ITS.setLevel(logging.WARNING)
        self._ITS.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._ITS.removeHandler(self)
        self._ITS.propagate, self._ITS.level = self._before
        self._warnings.__exit__(None, None, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Say it to whoever asked for details; our own handler masks what is secret."""
        log.debug("apprise: %s", record.getMessage())
