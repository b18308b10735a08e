"""The frame of the command line: options, exit codes, errors, output."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from etl.cli import main, output
from etl.cli.failures import Terminated
from etl.cli.group import COMMANDS, LazyGroup, ftmirror
from etl.cli.options import DATE, DURATION, KEY_VALUE, Context, command, metadata
from etl.errors import (
    ApiError,
    ConfigError,
    EtlError,
    Exchange,
    LeaseHeld,
    RecordError,
    SchemaOutOfDate,
    StoreError,
    UsageError,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the developer's, no terminal, an empty folder."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_", "FTMIRROR_")) or name in {"NO_COLOR", "COLUMNS"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def group(body: Callable[[Context], int | None]) -> LazyGroup:
    """A command line whose only command `act` does this."""

    @command("act", example="ftmirror act")
    @click.option("--json", "as_json", is_flag=True)
    def act(context: Context, *, as_json: bool) -> int | None:
        """Do it."""
        return body(context)

    made = LazyGroup("ftmirror")
    made.add_command(act)
    return made


def run(body: Callable[[Context], int | None], *args: str) -> Result:
    return CliRunner().invoke(group(body), args or ["act"], prog_name="ftmirror")


def raising(error: BaseException, *args: str) -> Result:
    def body(context: Context) -> None:
        raise error

    return run(body, *args)


def context_of(*args: str) -> Context:
    seen: list[Context] = []
    result = run(seen.append, *args)
    assert result.exit_code == 0, result.output
    return seen[0]


# Options


def test_common_options_stand_before_or_after_the_name() -> None:
    expected = Context(Path("a.toml"), "sqlite:///a.db", 2, "json", "none")
    words = ["--config=a.toml", "--database-url=sqlite:///a.db", "-vv", "--log-format=json"]
    words.append("--progress=none")
    assert context_of(*words, "act") == expected
    assert context_of("act", *words) == expected
    assert context_of(*words[:2], "act", *words[2:]) == expected
    assert context_of("act") == Context()


def test_after_the_name_wins() -> None:
    context = context_of("--config", "a", "-v", "--progress", "bar", "act", "--config", "b", "-q")
    assert context == Context(Path("b"), None, -1, progress="bar")


def test_common_options_are_taken_by_groups_of_groups() -> None:
    seen: list[Context] = []

    @command("up", example="ftmirror db up")
    def up(context: Context) -> None:
        """Do it."""
        seen.append(context)

    top, db = LazyGroup("ftmirror"), LazyGroup("db", help="The schema.")
    db.add_command(up)
    top.add_command(db)
    args = ["--config", "a", "db", "--progress", "log", "up", "-v"]
    assert CliRunner().invoke(top, args).exit_code == 0
    assert seen == [Context(Path("a"), None, 1, progress="log")]
    assert CliRunner().invoke(top, ["db"]).exit_code == 2
    assert "did you mean up?" in CliRunner().invoke(top, ["db", "upp"]).stderr


def test_settings_are_loaded_when_asked_for_and_their_secrets_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FTMIRROR_DATABASE_URL", "postgresql://me:hunter22@db/x")
    monkeypatch.setenv("OPENAI_API_KEY", "unusual-key-1")

    def body(context: Context) -> None:
        assert context.settings is context.settings
        logging.getLogger("etl").warning("with unusual-key-1 and hunter22")
        raise StoreError("hunter22 was refused")

    result = run(body)
    assert result.stderr == "warning: with *** and ***\nerror: *** was refused\n"


def test_all_problems_of_the_settings_are_told_and_the_code_is_2() -> None:
    Path("ftmirror.toml").write_text("colour = 1\ndatbase = 2\n")

    def body(context: Context) -> None:
        assert context.settings

    result = run(body)
    assert result.exit_code == 2
    known = "database, prices, sources, budget, alerts"
    assert result.stderr.splitlines() == [
        f"error: ftmirror.toml: colour: unknown key; known: {known}",
        "error: ftmirror.toml: datbase: unknown key (did you mean database?)",
    ]


@click.command()
@click.option("--every", type=DURATION)
@click.option("--since", type=DATE)
@click.option("--metadata", "pairs", type=KEY_VALUE, multiple=True)
def kinds(
    every: float | None, since: dt.date | None, pairs: Sequence[tuple[str, str] | str]
) -> None:
    click.echo(repr((every, since, metadata(pairs))))


@pytest.mark.parametrize(
    ("args", "value"),
    [
        (["--every", "15m"], (900.0, None, None)),
        (["--since", "2026-01-31"], (None, dt.date(2026, 1, 31), None)),
        (["--metadata", "team=a=b", "--metadata", "x="], (None, None, {"team": "a=b", "x": ""})),
        (["--metadata", "null"], (None, None, "null")),
    ],
)
def test_kinds_of_values(args: list[str], value: tuple[object, ...]) -> None:
    assert CliRunner().invoke(kinds, args).output == f"{value!r}\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--every", "90"], "'90': a duration is a number and a unit, as 90s, 15m, 2h or 1d"),
        (["--since", "20260131"], "'20260131': a date is written YYYY-MM-DD, as 2026-01-31"),
        (["--since", "2026-02-30"], "'2026-02-30': there is no such day"),
        (["--metadata", "team"], "'team': write KEY=VALUE, or the word null"),
        (["--metadata", "=a"], "'=a': write KEY=VALUE, or the word null"),
        (["--metadata", "a=1", "--metadata", "a=2"], "names the key 'a' twice"),
        (["--metadata", "null", "--metadata", "a=2"], "null cannot go together"),
    ],
)
def test_values_of_no_kind_say_what_would_be_one(args: list[str], told: str) -> None:
    result = CliRunner().invoke(kinds, args)
    assert result.exit_code == 2
    assert told in result.stderr


# Exit codes and errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EtlError("x"), 1),
        (RecordError("x"), 1),
        (StoreError("x"), 1),
        (ApiError("x", Exchange("/fine_tuning/jobs", 500)), 1),
        (UsageError("x"), 2),
        (ConfigError(["x"]), 2),
        (SchemaOutOfDate(), 2),
        (click.UsageError("x"), 2),
        (click.BadParameter("x"), 2),
        (click.ClickException("x"), 1),
        (LeaseHeld("x", holder="host, pid 42"), 4),
        (OSError(28, "No space left on device"), 1),
        (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (Terminated(), 143),
        (SystemExit(7), 7),
        (SystemExit(), 0),
    ],
)
def test_exit_codes_of_errors(error: BaseException, code: int) -> None:
    assert raising(error).exit_code == code


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (3, 3), (5, 5)])
def test_what_a_command_returns_is_its_exit_code(answer: int | None, code: int) -> None:
    assert run(lambda _: answer).exit_code == code


def test_an_error_is_a_line_and_each_cause_another() -> None:
    def body(context: Context) -> None:
        try:
            try:
                raise OSError("connection\nrefused by sk-abcdefghijk")
            except OSError as error:
                raise ValueError("cannot connect") from error
        except ValueError as error:
            raise StoreError("the database went away\x1b[2J") from error

    result = run(body)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        r"error: the database went away\x1b[2J",
        "because: cannot connect",
        "because: connection refused by sk-***",
    ]


def test_tracebacks_come_with_vv_and_masked() -> None:
    error = StoreError("no sk-abcdefghijk")
    assert "Traceback" not in raising(error, "-v", "act").stderr
    loud = raising(error, "-vv", "act").stderr
    assert loud.startswith("Traceback (most recent call last):")
    assert "etl.errors.StoreError: no sk-***" in loud
    assert "abcdefghijk" not in loud


def test_a_bug_shows_its_masked_traceback_and_says_what_it_is() -> None:
    result = raising(ZeroDivisionError("by sk-abcdefghijk"))
    assert "Traceback" in result.stderr
    assert "abcdefghijk" not in result.stderr
    assert result.stderr.splitlines()[-2:] == [
        "error: ZeroDivisionError: by sk-***",
        "hint: this is a bug in ftmirror; please report it with the lines above",
    ]


def test_an_interruption_is_short() -> None:
    assert raising(KeyboardInterrupt()).stderr.strip() == "error: interrupted"
    assert raising(Terminated()).stderr.strip() == "error: ended by SIGTERM"


def test_who_asked_for_json_gets_the_error_as_json_too() -> None:
    error = StoreError("no sk-abcdefghijk")
    error.__cause__ = OSError("gone")
    result = raising(error, "act", "--json")
    assert json.loads(result.stdout) == {
        "error": "no sk-***",
        "kind": "StoreError",
        "because": ["gone"],
    }
    assert result.stderr.splitlines()[0] == "error: no sk-***"


def test_wrong_usage_is_json_too_where_json_was_asked_for() -> None:
    result = run(lambda _: None, "act", "--json", "--nonsense")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["kind"] == "UsageError"


def test_an_answer_that_was_given_is_the_only_one() -> None:
    def body(context: Context) -> None:
        output.json({"status": "failed"})
        raise StoreError("no")

    result = run(body, "act", "--json")
    assert json.loads(result.stdout) == {"status": "failed"}
    assert result.exit_code == 1


def test_errors_are_json_lines_where_the_log_is() -> None:
    error = UsageError("no such thing")
    error.__cause__ = ValueError("why")
    (said,) = raising(error, "--log-format", "json", "act").stderr.splitlines()
    parsed = json.loads(said)
    assert (parsed["level"], parsed["message"]) == ("error", "no such thing")
    assert (parsed["kind"], parsed["because"]) == ("UsageError", ["why"])
    assert "traceback" not in parsed


def test_a_misspelt_command_names_the_nearest() -> None:
    result = run(lambda _: None, "atc")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: no such command 'atc'; did you mean act?",
        "hint: see `ftmirror -h`",
    ]


def test_a_misspelt_option_names_the_nearest() -> None:
    result = run(lambda _: None, "act", "--progres", "bar")
    assert result.exit_code == 2
    assert "--progress" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[1] == "hint: see `ftmirror act -h`"


def test_a_wrong_word_for_a_choice_lists_the_right_ones() -> None:
    result = run(lambda _: None, "act", "--log-format", "xml")
    assert result.exit_code == 2
    assert "'text', 'json'" in result.stderr


# The commands


def test_no_word_at_all_is_a_wrong_call_that_gets_the_help() -> None:
    result = CliRunner().invoke(ftmirror, [])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: ftmirror" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_the_help_of_the_table_an_example_and_the_common_options(
    name: str,
) -> None:
    result = CliRunner().invoke(ftmirror, [name, "-h"], prog_name="ftmirror")
    assert result.exit_code == 0
    made = ftmirror.get_command(click.Context(ftmirror), name)
    assert made is not None
    assert (made.help or "").splitlines()[0] == COMMANDS[name][1]
    assert re.search(rf"Examples?:\n +ftmirror .*{name}", result.output)
    assert "--database-url" in result.output


def test_the_help_lists_commands_without_importing_them() -> None:
    lazy = LazyGroup("ftmirror", lazy={"sync": ("no.such.module:sync", "Mirror it.")})
    result = CliRunner().invoke(lazy, ["-h"])
    assert result.exit_code == 0
    assert "sync  Mirror it." in result.output


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == "ftmirror 0.1.0\n"
    assert main(["version", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["version"] == "0.1.0"
    assert answer["sqlalchemy"].startswith("2.")


# Output


def written(write: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    write()
    return capsys.readouterr().out


def test_data_goes_to_a_pipe_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(lambda: output.data("a\x1b\r\nb"), capsys) == "a\x1b\r\nb\n"
    assert written(lambda: output.data("a\n"), capsys) == "a\n"


def test_data_cannot_steer_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert written(lambda: output.data("a\x1b[2J\tb\nc"), capsys) == "a\\x1b[2J\tb\nc\n"


def test_json_is_one_valid_and_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "at": dt.datetime(2026, 1, 31, 9, 30),  # noqa: DTZ001 - the database's times have no zone
        "zoned": dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "day": dt.date(2026, 1, 31),
        "amount": Decimal("0.10"),
        "loss": [float("nan"), 0.5],
        "text": "Ünï\x1b\x9b\u202e\ud800",
    }
    said = written(lambda: output.json(value), capsys)
    assert said.count("\n") == 1
    assert json.loads(said) == {
        "at": "2026-01-31T09:30:00Z",
        "zoned": "2026-01-31T07:30:00Z",
        "day": "2026-01-31",
        "amount": "0.10",
        "loss": [None, 0.5],
        "text": "Ünï\x1b\x9b\u202e\ud800",
    }
    assert "Ünï\\u001b\\u009b\\u202e\\ud800" in said


def test_a_table_is_plain_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("ftjob-1", 1000, None), ("[bold]\x1b[2J", 7, True)]
    said = written(lambda: output.table(["job", "tokens", "final"], rows), capsys)
    assert said == (
        "job            tokens  final\nftjob-1          1000\n[bold]\\x1b[2J       7  yes\n"
    )


def test_a_table_fits_eighty_columns_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(["xxxx"] * 30), " ".join(["yyyyyyy"] * 20)
    said = written(lambda: output.table(["a", "b"], [text]), capsys)
    assert max(len(line) for line in said.splitlines()) <= 80
    assert (said.count("xxxx"), said.count("yyyyyyy")) == (30, 20)


def test_a_table_never_cuts_a_name_in_two(capsys: pytest.CaptureFixture[str]) -> None:
    """The long one keeps its line, the cells behind it stand below in their columns."""
    name = "ft:gpt-4o-2024-08-06:an-organisation:a-very-long-suffix-of-forty-chars:AbCdEfGh"
    rows = [("gpt-4o", "hour", 3, "none"), (name, "1M tokens", 12, "other days")]
    said = written(lambda: output.table(["model", "per", "jobs", "prices"], rows), capsys)
    assert said.splitlines() == [
        f"{'model':51}  per        jobs  prices",
        f"{'gpt-4o':51}  hour          3  none",
        name,
        f"{'':51}  1M tokens    12  other days",
    ]


def test_a_name_wider_than_the_line_is_still_whole(capsys: pytest.CaptureFixture[str]) -> None:
    said = written(lambda: output.table(["a", "b"], [("x" * 100, "y" * 100)]), capsys)
    assert [line.strip() for line in said.splitlines()[1:]] == ["x" * 100, "y" * 100]


def test_no_colour_without_a_terminal_whatever_the_environment_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in written(lambda: output.table(["a"], [("b",)]), capsys)


def test_colour_on_a_terminal_unless_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in written(lambda: output.table(["a"], [("b",)]), capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written(lambda: output.table(["a"], [("b",)]), capsys)


# Real processes

BODY = """
import sys, time
from etl.cli.group import LazyGroup
from etl.cli.options import Context, command
from etl.cli import output

