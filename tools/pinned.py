"""Print the part of constraints.txt that ftmirror itself, or some of its extras, need.

    python tools/pinned.py                       the core
    python tools/pinned.py dev postgres          the core and these extras
    python tools/pinned.py --build               what builds the wheel, and nothing else

`pip install --require-hashes -r` takes what this prints. Who needs whom is read from the
`# via` lines that the resolver left in constraints.txt; what ftmirror asks for itself, from
pyproject.toml. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class Pin:
    """One requirement of constraints.txt: its lines without comments, and who asked for it."""

    lines: list[str]
    via: set[str] = field(default_factory=set)


def name_of(requirement: str) -> str:
    """The normalised name of `Name[extra]>=1 ; marker`."""
    found = _NAME.match(requirement)
    if not found:
        raise SystemExit(f"error: {requirement!r} names no package")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def read_pins(text: str) -> dict[str, list[Pin]]:
    """Every pin by name; a name stands twice where markers choose between versions."""
    pins: dict[str, list[Pin]] = {}
    pin = Pin([])
    for line in text.splitlines():
        if line.strip().startswith("#"):
            asked = line.strip().lstrip("# ").removeprefix("via").strip()
            if asked:
                pin.via.add(name_of(asked))
        elif line.startswith(" "):
            pin.lines.append(line)
        elif line:
            pin = Pin([line])
            pins.setdefault(name_of(line), []).append(pin)
    return pins


def read_wanted(text: str, extras: Collection[str]) -> set[str]:
    """The names that pyproject.toml asks for: the core's, and those of these extras."""
    project = tomllib.loads(text)["project"]
    optional = project["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            raise SystemExit(f"error: no extra {extra!r}; known: {', '.join(optional)}")
    asked = [*project["dependencies"], *(one for extra in extras for one in optional[extra])]
    return {name_of(one) for one in asked}


def read_backend(text: str) -> set[str]:
    """The names that pyproject.toml asks for to build the wheel."""
    return {name_of(one) for one in tomllib.loads(text)["build-system"]["requires"]}


def closure(wanted: Collection[str], pins: dict[str, list[Pin]]) -> set[str]:
    """These names and all that they need."""
    needed: set[str] = set()
    waiting = set(wanted)
    while waiting:
        needed |= waiting
        waiting = {
            name
            for name, versions in pins.items()
            if name not in needed and any(pin.via & waiting for pin in versions)
        }
    return needed


def pinned(words: Collection[str]) -> Iterator[str]:
    """The lines to print for these words of the command line."""
    pins = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = read_backend(project) if list(words) == ["--build"] else read_wanted(project, words)
    if missing := sorted(wanted - set(pins)):
        raise SystemExit(
            f"error: constraints.txt does not pin {', '.join(missing)}; run `make constraints`"
        )
    for name in sorted(closure(wanted, pins)):
        for pin in pins[name]:
            # The last hash may end in a backslash when only a comment followed it.
            yield from [*pin.lines[:-1], pin.lines[-1].removesuffix("\\").rstrip()]


if __name__ == "__main__":
    for line in pinned(sys.argv[1:]):
        print(line)
