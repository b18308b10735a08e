"""What the command line says when something goes wrong in an odd place: never a secret."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import etl.cli
from etl.cli import failures
from etl.cli.group import LazyGroup
from etl.cli.options import Context, command
from etl.errors import StoreError

KEY = "a-key-that-looks-like-none"


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def run(body: Callable[[Context], int | None], *args: str) -> Result:
    """A command line whose only command `act` does this."""

    @command("act", example="ftmirror act")
    def act(context: Context) -> int | None:
        """Do it."""
        return body(context)

    made = LazyGroup("ftmirror")
    made.add_command(act)
    return CliRunner().invoke(made, [*args, "act"], prog_name="ftmirror")


def test_a_thread_that_ends_by_an_error_is_told_of_as_a_bug() -> None:
    """As any other; Python itself would print what the error says as it is."""

    def body(_: Context) -> None:
        def fail() -> None:
            raise ValueError(f"refused {KEY}")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()

    result = run(body)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert result.stderr.splitlines()[-2:] == [
        "error: ValueError: refused ***",
        "hint: this is a bug in ftmirror; please report it with the lines above",
    ]
    assert KEY not in result.stderr


def test_so_is_what_goes_wrong_while_something_is_thrown_away() -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError(f"refused {KEY}")

    def body(_: Context) -> None:
        Fails()

    result = run(body)
    assert "error: ValueError: refused ***" in result.stderr
    assert KEY not in result.stderr


def test_hooks_of_others_are_back_afterwards() -> None:
    before = threading.excepthook, sys.unraisablehook
    run(lambda _: None)
    assert (threading.excepthook, sys.unraisablehook) == before


def test_a_long_cause_is_masked_before_it_is_cut() -> None:
    """Or the begin of a secret at the cut would be shown."""

    def body(_: Context) -> None:
        raise StoreError("no") from OSError("x" * 290 + KEY)

    result = run(body)
    assert result.stderr.splitlines() == ["error: no", f"because: {'x' * 290}***"]


def test_an_error_that_cannot_be_told_is_named_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Python would print both, with all they say."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"also {KEY}")

    def body(_: Context) -> None:
        raise StoreError(f"refused {KEY}")

    monkeypatch.setattr(failures, "_tell", broken)
    result = run(body)
    assert result.exit_code == 1
    assert result.stderr == "error: StoreError, which could not be told: RuntimeError\n"


def test_an_error_before_the_settings_are_read_is_masked() -> None:
    def body(_: Context) -> None:
        raise ValueError(f"with {KEY}")

    assert "error: ValueError: with ***" in run(body).stderr


@pytest.mark.parametrize("password", ["zq[word", "zq]word:1", "%5Bzq%2Fword%3F"])
def test_a_database_that_is_down_is_told_of_whatever_its_password(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets are no address of a host."""
    monkeypatch.setenv("FTMIRROR_DATABASE_URL", f"postgresql://me:{password}@127.0.0.1:1/db")
    assert etl.cli.main(["status", "-vv"]) == 1
    said = capsys.readouterr().err
    assert "(postgresql+psycopg://me:***@127.0.0.1:1/db)" in said
    assert "zq" not in said


def test_a_password_on_the_command_line_is_warned_of() -> None:
    """It stands in the list of processes, and in the history of the shell."""
    said = run(lambda _: None, "--database-url", "postgresql://me:pass-word@db/x").stderr
    assert said == (
        "warning: while this runs, every user of this machine can see the password in "
        "--database-url; put the URL into FTMIRROR_DATABASE_URL\n"
    )
    assert run(lambda _: None, "--database-url", "postgresql://me@db/x").stderr == ""


def test_others_do_not_log_what_holds_a_key() -> None:
    """urllib3 would log whole addresses."""

    def body(context: Context) -> None:
        assert context.settings
        logging.getLogger("urllib3.connectionpool").info("GET /v1?sig=secret")
        logging.getLogger("urllib3.connectionpool").warning("GET /v1?sig=secret")

    import etl.api  # noqa: F401 - it is what quiets urllib3

    assert "sig=secret" not in run(body, "-vvv").stderr


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What `ftmirror check` says of secrets."""

    def call() -> list[str]:
        assert etl.cli.main(["check"]) == 1  # nobody listens at port 1
        # What goes on below begins under the text: a path may be as long as it likes.
        said = re.sub(r"\n {8}", " ", capsys.readouterr().out)
        return [line for line in said.splitlines() if "secrets" in line]

    return call


def test_a_key_file_that_all_may_read_is_noted(
    check: Callable[[], list[str]], tmp_path: Path
) -> None:
    """And works all the same: where secrets are mounted, the folder above may be what is closed."""
    base = 'base_url = "http://127.0.0.1:1/v1"'
    Path("ftmirror.toml").write_text(
        f'[[sources]]\nname = "a"\napi_key_file = "a.key"\nadmin_key_file = "admin.key"\n{base}\n'
        f'[[sources]]\nname = "b"\napi_key_file = "a.key"\n{base}\n'
    )
    for name, mode in (("a.key", 0o644), ("admin.key", 0o640)):
        Path(name).write_text("sk-1")
        Path(name).chmod(mode)
    said = (
        f"no      secrets: every user of this machine may read {tmp_path / 'a.key'}; `chmod 600` it"
    )
    assert check() == [said]
    Path("a.key").chmod(0o600)
    assert check() == []


def test_so_are_env_files_and_settings_with_a_password(check: Callable[[], list[str]]) -> None:
    Path("ftmirror.toml").write_text(
        '[database]\nurl = "postgresql://me:pass-word@127.0.0.1:1/db"\n'
        '[[sources]]\nname = "a"\nbase_url = "http://127.0.0.1:1/v1"\n'
    )
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    for name in ("ftmirror.toml", ".env"):
        Path(name).chmod(0o644)
    first, second = check()
    assert ".env; `chmod 600` it" in first
    assert "ftmirror.toml; `chmod 600` it" in second
    Path(".env").chmod(0o600)
    text = Path("ftmirror.toml").read_text().replace(":pass-word", "")
    Path("ftmirror.toml").write_text(text)
    assert check() == []
