"""Who takes part: how each is called, where it can write, and the command that runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import HERE, ROOT, python_of

#: Of our own command line: where `make` put it.
FTMIRROR = Path(sys.executable).with_name("ftmirror")
OURS = "ftmirror"

Command = list[str]


@dataclass(frozen=True)
class Entrant:
    """A contestant, or a floor: something that does less than anyone who mirrors must do."""

    name: str
    label: str
    databases: tuple[str, ...]
    #: From the API's URL, the database's, and `first` or `again`; more than one make a pipe.
    commands: Callable[[str, str, str], list[Command]]
    packages: tuple[str, ...] = ()
    is_floor: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    #: Files it wants where it runs.
    files: dict[str, str] = field(default_factory=dict)


def ours(name: str = OURS, label: str = "ftmirror", *words: str, **settings: str) -> Entrant:
    """Our own command, with more words and settings."""

    def commands(_: str, database: str, __: str) -> list[Command]:
        common = ["--database-url", database, "--resource", "jobs", "--progress", "none"]
        return [[str(FTMIRROR), "sync", *common, *(words or ("--mode", "full"))]]

    databases = ("sqlite", "postgresql", "mariadb")
    configuration = "[database]\nauto_upgrade = true\n" + "".join(settings.values())
    return Entrant(name, label, databases, commands, files={"ftmirror.toml": configuration})


def _script(environment: str, *scripts: str) -> Callable[[str, str, str], list[Command]]:
    def commands(url: str, database: str, mode: str) -> list[Command]:
        return [
            [str(python_of(environment)), str(HERE / "contestants" / script), url, database, mode]
            for script in scripts
        ]

    return commands


def everyone() -> list[Entrant]:
    """All of them, in the order of their turns."""
    return [
        ours(),
        Entrant(
            "dlt",
            "dlt",
            ("sqlite", "postgresql"),
            _script("dlt", "with_dlt.py"),
            ("dlt",),
            environ={"RUNTIME__DLTHUB_TELEMETRY": "false"},
        ),
        Entrant(
            "singer",
            "Singer SDK",
            ("sqlite", "postgresql"),
            _script("singer", "singer_tap.py", "singer_target.py"),
            ("singer-sdk", "meltanolabs-target-postgres"),
        ),
        Entrant(
            "openai-sqlite-utils",
            "openai + sqlite-utils",
            ("sqlite",),
            _script("openai-sqlite-utils", "with_openai_sdk.py"),
            ("openai", "sqlite-utils"),
        ),
        Entrant(
            "writing",
            "floor: writing",
            ("sqlite", "postgresql"),
            _script("writing", "writing.py"),
            is_floor=True,
        ),
        Entrant(
            "paging",
            "floor: paging",
            ("none",),
            _script("paging", "paging.py"),
            ("requests",),
            is_floor=True,
        ),
    ]


def with_workers(count: int) -> Entrant | None:
    """Ours with so many readers at once; None while it has no such option.

    It may be an option of `sync`, or a key `workers` of the configuration that ships with it.
    """
    name, label = f"workers-{count}", f"ftmirror, {count} at once"
    shown = subprocess.run(
        [str(FTMIRROR), "sync", "-h"], capture_output=True, text=True, check=True
    )
    if "--workers" in shown.stdout:
        return ours(name, label, "--mode", "full", "--workers", str(count))
    table = ""
    for line in (ROOT / "config" / "ftmirror.toml").read_text().splitlines():
        if heading := re.match(r"#?(\[+[a-z_.]+\]+)$", line):
            table = heading[1]
        elif re.match(r"#?workers = ", line):
            who = 'name = "default"\n' if table == "[[sources]]" else ""
            return ours(name, label, settings=f"{table}\n{who}workers = {count}\n")
    return None
