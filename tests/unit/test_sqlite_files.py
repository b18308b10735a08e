"""A new SQLite file is its owner's alone, whatever the umask, and so is what stands beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from etl.db.engine import open_engine, sqlite_file, writing

PRIVATE = 0o600


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The permissions of all files there, links not followed."""
    return {
        path.name: stat.S_IMODE(path.lstat().st_mode)
        for path in folder.iterdir()
        if path.is_file() and not path.is_symlink()
    }


def written(url: str, folder: Path) -> dict[str, int]:
    """The permissions of all files while a transaction is open that wrote something."""
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS t (a)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
        found = modes(folder)
    engine.dispose()
    return found


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o277, 0o777])
def test_a_new_file_and_its_log_are_private(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        found = written(f"sqlite:///{tmp_path / 'm.db'}", tmp_path)
    assert found == {"m.db": PRIVATE, "m.db-wal": PRIVATE, "m.db-shm": PRIVATE}


@pytest.mark.parametrize("name", ["file:{}/m.db", "file:{}/%6d.db", "file://localhost{}/m.db"])
def test_so_is_one_that_is_named_by_a_url_of_sqlites_own(tmp_path: Path, name: str) -> None:
    with umask(0):
        found = written(f"sqlite:///{name.format(tmp_path)}?uri=true&mode=rwc", tmp_path)
    assert found == {"m.db": PRIVATE, "m.db-wal": PRIVATE, "m.db-shm": PRIVATE}


def test_so_is_one_behind_a_link(tmp_path: Path) -> None:
    """Where the link was there first."""
    (tmp_path / "there").mkdir()
    (tmp_path / "m.db").symlink_to(tmp_path / "there" / "m.db")
    with umask(0):
        found = written(f"sqlite:///{tmp_path / 'm.db'}", tmp_path / "there")
    assert found["m.db"] == PRIVATE
    assert set(found.values()) == {PRIVATE}


def test_a_link_to_itself_is_an_error_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "m.db").symlink_to(tmp_path / "m.db")
    with pytest.raises(Exception, match="unable to open database file"):
        written(f"sqlite:///{tmp_path / 'm.db'}", tmp_path)


def test_the_permissions_of_a_file_that_is_there_stay(tmp_path: Path) -> None:
    """Somebody chose them."""
    (tmp_path / "m.db").touch()
    (tmp_path / "m.db").chmod(0o640)
    found = written(f"sqlite:///{tmp_path / 'm.db'}", tmp_path)
    assert found == {"m.db": 0o640, "m.db-wal": 0o640, "m.db-shm": 0o640}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///m.db", "m.db"),
        ("sqlite:////a/m.db", "/a/m.db"),
        ("sqlite:///file:m.db?uri=true", "m.db"),
        ("sqlite:///file:/a/m%20n.db?uri=1&mode=ro", "/a/m n.db"),
        ("sqlite:///file:///a/m.db?uri=true", "/a/m.db"),
        ("sqlite:///file:m.db", "file:m.db"),
        ("sqlite:///file:m.db?uri=false", "file:m.db"),
        ("sqlite:///file:m?mode=memory&uri=true", None),
        ("sqlite:///file::memory:?uri=true", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://h/m.db", None),
    ],
)
def test_the_file_of_a_url(url: str, path: str | None) -> None:
    assert sqlite_file(make_url(url)) == (None if path is None else Path(path))
