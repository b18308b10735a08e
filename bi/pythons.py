"""A Python that Superset takes, and an environment of its own: it pins an older SQLAlchemy."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bi.bundle import HERE

REQUIREMENTS = HERE / "requirements.txt"
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


def made(place: Path, say: Callable[[str], None]) -> Path:
    """The environment's Python, installed unless it is there with the same requirements.

    Raises NoPython, and CalledProcessError where pip fails.
    """
    stamp = place / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    inside = place / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest:
        return inside
    maker = python()
    say(f"Installing Superset into {place} with {maker} (1 GB; some minutes) …")
    subprocess.run([maker, "-m", "venv", "--clear", str(place)], check=True)
    pip = [str(inside), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(digest)
    return inside
