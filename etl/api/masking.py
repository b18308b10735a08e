"""What others wrote, made fit to be shown: short, one line, without our secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from etl.settings import Source

#: Characters of a server's text that are shown.
SHOWN = 300

#: What stands where a secret was.
MASK = "***"

# Shorter values are no secrets, and masking them would eat ordinary words.
_SHORTEST = 4
_SECRET_NAME = re.compile(r"key|token|secret|passw|sig|code|auth", re.IGNORECASE)


class Cleaner:
    """Makes a server's text showable: masks a source's secrets and others, folds the lines."""

    def __init__(self, source: Source, others: Iterable[str] = ()) -> None:
        # What nobody has read yet, nobody has sent.
        values = {source.api_key.known, source.admin_key.known, *source.hidden, *others}
        for _, value in source.extra_headers:
            # `Bearer abc` may be echoed as `abc`.
            values.update((value, *value.split()))
        values.update(value for name, value in source.extra_query if _SECRET_NAME.search(name))
        # Longest first: a secret may be part of another one.
        secrets = sorted((v for v in values if len(v) >= _SHORTEST), key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, secrets)) or r"(?!)")

    def __call__(self, text: str, limit: int = SHOWN) -> str:
        """`text` on one line of at most `limit` characters, its secrets masked."""
        masked = self._secret.sub(MASK, text)
        # Lone surrogates cannot be printed; control characters can rewrite a terminal.
        printable = "".join(c if c.isprintable() else " " for c in masked)
        line = " ".join(printable.split())
        return line if len(line) <= limit else line[: limit - 1] + "…"
