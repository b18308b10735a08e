"""The command line: parse, wire, print, choose the exit code; no logic."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run `ftmirror` with these arguments (default: the process's) and return its exit code."""
    from etl.cli.group import ftmirror

    try:
        ftmirror.main(args, prog_name="ftmirror")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
