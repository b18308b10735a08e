"""Secrets in what was written: all that the talkative processes write, and all the rounds wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chaos.databases import Server
from tests.flow import test_secrets as secrets

#: Keys that the rounds' processes are given. They look like none, so that only who knows them can
#: hide them.
KEY, ADMIN_KEY, AZURE_KEY = "zc1-Chaos&Key/42=", "zc2-Admin+Chaos", 'zc3"Azure:Chaos'


@dataclass
class Found:
    """What was searched on one database, and what was found."""

    #: Outputs, files and tables.
    searched: int = 0
    #: Where which secret stands; never the secret itself.
    places: list[str] = field(default_factory=list)


def talkative(
    name: str, server: Server | None, directory: Path, said: Callable[[str], None]
) -> Found:
    """Processes at debug level that meet all that fails, on one kind of database."""
    with secrets.ground_of(_new(directory)) as ground:
        if server is None:
            secrets.on_a_file(ground)
            secrets.on_its_own(ground)
            secrets.ended_from_outside(ground)
        else:
            url = secrets.with_password(server.address, server.new_name())
            secrets.on_a_server(ground, name, url)
            server.drop(url)
        _wait_for_the_watchers(ground)
        holding = ground.holding()
        found = Found(len(ground.written))
        numbers = {secret: number for number, secret in enumerate(secrets.SECRETS, 1)}
        found.places = [f"{place}: secret {numbers[secret]}" for place, secret in holding]
    said(f"{name}: {len(found.places)} secrets in {found.searched} outputs")
    return found


def _wait_for_the_watchers(ground: secrets.Ground) -> None:
    """Whoever watches a process notes what was seen of it a little after its end."""
    noted = -1
    while noted != len(ground.written):
        noted = len(ground.written)
        time.sleep(0.3)


def written(directory: Path, words: Iterable[str] = (KEY, ADMIN_KEY, AZURE_KEY)) -> Found:
    """Search every file below a directory."""
    found = Found()
    spelt = {number: secrets.spellings(word) for number, word in enumerate(words, 1)}
    for file in directory.rglob("*"):
        if file.is_file() and file.suffix != ".toml":
            found.searched += 1
            text = file.read_bytes()
            found.places += [
                f"{file.relative_to(directory)}: key {number}"
                for number, ways in spelt.items()
                if any(way in text for way in ways)
            ]
    return found


def _new(directory: Path) -> Path:
    place = directory / "talkative"
    place.mkdir()
    return place
