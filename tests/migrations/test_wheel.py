"""What is installed is the wheel, not the checkout: it must bring its migrations and settings."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from etl.db import migrate

ROOT = Path(__file__).parents[2]

#: Run with the unpacked wheel in place of the checkout.
MIGRATE = """
import sys
sys.path[:] = [path for path in sys.path if path not in ("", {root!r})]
sys.path.insert(0, {wheel!r})
sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in repr(one).lower()]
import etl
assert etl.__file__.startswith({wheel!r}), etl.__file__
from etl.cli import main
from etl.db import migrate
assert str(migrate.directory()).startswith({wheel!r}), migrate.directory()
for words in (["db", "upgrade"], ["db", "current"], ["db", "check"], ["prices", "check"]):
    code = main([*words, "--database-url", "sqlite:///mirror.db"])
    assert code == 0, (words, code)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_it_holds_every_module_view_and_migration(wheel: Path) -> None:
    sources = [
        *(path.relative_to(ROOT) for path in (ROOT / "etl").rglob("*.py")),
        *(path.relative_to(ROOT) for path in (ROOT / "etl" / "sql").rglob("*.*")),
        *(
            Path("etl/_migrations") / path.relative_to(ROOT / "migrations")
            for path in (ROOT / "migrations").rglob("*")
            if path.suffix in (".py", ".mako")
        ),
    ]
    assert {path.as_posix() for path in sources} <= names(wheel)
    settings = {"etl/_config/ftmirror.toml", "etl/_config/prices.toml"}
    assert {"etl/py.typed"} | settings <= names(wheel)


def test_it_holds_nothing_else(wheel: Path) -> None:
    """No tests, no caches, no package beside ours."""
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"etl"}
    assert not {name for name in names(wheel) if "test" in name or "__pycache__" in name}


def test_it_has_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (info,) = {name.split("/")[0] for name in opened.namelist() if ".dist-info/" in name}
        assert "ftmirror = etl.cli:main" in opened.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in opened.namelist()


def test_its_settings_are_those_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        for name in ("ftmirror.toml", "prices.toml"):
            packed = opened.read(f"etl/_config/{name}")
            assert packed == (ROOT / "config" / name).read_bytes()


def test_a_database_is_migrated_from_it_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(unpacked)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = MIGRATE.format(root=str(ROOT), wheel=str(unpacked))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"schema {migrate.head()}" in done.stdout
    assert "the price book is fine: 18 prices" in done.stdout
    assert (elsewhere / "mirror.db").exists()
