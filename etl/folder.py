"""A directory of files with a manifest, which appears whole or not at all.

Everything is written into a hidden directory beside the wanted one, and takes its place in the end.
Who writes there holds the lock of the hidden one, so there is one at a time. Whoever is killed
leaves it behind; the next export to the same place knows by the lock that nobody is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import etl
from etl.errors import EtlError, UsageError

MANIFEST = "manifest.json"
#: How a manifest of ours says whose it is.
MADE_BY = "ftmirror export"
#: The format that may be the only copy of what it holds.
LEDGER = "ledger"
#: Within the hidden directory: what is being written, and what it takes the place of.
_NEW, _OLD = "new", "old"
#: Names of tables in an error; of more, how many.
_NAMED = 3

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


_manifest = msgspec.json.Decoder(_Manifest).decode


@contextmanager
def made(wanted: Path, form: str) -> Iterator[Path]:
    """A hidden directory to write into; it becomes the wanted one when the block ends well.

    Its manifest must have been saved by then. Raises UsageError where something else is in that
    place, or a former export that one of this format must not replace; EtlError where it cannot be
    written, or another export is writing there.
    """
    with _plain_errors(wanted):
        target = _target(wanted)
        with _room(target) as room:
            check(target, form)
            new = room / _NEW
            new.mkdir(mode=0o700)
            yield new
            _put(room, target, form)


def require_tables(wanted: Path, names: Collection[str]) -> None:
    """Raise UsageError where a former export there has a table that the new one would not have."""
    target = wanted.resolve()
    former = _former(target)
    missing = sorted({one.name for one in former.tables} - {*names}) if former else []
    if missing:
        more = len(missing) - _NAMED
        said = ", ".join(missing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise UsageError(
            f"{target} holds an export with tables that this one would not have: {said}; name "
            "another directory, or remove it first"
        )


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
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    return {"path": path, "rows": rows, "bytes": size, "sha256": digest}


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


def check(target: Path, form: str) -> None:
    """Raise UsageError unless the place is free, empty, or a former export of this format."""
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
        _check_former(target, form)


def _target(wanted: Path) -> Path:
    """Where it really is: what takes its place must stand beside it, on the same disk."""
    target = wanted.resolve()
    if not target.parent.is_dir():
        raise UsageError(f"{wanted}: there is no directory {target.parent}")
    return target


def _former(target: Path) -> _Manifest | None:
    """What the manifest of a former export says; None where there is none that is whole."""
    with suppress(OSError, ValueError, RecursionError, msgspec.MsgspecError):
        manifest = _manifest((target / MANIFEST).read_bytes())
        return manifest if manifest.made_by == MADE_BY else None
    return None


def _check_former(target: Path, form: str) -> None:
    """A former export is replaced, but nothing that somebody put beside its files, or changed."""
    former = _former(target)
    advice = "name another directory, or empty this one"
    if former is None:
        raise UsageError(f"{target} is not empty, and no former export; {advice}")
    if former.format == LEDGER:
        raise UsageError(
            f"{target} holds a ledger export of {former.taken_at}, which nothing replaces; name "
            "another directory, or remove it first"
        )
    if former.format != form:
        raise UsageError(
            f"{target} holds an export of the format {former.format}, which one of the format "
            f"{form} does not replace; name another directory, or remove it first"
        )
    own = {file.path: file for table in former.tables for file in table.files}
    found = {
        path.relative_to(target).as_posix(): path
        for path in sorted(target.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    for name, path in found.items():
        if name != MANIFEST and name not in own:
            raise UsageError(f"{path} is not of the former export in {target}; {advice}")
    for name, file in own.items():
        # Only what was found is opened: a manifest can name any path of the machine.
        if name not in found or not _is_as_written(found[name], file):
            raise UsageError(
                f"{target / name} was changed since it was exported; name another directory"
            )


def _is_as_written(path: Path, file: _File) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


@contextmanager
def _room(target: Path) -> Iterator[Path]:
    """The hidden directory beside the target, which nobody else works in meanwhile."""
    room = target.parent / f".{target.name}.ftmirror-part"
    lock = _locked(room, target)
    try:
        _tidy(room, target)
        yield room
    finally:
        try:
            _tidy(room, target)
            with suppress(OSError):  # what else may be in it is not ours
                room.rmdir()
        finally:
            os.close(lock)


def _locked(room: Path, target: Path) -> int:
    """The lock of the hidden directory, which is made where there is none: a file descriptor.

    Raises EtlError where another has it.
    """
    while True:
        is_ours = True
        try:
            room.mkdir(mode=0o700)
        except FileExistsError:
            is_ours = False
        try:
            lock = os.open(room, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # whose it was is done with it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_ours and os.fstat(lock).st_uid != os.geteuid():
                # Who owns it could change what is written in it.
                raise EtlError(f"{room} belongs to another user; name another directory")
            if os.path.samestat(os.fstat(lock), os.lstat(room)):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise EtlError(
                f"another export is writing to {target}; wait for it, or name another directory"
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _tidy(room: Path, target: Path) -> None:
    """Take away what is in the hidden directory; bring back what was put aside for nothing."""
    old = room / _OLD
    if old.is_dir() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(room / _NEW, ignore_errors=True)


def _put(room: Path, target: Path, form: str) -> None:
    """Let the finished directory take the place of the target."""
    new, old = room / _NEW, room / _OLD
    check(target, form)  # once more: it may have been filled meanwhile
    finished = _former(new)
    require_tables(target, {one.name for one in finished.tables} if finished else ())
    for directory, _, _ in os.walk(new):
        _sync(Path(directory))
    if target.exists():
        new.chmod(target.stat().st_mode & 0o777)
        if any(target.iterdir()):
            # Whoever is stopped from here on leaves it to `_tidy` to bring the old one back.
            target.rename(old)
    new.rename(target)  # also over an empty one
    _sync(target.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
