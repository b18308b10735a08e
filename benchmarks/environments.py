"""An environment for each contestant, made once: `build/bench/<name>`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: What the command makes and may be thrown away.
BUILD = ROOT / "build" / "bench"


def requirements(name: str) -> Path:
    """What a contestant needs, pinned."""
    return HERE / f"requirements-{name}.txt"


def python_of(name: str) -> Path:
    """The contestant's Python; ours, where it has no environment of its own."""
    own = BUILD / name / "bin" / "python"
    return own if requirements(name).exists() else Path(sys.executable)


def make(name: str) -> None:
    """Make the environment, unless one with these requirements is there."""
    wanted = requirements(name)
    if not wanted.exists():
        return
    place = BUILD / name
    stamp = place / "requirements.sha256"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing {name} into {place.relative_to(ROOT)} …", file=sys.stderr)
    venv.create(place, clear=True, with_pip=True)
    command = [place / "bin" / "python", "-m", "pip", "install", "-qq", "-r", wanted]
    subprocess.run([*map(str, command), "--disable-pip-version-check"], check=True)
    stamp.write_text(digest)


def versions(name: str, packages: tuple[str, ...]) -> dict[str, str]:
    """What is installed there of these packages."""
    code = "import sys, importlib.metadata as m; [print(m.version(n)) for n in sys.argv[1:]]"
    command = [str(python_of(name)), "-c", code, *packages]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(zip(packages, found.stdout.split(), strict=True))
