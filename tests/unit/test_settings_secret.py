"""Secrets: read late, shown never."""

from __future__ import annotations

import copy
import pickle
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from etl.errors import ConfigError
from etl.settings import Secret, Source, load


def printing(code: str) -> str:
    """A key command that runs this Python."""
    return shlex.join([sys.executable, "-c", code])


def from_command(code: str) -> Secret:
    return Secret("command python", command=printing(code))


def told(secret: Secret) -> str:
    with pytest.raises(ConfigError) as caught:
        secret.read()
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_key_is_stripped() -> None:
    secret = Secret.from_text("OPENAI_API_KEY", "  sk-one\n")
    assert secret.value == "sk-one"
    assert secret.read() == "sk-one"
    assert bool(secret)


def test_no_key_is_false_and_empty_and_says_how_to_set_it() -> None:
    secret = Secret("OPENAI_API_KEY")
    assert not secret
    assert secret.value == ""
    assert told(secret) == (
        "no API key: OPENAI_API_KEY is not set; `export OPENAI_API_KEY=…`, "
        "or write it to .env, or name api_key_file in the configuration"
    )


def test_a_missing_admin_key_says_so() -> None:
    assert told(Source().admin_key).startswith("no admin key: OPENAI_ADMIN_KEY is not set;")


@pytest.mark.parametrize("key", ["sk- hush", "sk-\nhush", "sk-\x00hush", "sk-hüsh hush"])
def test_what_cannot_be_a_key_is_refused_without_being_shown(key: str) -> None:
    said = told(Secret("KEY", key))
    assert said.startswith("api_key from KEY holds a space, a line break or another character")
    assert "hush" not in said


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("KEY", "sk-one")
    assert secret.value == "sk-one"
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        repr([secret]),
        repr(Source(api_key=secret)),
        repr(asdict(Source(api_key=secret))),
        repr(pickle.loads(pickle.dumps(secret))),
    ]
    assert "sk-one" not in " ".join(shown)
    assert repr(secret) == "Secret(origin='KEY')"
    assert str(secret) == "<key from KEY>"
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_frozen() -> None:
    secret = Secret("KEY", "sk-one")
    with pytest.raises(AttributeError, match="frozen"):
        secret.origin = "x"
    with pytest.raises(AttributeError, match="frozen"):
        del secret.origin


def test_equal_secrets_come_from_the_same_place() -> None:
    assert Secret("KEY", "sk-one") == Secret("KEY", "sk-one")
    assert Secret("KEY", "sk-one") != Secret("KEY", "sk-two")
    assert Secret("KEY") != "KEY"
    assert len({Secret("KEY", "a"), Secret("KEY", "a")}) == 1


def test_a_copy_still_works() -> None:
    secret = Secret("KEY", "sk-one", setting="admin_key")
    for again in (pickle.loads(pickle.dumps(secret)), copy.deepcopy(secret)):
        assert again == secret
        assert again.value == "sk-one"
        assert again.setting == "admin_key"


def test_a_file_is_read_when_the_key_is_needed_and_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    config = tmp_path / "conf" / "my.toml"
    config.write_text('[[sources]]\nname = "a"\napi_key_file = "openai.key"')
    key = load(config, {}, cwd=tmp_path).sources[0].api_key
    assert key.known == ""
    (tmp_path / "conf" / "openai.key").write_text("sk-file\n")
    assert key.value == "sk-file"
    assert key.known == "sk-file"
    assert key.origin == "file openai.key"
    assert b"sk-file" not in pickle.dumps(key)


def test_an_empty_file_gives_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert told(Secret("file key", file=tmp_path / "key")) == "no API key: file key gives none"


def test_a_file_of_bytes_is_refused_without_showing_them(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"sk-\xff")
    assert told(Secret("file key", file=tmp_path / "key")) == (
        "api_key from file key is not UTF-8 text"
    )


def test_a_command_is_run_once_and_only_when_needed(tmp_path: Path) -> None:
    config = tmp_path / "ftmirror.toml"
    runs = tmp_path / "runs"
    code = f"open({str(runs)!r}, 'a').write('x'); print('sk-command')"
    command = printing(code).replace("\\", "\\\\").replace('"', '\\"')
    config.write_text(f'[[sources]]\nname = "a"\napi_key_command = "{command}"')
    key = load(None, {}, cwd=tmp_path).sources[0].api_key
    assert not runs.exists()
    assert (key.value, key.value) == ("sk-command", "sk-command")
    assert runs.read_text() == "x"
    assert b"sk-command" not in pickle.dumps(Secret("c", command="pass show openai"))


def test_a_command_is_not_given_to_a_shell() -> None:
    secret = Secret("command echo", command="echo sk-$HOME;id")
    assert secret.value == "sk-$HOME;id"


def test_a_failed_command_shows_what_it_said_but_not_what_it_printed() -> None:
    code = (
        "import sys; print('sk-half'); print('vault\\x1b[2J closed', file=sys.stderr); sys.exit(3)"
    )
    said = told(from_command(code))
    assert said == r"api_key from command python ended with code 3: vault\x1b[2J closed"


def test_a_command_that_is_not_there() -> None:
    secret = Secret("command nowhere", command="/nowhere/at/all --token sk-argument")
    said = told(secret)
    assert said.startswith("api_key from command nowhere cannot be run: ")
    assert "sk-argument" not in said


def test_a_command_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.settings.secret.COMMAND_TIMEOUT", 0.2)
    secret = from_command("import time; print('sk-half', flush=True); time.sleep(60)")
    assert told(secret) == "api_key from command python gave no key within 0.2 seconds"


def test_only_the_program_of_a_command_is_named(tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(
        '[[sources]]\nname = "a"\napi_key_command = "vault read -token=hvs.secret x"'
    )
    key = load(None, {}, cwd=tmp_path).sources[0].api_key
    assert key.origin == "command vault"
