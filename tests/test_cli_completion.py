"""Completion in real shells: what is offered behind a word that is not ended yet."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etl.cli import words
from etl.cli.completing import VARIABLE
from etl.resources import discover
from etl.spending import COLUMNS, METADATA
from tests.terminal import on_terminal

BIN = Path(sys.executable).parent
SETTINGS = """
[[sources]]
name = "research"
api_key_env = "KEY_A"

[[sources]]
name = "search"
api_key_env = "KEY_B"
"""

#: What is typed, and what may follow.
TYPED = [
    ("ftmirror qu", ["quarantine"]),
    ("ftmirror quarantine ", ["list", "retry", "show"]),
    ("ftmirror -q sync --mo", ["--mode"]),
    ("ftmirror sync --mode ", ["auto", "full", "incremental"]),
    ("ftmirror sync --source ", ["research", "search"]),
    ("ftmirror sync --source research --source ", ["search"]),
    ("ftmirror replay --resource ch", ["checkpoint_permissions", "checkpoints"]),
    ("ftmirror spend --by mo", ["model", "month"]),
    ("ftmirror completion ", ["bash", "fish", "zsh"]),
    ("ftmirror import sav", ["saved.jsonl"]),
    ("ftmirror report --output sav", ["saved.jsonl"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ftmirror.toml").write_text(SETTINGS)
    (tmp_path / "saved.jsonl").touch()
    return tmp_path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (in CI a missing shell is a failure)")
        pytest.skip(reason)
    return found


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def said(call: list[str], folder: Path) -> str:
    done = subprocess.run(
        call,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_bash_completes(folder: Path) -> None:
    """As readline does: a function fills COMPREPLY, or says that files are to be offered."""
    lines = ['eval "$(ftmirror completion bash)"', "compopt() { files=$2; }"]
    for line, _ in TYPED:
        typed = [*line.split(), ""] if line.endswith(" ") else line.split()
        lines += [
            f"files=; COMPREPLY=(); COMP_WORDS=({' '.join(one or repr('') for one in typed)})",
            f"COMP_CWORD={len(typed) - 1}; _ftmirror_completion ftmirror",
            f'[[ $files ]] && COMPREPLY=($(compgen -f "{typed[-1]}"))',
            'echo "${COMPREPLY[*]}"',
        ]
    found = said([shell("bash"), "--norc", "-c", "\n".join(lines)], folder)
    assert [sorted(line.split()) for line in found.splitlines()] == [after for _, after in TYPED]


def test_fish_completes(folder: Path) -> None:
    lines = ["ftmirror completion fish | source"]
    for line, _ in TYPED:
        lines += [f"complete -C '{line}'", "echo ="]
    found = said([shell("fish"), "--no-config", "-c", "\n".join(lines)], folder)
    offered = [
        sorted(line.split("\t")[0] for line in part.splitlines())
        for part in found.split("=\n")[:-1]
    ]
    assert offered == [after for _, after in TYPED]


def test_zsh_completes(folder: Path) -> None:
    """At its prompt, with the tabulator key, as everybody has it: the script in a folder."""
    zsh = shell("zsh")
    (folder / ".zfunc").mkdir()
    script = said([str(BIN / "ftmirror"), "completion", "zsh"], folder)
    (folder / ".zfunc" / "_ftmirror").write_text(script)
    (folder / ".zshrc").write_text(
        "fpath+=~/.zfunc\nautoload -Uz compinit; compinit -u\nPS1='ready> '\n"
    )
    with on_terminal([zsh, "-i"], environment(folder), folder) as terminal:
        terminal.wait_for("ready> ")
        for typed, rest in [
            ("ftmirror quar\t", "antine "),
            ("list --js\t", "on "),
            ("\x15ftmirror sync --source re\t", "search "),
            ("\x15ftmirror import sav\t", "ed.jsonl "),
        ]:
            terminal.printed = ""
            terminal.type(typed)
            terminal.wait_for(rest)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_can_read(name: str, folder: Path) -> None:
    program = shell(name)
    script = said([str(BIN / "ftmirror"), "completion", name], folder)
    assert f"{VARIABLE}={name}_complete" in script
    (folder / "script").write_text(script)
    assert said([program, "-n", str(folder / "script")], folder) == ""


def ask(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()))}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "etl.cli"],
        cwd=folder,
        env={**environment(folder), **asked, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("line", ["ftmirror ", "ftmirror sync --source ", "ftmirror spend --by "])
def test_a_completion_imports_nothing_heavy(line: str, folder: Path) -> None:
    done = ask(folder, line)
    assert done.stdout
    for heavy in ("sqlalchemy", "alembic", "requests", "rich", "msgspec", "tenacity"):
        assert not re.search(rf"\| +{heavy}\b", done.stderr), heavy


def test_a_completion_is_quick(folder: Path) -> None:
    """Less than 0.15 s of a processor, Python's own start in it: the best of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked = {
            VARIABLE: "bash_complete",
            "COMP_WORDS": "ftmirror sync --source ",
            "COMP_CWORD": "3",
        }
        subprocess.run(
            [BIN / "ftmirror"], cwd=folder, env={**environment(folder), **asked}, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.15


def test_settings_that_cannot_be_read_are_no_news_at_a_prompt(folder: Path) -> None:
    (folder / "ftmirror.toml").write_text("[[sources")
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": "ftmirror sync --source ", "COMP_CWORD": "3"}
    done = subprocess.run(
        [BIN / "ftmirror"],
        cwd=folder,
        env={**environment(folder), **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_words_offered_are_the_words_taken() -> None:
    from click import Context

    from etl.cli.group import ftmirror

    assert set(words.BY) == {*COLUMNS, METADATA}
    assert words.resources(Context(ftmirror)) == sorted(discover())
