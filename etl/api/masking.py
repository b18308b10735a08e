"""What others wrote, made fit to be shown: short, one line, without our secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from etl.settings import Source
from etl.settings.masking import MASK, finder, unshaped

#: Characters of a server's text that are shown.
SHOWN = 300

# Shorter values are no secrets, and masking them would eat ordinary words.
_SHORTEST = 4
# Wider than what is hidden in every text: here it eats at most a word of a server's sentence.
_SECRET_NAME = re.compile(r"key|token|secret|passw|sig|code|auth", re.IGNORECASE)


class Cleaner:
    """Makes a server's text showable: masks a source's secrets and others, folds the lines."""

    def __init__(self, source: Source, others: Iterable[str] = ()) -> None:
        values = {*source.secrets(), *others}
        for _, value in source.extra_headers:
            # `Bearer abc` may be echoed as `abc`.
            values.update((value, *value.split()))
        values.update(value for name, value in source.extra_query if _SECRET_NAME.search(name))
        self._secret = finder(values, _SHORTEST)

    def __call__(self, text: str, limit: int = SHOWN) -> str:
        """`text` on one line of at most `limit` characters, its secrets masked.

        So is what only looks like one: a gateway may quote a key of its own.
        """
        masked = unshaped(self._secret.sub(MASK, text))
        # Lone surrogates cannot be printed; control characters can rewrite a terminal.
        printable = "".join(c if c.isprintable() else " " for c in masked)
        line = " ".join(printable.split())
        return line if len(line) <= limit else line[: limit - 1] + "…"
