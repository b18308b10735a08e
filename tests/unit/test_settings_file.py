"""config/ftmirror.toml: what it shows is valid, complete and true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from etl.settings import Limit, Settings, Source, load
from etl.settings.budget import ALERTS_KEYS, BUDGET_KEYS, LIMIT_KEYS
from etl.settings.loading import DATABASE_KEYS, KEYS, PRICES_KEYS
from etl.settings.sources import KEYS as SOURCE_KEYS

FILE = Path(__file__).parents[2] / "config" / "ftmirror.toml"
TEXT = FILE.read_text(encoding="utf-8")
#: `#` and no space is a setting that is switched off.
SWITCHED_ON = re.sub(r"(?m)^#(?=[a-z\[])", "", TEXT)


def test_as_it_is_it_says_the_defaults(tmp_path: Path) -> None:
    settings = load(FILE, {}, cwd=tmp_path)
    assert settings == Settings(path=FILE)


def test_with_everything_switched_on_it_is_valid(tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(SWITCHED_ON, encoding="utf-8")
    sources = load(None, {"PORTKEY_API_KEY": "x"}, cwd=tmp_path).sources
    assert [source.provider for source in sources] == ["openai", "azure", "compatible"]


def test_the_first_source_says_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(SWITCHED_ON, encoding="utf-8")
    source = load(None, {}, cwd=tmp_path).sources[0]
    assert source == Source(name="research", organization="org-abc", project="proj_abc")


def test_every_known_key_is_in_it() -> None:
    said = tomllib.loads(SWITCHED_ON)
    assert set(said) == set(KEYS)
    assert set(said["database"]) == set(DATABASE_KEYS)
    assert set(said["prices"]) == set(PRICES_KEYS)
    assert {key for source in said["sources"] for key in source} == set(SOURCE_KEYS)
    assert set(said["budget"]) == set(BUDGET_KEYS)
    assert {key for limit in said["budget"]["limits"] for key in limit} == set(LIMIT_KEYS)
    # Only one of them can be set at a time; the comment above it names the others.
    assert set(said["alerts"]) == {"urls_env"}
    assert [key for key in ALERTS_KEYS if key not in TEXT] == []


def test_the_limits_are_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(SWITCHED_ON, encoding="utf-8")
    settings = load(None, {"FTMIRROR_ALERT_URLS": "json://127.0.0.1"}, cwd=tmp_path)
    assert settings.limits == (
        Limit(500_000_000),
        Limit(99_500_000, "proj_abc", (("team", "search"),)),
    )
    assert settings.alert_urls.read() == "json://127.0.0.1"


@pytest.mark.parametrize(
    "key",
    [*DATABASE_KEYS, *PRICES_KEYS, *SOURCE_KEYS, *BUDGET_KEYS[:1], *LIMIT_KEYS, *ALERTS_KEYS[:1]],
)
def test_every_key_is_explained_on_the_line_above_or_with_its_sibling(key: str) -> None:
    lines = TEXT.splitlines()
    number = next(n for n, line in enumerate(lines) if re.match(rf"#?{key} = ", line))
    stem = re.sub(r"^admin_key", "api_key", key)
    above = lines[number - 1]
    assert above.startswith(("# ", f"#{stem} = ", "#[[sources]]", "#organization = "))


def test_its_lines_fit() -> None:
    assert [line for line in TEXT.splitlines() if len(line) > 100] == []
