"""A directory of files with a manifest, which appears whole or not at all.

Everything is written into a hidden directory beside the wanted one, which takes its place in the
end. Whoever is killed leaves the hidden one behind; the next export takes it away, which it knows
to be dead by its lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import etl
from etl.errors import EtlError, UsageError

MANIFEST = "manifest.json"
#: How a manifest of ours says whose it is.
MADE_BY = "ftmirror export"
_PART, _OLD = ".part", ".old"
#: The format that may be the only copy of what it holds.
LEDGER = "ledger"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _File(msgspec.Struct):
    path: str
    bytes: int
    sha256: str


class _Table(msgspec.Struct):
    name: str
    files: list[_File]


class _Manifest(msgspec.Struct):
    """What must be known of a former export before anything takes its place."""

    made_by: str
    format: str
    taken_at: str
    tables: list[_Table]


@contextmanager
def made(wanted: Path) -> Iterator[Path]:
    """A hidden directory to write into; it becomes the wanted one when the block ends well.

    Its manifest must have been saved by then. Raises UsageError where something else is in that
    place, or a former export that this one must not replace; EtlError where it cannot be written.
    """
    with _plain_errors(wanted):
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


def head(form: str, revision: str, since: datetime | None = None) -> dict[str, Any]:
    """How every manifest begins: the format, the schema's revision, and that it is of now."""
    return {
        "made_by": MADE_BY,
        "version": etl.__version__,
        "schema_revision": revision,
        "format": form,
        "taken_at": _second(datetime.now(UTC)),
        "since": None if since is None else _second(since),
    }


def described(into: Path, path: str, rows: int) -> dict[str, Any]:
    """A file as a manifest names it, when it is on the disk for good."""
    with (into / path).open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    _sync((into / path).parent)
    return {"path": path, "rows": rows, "bytes": size, "sha256": _digest(into / path)}


def save(into: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, whose `tables` name every file; on the disk for good."""
    with (into / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _plain_errors(directory: Path) -> Iterator[None]:
    """What the disk said as one sentence, with what to do."""
    try:
        yield
    except OSError as error:
        # What Delta's own library says comes in colours, and in several lines.
        said = error.strerror or " ".join(_COLOUR.sub("", str(error)).split())
        raise EtlError(
            f"the export to {directory} could not be written: {said}; nothing of it is left there. "
            "Make room or give the right to write there, or name another directory"
        ) from None


def check(target: Path, new: Mapping[str, Any] | None = None) -> None:
    """Raise UsageError unless the place is free, an empty directory, or a former export.

    `new` is the manifest of what would replace that: it must be of the same format and hold all its
    tables. A ledger is never replaced: it may be the only copy of what it holds.
    """
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
        _check_former(target, new)


def _target(wanted: Path) -> Path:
    """Where it really is: what takes its place must stand beside it, on the same disk."""
    target = wanted.resolve()
    if not target.parent.is_dir():
        raise UsageError(f"{wanted}: there is no directory {target.parent}")
    return target


def _check_former(target: Path, new: Mapping[str, Any] | None) -> None:
    """A former export is replaced, but nothing that somebody put beside its files or into them."""
    advice = "name another directory, or empty this one"
    former = _former(target)
    if former is None:
        raise UsageError(f"{target} is not empty, and no former export; {advice}")
    if former.format == LEDGER:
        raise UsageError(
            f"{target} holds a ledger of {former.taken_at}, which nothing replaces; {advice}"
        )
    own = {file.path: file for table in former.tables for file in table.files}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_dir() or name == MANIFEST:
            continue
        if name not in own:
            raise UsageError(f"{path} is not of the former export in {target}; {advice}")
        if path.stat().st_size != own[name].bytes or _digest(path) != own[name].sha256:
            raise UsageError(f"{path} was changed since it was exported; {advice}")
    if new is None:
        return
    if new["format"] != former.format:
        raise UsageError(f"{target} holds an export as {former.format}; {advice}")
    missing = {one.name for one in former.tables} - {one["name"] for one in new["tables"]}
    if missing:
        raise UsageError(f"{target} holds an export with more tables, as {min(missing)}; {advice}")


def _former(target: Path) -> _Manifest | None:
    """The manifest of a former export; None for what is none."""
    try:
        found = msgspec.json.decode((target / MANIFEST).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.made_by == MADE_BY else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    # Once more: it may have been filled meanwhile, and only now is it known what would replace it.
    check(target, json.loads((part / MANIFEST).read_bytes()))
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
