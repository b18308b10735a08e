"""How many requests may be under way at once: by default, by the configuration, by an option."""

from __future__ import annotations

from pathlib import Path

import pytest

import etl.cli
from etl.errors import ConfigError
from etl.settings import load
from tests.http_server import serve
from tests.moving import Moving

pytestmark = pytest.mark.usefixtures("far_server")


def test_the_option_goes_before_the_configuration_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    moving = Moving(1500)

    def at_once(*words: str, wanted: int = 1) -> int:
        moving.most_at_once, moving.wanted_at_once = 0, wanted
        listing = ["sync", "--resource", "jobs", "--mode", "full", "--progress", "none"]
        assert etl.cli.main([*listing, *words]) == 0
        return moving.most_at_once

    with serve(moving.answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert at_once() == 1  # nothing is known yet that could be cut
        assert at_once(wanted=3) == 3  # 15 pages are three ranges
        assert at_once("--workers", "1") == 1
        Path("ftmirror.toml").write_text('[[sources]]\nname = "default"\nworkers = 1\n')
        assert at_once() == 1
        assert at_once("--workers", "2", wanted=2) == 2


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_a_number_that_cannot_be_is_refused(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert etl.cli.main(["sync", "--workers", workers]) == 2
    assert "--workers" in capsys.readouterr().err


def test_the_configuration_refuses_it_too(tmp_path: Path) -> None:
    file = tmp_path / "ftmirror.toml"
    for workers, said in (("0", "must be 1 or more"), ("65", "is above 64")):
        file.write_text(f'[[sources]]\nname = "a"\nworkers = {workers}\n')
        with pytest.raises(ConfigError, match=f"workers: {said}"):
            load(None, {}, cwd=tmp_path)
    file.write_text('[[sources]]\nname = "a"\nworkers = 8\n')
    assert load(None, {}, cwd=tmp_path).sources[0].workers == 8
