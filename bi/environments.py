"""An environment of its own for each tool that must not decide our versions: `build/<name>`."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements(name: str) -> Path:
    """What a tool needs, pinned, with hashes."""
    return ROOT / "config" / name / "requirements.txt"


def bin_of(name: str) -> Path:
    """Where a tool's programs are."""
    return ROOT / "build" / name / "bin"


def make(name: str, python: str = sys.executable, note: str = "") -> Path:
    """Make the environment, unless one with these requirements is there; where its programs are.

    Of several processes that want it at once, one makes it, and the others wait. `python` is what
    it is made with; `note` what to say of it when it is.

    Raises subprocess.CalledProcessError where something cannot be installed, which pip has said.
    """
    place = ROOT / "build" / name
    place.parent.mkdir(exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(name, place, python, note)
    return bin_of(name)


def _make(name: str, place: Path, python: str, note: str) -> None:
    stamp = place / "requirements.sha256"
    wanted = requirements(name)
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing {name} into {place.relative_to(ROOT)}{note} …", file=sys.stderr, flush=True)
    subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
    pip = [bin_of(name) / "python", "-m", "pip", "install", "-qq"]
    pip += ["--disable-pip-version-check", "--require-hashes", "-r", wanted]
    subprocess.run([str(word) for word in pip], check=True)
    stamp.write_text(digest)
