"""A Dockerfile, read: its stages and their instructions, and what may go into a build of it.

Only what this project's own Dockerfile uses. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined: `RUN`, and what follows."""

    word: str
    rest: str

    def words(self) -> list[str]:
        """The JSON form's words; a shell form is one for `sh -c`."""
        if self.rest.startswith("["):
            return [str(word) for word in json.loads(self.rest)]
        return ["sh", "-c", self.rest]


@dataclass
class Stage:
    """What follows a FROM."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """The instructions with this word, in order."""
        return [one for one in self.instructions if one.word == word]

    def last(self, word: str) -> Instruction:
        """The last instruction with this word, which counts; the others are overruled."""
        return self.all(word)[-1]

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        found: dict[str, str] = {}
        for one in self.all("ENV"):
            found |= {name: value for name, _, value in map(_parted, one.rest.split())}
        return found

    def healthcheck(self) -> list[str]:
        """The words of the command of HEALTHCHECK."""
        return Instruction("CMD", self.last("HEALTHCHECK").rest.partition("CMD ")[2]).words()


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("=")


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile, in order. ARGs before the first FROM are put in."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for one in _instructions(text):
        if one.word == "FROM":
            base, _, name = one.rest.partition(" AS ")
            for argument, value in arguments.items():
                base = base.replace(f"${{{argument}}}", value)
            stages.append(Stage(base, name or "final"))
        elif stages:
            stages[-1].instructions.append(one)
        elif one.word == "ARG":
            argument, _, value = one.rest.partition("=")
            arguments[argument] = value
    return stages


def _instructions(text: str) -> Iterator[Instruction]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for statement in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = statement.partition(" ")
        if word:
            yield Instruction(word.upper(), rest.strip())


def context(root: Path, ignored: str) -> list[str]:
    """The files below a folder that .dockerignore lets into a build, by their paths in it."""
    rules = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    return sorted(
        name
        for folder in _let_in(root, rules)
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file() and _is_let_in(name := path.relative_to(root).as_posix(), rules)
    )


def _let_in(root: Path, rules: list[str]) -> list[Path]:
    named = [root / rule[1:] for rule in rules if rule.startswith("!")]
    return [path for path in named if path.exists()]


def _is_let_in(name: str, rules: list[str]) -> bool:
    """The last rule that speaks of a file, or of a folder that it is in, decides."""
    above = [*(str(parent) for parent in Path(name).parents if str(parent) != "."), name]
    is_in = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(_fits(part, pattern) for part in above):
            is_in = rule.startswith("!")
    return is_in


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(name.rpartition("/")[2], pattern[3:])
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)
