"""The command line: parse, wire, print, choose the exit code; no logic."""

from __future__ import annotations

import gc
from collections.abc import Sequence

#: New objects from which Python looks for cycles of garbage. A run makes millions and hardly a
#: cycle, and imports none at all: left alone, the search takes a tenth of the time.
_COLLECT_FROM = 1_000_000


def main(args: Sequence[str] | None = None) -> int:
    """Run `ftmirror` with these arguments (default: the process's) and return its exit code."""
    is_process = args is None
    if is_process:
        gc.set_threshold(_COLLECT_FROM)
    from etl.cli.group import ftmirror

    try:
        ftmirror.main(args, prog_name="ftmirror")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if is_process:
            gc.freeze()  # nor at the end: the process ends anyway
    return 0
