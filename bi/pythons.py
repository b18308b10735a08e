"""A Python that Superset takes."""

from __future__ import annotations

import shutil
import subprocess
import sys

#: The Pythons that Superset 6.1 installs on, and what they are called.
WANTED = ((3, 12), (3, 11))


class NoPython(Exception):
    """This machine has no Python that Superset takes."""


def python() -> str:
    """A Python of a version that Superset takes: this one, else one on the path.

    Raises NoPython, naming what was looked for.
    """
    tried = [sys.executable, *(f"python{major}.{minor}" for major, minor in WANTED), "python3"]
    for name in tried:
        found = shutil.which(name)
        if found is not None and _version(found) in WANTED:
            return found
    looked = ", ".join(dict.fromkeys(tried))
    raise NoPython(
        f"Superset needs Python 3.11 or 3.12, and none was found; looked for: {looked}.\n"
        "Install one, or put the folder that has it on PATH."
    )


def _version(command: str) -> tuple[int, ...] | None:
    """Its version; None where it does not run, as pyenv's stand-ins for what is switched off."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run(
            [command, "-c", code], check=True, capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(map(int, said.split()))