@command("act", example="ftmirror act")
def act(context: Context) -> None:
    "Do it."
    {}

line = LazyGroup("ftmirror")
line.add_command(act)
line.main(["act"], prog_name="ftmirror")
"""


def script(body: str) -> list[str]:
    return [sys.executable, "-c", BODY.format(textwrap.indent(body, "    ").strip())]


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}


def test_the_module_runs_and_stays_light() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "etl.cli", "version"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stdout == "ftmirror 0.1.0\n"
    for heavy in ("sqlalchemy", "alembic", "requests", "rich", "msgspec", "tenacity"):
        assert not re.search(rf"\| +{heavy}\b", done.stderr), heavy


def test_sigterm_cleans_up_and_ends_with_143() -> None:
    body = """
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("cleaned up", flush=True)
"""
    process = subprocess.Popen(
        script(body),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "cleaned up\n")
    assert err.strip() == "error: ended by SIGTERM"


def test_a_reader_that_leaves_is_no_reason_to_complain() -> None:
    process = subprocess.Popen(
        script("for _ in range(100_000): output.data('x' * 80)"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 141


def test_a_terminal_that_speaks_ascii_gets_valid_json() -> None:
    done = subprocess.run(
        script("output.json({'name': 'Ünï'}); output.data('Ünï')"),
        capture_output=True,
        text=True,
        env=environment(PYTHONIOENCODING="ascii"),
        check=True,
    )
    assert done.stdout == '{"name": "\\u00dcn\\u00ef"}\n\\xdcn\\xef\n'
