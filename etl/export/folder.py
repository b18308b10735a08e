"""A directory that appears whole or not at all.

Everything is written into a hidden directory beside the wanted one, which takes its place in the
end. Whoever is killed leaves the hidden one behind; the next export takes it away, which it knows
to be dead by its lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from etl.errors import UsageError

MANIFEST = "manifest.json"
#: How a manifest of ours says whose it is.
MADE_BY = "ftmirror export"
_PART, _OLD = ".part", ".old"


@contextmanager
def made(wanted: Path) -> Iterator[Path]:
    """A hidden directory to write into; it becomes the wanted one when the block ends well.

    Raises UsageError where something else is in that place, OSError where it cannot be written.
    """
    target = _target(wanted)
    _tidy(target)
    check(target)
    part, lock = _hidden(target)
    try:
        yield part
        _put(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def check(target: Path) -> None:
    """Raise UsageError unless the place is free, an empty directory, or a former export."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is no directory; name another")
    if not target.exists():
        return
    if target.is_mount() or target == Path.cwd():
        what = "a mount point" if target.is_mount() else "the current directory"
        raise UsageError(
            f"{target} is {what}, which no export can take the place of; name a directory in it"
        )
    if any(target.iterdir()):
        _check_former(target)


def _target(wanted: Path) -> Path:
    """Where it really is: what takes its place must stand beside it, on the same disk."""
    target = wanted.resolve()
    if not target.parent.is_dir():
        raise UsageError(f"{wanted}: there is no directory {target.parent}")
    return target


def _check_former(target: Path) -> None:
    """A former export is replaced, but nothing that somebody put beside its files."""
    advice = "name another directory, or empty this one"
    manifest: Any = None
    with suppress(OSError, ValueError):
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or manifest.get("made_by") != MADE_BY:
        raise UsageError(f"{target} is not empty, and no former export; {advice}")
    own = {MANIFEST, *(file["path"] for one in manifest["tables"] for file in one["files"])}
    for path in sorted(target.rglob("*")):
        if not path.is_dir() and path.relative_to(target).as_posix() not in own:
            raise UsageError(f"{path} is not of the former export in {target}; {advice}")


def _hidden(target: Path) -> tuple[Path, int]:
    """A new directory beside the target, and the lock that says that somebody works in it."""
    while True:
        made_at = tempfile.mkdtemp(prefix=_prefix(target), suffix=_PART, dir=target.parent)
        lock = _locked(Path(made_at))
        if lock is not None:
            return Path(made_at), lock


def _prefix(target: Path) -> str:
    return f".{target.name}.ftmirror-"


def _locked(path: Path) -> int | None:
    """The lock of a directory, as a file descriptor; None where another has it, or it is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _tidy(target: Path) -> None:
    """Take away what exports that were killed left behind; bring back what one had put aside."""
    for path in target.parent.glob(f"{_glob(_prefix(target))}*"):
        if path.suffix not in (_PART, _OLD):
            continue
        lock = _locked(path)
        if lock is None:
            continue
        if path.suffix == _OLD and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _glob(text: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)


def _put(part: Path, target: Path) -> None:
    """Let the finished directory take the place of the target."""
    check(target)  # once more: it may have been filled meanwhile
    if target.exists():
        part.chmod(target.stat().st_mode & 0o777)
    if not (target.exists() and any(target.iterdir())):
        part.rename(target)  # also over an empty one
        _sync(target.parent)
        return
    aside = part.with_suffix(_OLD)
    target.rename(aside)
    try:
        part.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
