"""The benchmark's own machinery, on a history of a few jobs."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.databases import Nothing, Sqlite
from benchmarks.entrants import everyone, ours
from benchmarks.environments import requirements
from benchmarks.fake import serving
from benchmarks.measure import measure, split
from benchmarks.results import Results
from benchmarks.trials import CHANGED, Trials


def test_a_plus_stands_between_the_commands_of_a_pipe() -> None:
    assert split(["a", "b", "+", "c"]) == [["a", "b"], ["c"]]


def test_a_pipe_is_measured_as_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    say = [sys.executable, "-c", "print('through the pipe')"]
    copy = [sys.executable, "-c", "import sys; sys.exit(sys.stdin.read() and print('came') or 7)"]
    found = measure([say, copy], 60, log)
    assert found["exit"] == 7
    assert log.read_text() == "came\n"
    assert found["peak_mb"] > 1
    assert found["cpu"] > 0


def test_each_of_them_syncs_what_the_api_serves(tmp_path: Path) -> None:
    results, said = Results(), list[str]()
    with serving(120) as api:
        trials = Trials(api, tmp_path, results, said.append, 120)
        trials.history(ours(), Sqlite(tmp_path), 0, changes=True)
        for entrant in everyone():
            if entrant.is_floor:
                database = Nothing() if "none" in entrant.databases else Sqlite(tmp_path / "floor")
                (tmp_path / "floor").mkdir(exist_ok=True)
                trials.history(entrant, database, 0, changes=True)
    found = {(one.entrant, one.scenario): one for one in results.all}
    assert all(one.is_good for one in results.all), said
    assert [one.scenario for one in results.all if one.entrant == "ftmirror"] == [
        "first",
        "unchanged",
        "changed",
    ]
    assert found["ftmirror", "first"].requests == 2
    assert found["ftmirror", "changed"].seen == CHANGED
    assert found["ftmirror", "changed"].wrong == 0
    assert found["paging", "first"].requests == 2
    assert ("writing", "first") in found


def test_what_peers_need_is_pinned() -> None:
    for entrant in everyone():
        if entrant.packages and not entrant.is_floor and entrant.name != "ftmirror":
            lines = requirements(entrant.name).read_text().splitlines()
            assert all("==" in line for line in lines)
            assert {line.split("==")[0] for line in lines} >= set(entrant.packages)
            assert not any("/" in line for line in lines)
