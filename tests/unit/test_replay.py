"""Where a replay begins, and what the ledger's drift adds up to."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import etl
from etl.db.replaying import Place
from etl.db.sightings import Sighting, Sightings, State
from etl.fields import Drift
from etl.replay import to_do, version
from etl.resources import discover

MONDAY, TUESDAY, FRIDAY = (datetime(2025, 3, day, 12, tzinfo=UTC) for day in (3, 4, 7))
ALL = ("jobs", "events", "files")


def place(
    resource: str,
    last_id: str = "x",
    asked: tuple[str, ...] = ALL,
    version: str = "1",
    run_id: int = 5,
) -> Place:
    return Place(resource, version, run_id, MONDAY, asked, last_id)


def begins(asked: tuple[str, ...], *found: Place) -> dict[str, tuple[str, int]]:
    """Of each resource that is to be done: behind which id, and since which run."""
    new = place("", "", asked, run_id=9)
    places = to_do({one.resource: one for one in found}, asked, new)
    assert all(one.asked == asked and one.resource == name for name, one in places.items())
    return {name: (one.last_id, one.run_id) for name, one in places.items()}


def test_nothing_was_cut() -> None:
    assert begins(ALL) == {"jobs": ("", 9), "events": ("", 9), "files": ("", 9)}


def test_what_was_cut_goes_on_and_what_was_done_is_not_done_again() -> None:
    assert begins(ALL, place("events"), place("files", "")) == {
        "events": ("x", 5),
        "files": ("", 9),
    }


def test_what_another_version_began_begins_anew() -> None:
    old = (place("events", version="0"), place("files", version="0"))
    assert begins(ALL, *old) == {"jobs": ("", 9), "events": ("", 9), "files": ("", 9)}
    assert begins(ALL, place("events"), old[1]) == {"events": ("x", 5), "files": ("", 9)}


def test_another_order_says_nothing_of_what_is_done() -> None:
    one = place("jobs", asked=("jobs",))
    assert begins(ALL, one) == {"jobs": ("x", 5), "events": ("", 9), "files": ("", 9)}
    assert begins(("jobs",), place("events"), place("files")) == {"jobs": ("", 9)}
    assert begins(("events",), place("events")) == {"events": ("x", 5)}


def test_the_version_is_of_the_program_the_schema_and_the_text_of_what_reads_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = version()
    assert before.startswith(f"{etl.__version__} 0")
    assert len(before) < 255
    discover()
    copy = tmp_path / "etl"
    shutil.copytree(Path(etl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(etl, "__file__", str(copy / "__init__.py"))
    assert version() == before
    with (copy / "cli" / "runs.py").open("a") as file:
        file.write("# a word\n")
    assert version() == before
    with (copy / "resources" / "jobs" / "plain.py").open("a") as file:
        file.write("# a word\n")
    assert version() != before


def test_the_first_state_gives_the_example_whatever_was_looked_at_first() -> None:
    late, early = Sightings(), Sightings()
    late.note([Drift("a", "unknown_field", "c")], State(FRIDAY, "job-1", 3))
    early.note([Drift("a", "unknown_field", "b")], State(MONDAY, "job-2", 1))
    early.note([Drift("a", "unknown_field", "z")], State(MONDAY, "job-2", 2))
    early.note([Drift("b", "wrong_type", "1")] * 2, State(TUESDAY, "job-3", 1))
    expected = {
        ("a", "unknown_field"): Sighting(3, State(MONDAY, "job-2", 1), "b", FRIDAY),
        ("b", "wrong_type"): Sighting(2, State(TUESDAY, "job-3", 1), "1", TUESDAY),
    }
    assert late.plus(early) == early.plus(late) == expected
    assert len(late) == 1


def test_of_one_moment_the_lowest_id_and_version_come_first() -> None:
    seen = Sightings()
    for name, number in (("job-2", 1), ("job-1", 2), ("job-1", 1), ("job-3", 1)):
        seen.note([Drift("a", "missing", f"{name} {number}")], State(MONDAY, name, number))
    assert seen["a", "missing"].example == "job-1 1"


def test_a_path_is_made_fit_for_a_key() -> None:
    seen = Sightings()
    seen.note([Drift("a\x00" + "b" * 300, "unknown_field", "1")], State(MONDAY, "job-1", 1))
    seen.note([Drift("a\x00" + "b" * 400, "unknown_field", "2")], State(MONDAY, "job-1", 2))
    assert {at: one.times for at, one in seen.items()} == {
        ("a\ufffd" + "b" * 253, "unknown_field"): 2
    }


def test_what_was_seen_survives_being_written_down() -> None:
    seen = Sightings()
    when = datetime(2025, 3, 3, 12, 0, 0, 123456, tzinfo=UTC)
    seen.note([Drift('p"\u2028', "unknown_value", "\U0001f600")], State(when, "jöb", 7))
    assert Sightings.of_json(json.loads(json.dumps(seen.as_json()))) == seen


def test_a_table_in_which_several_own_rows_says_whose_each_row_is() -> None:
    """Else one of them would replace, or remove, the rows of the others."""
    owners: dict[str, list[tuple[str, str] | None]] = {}
    for resource in discover().values():
        for table in resource.tables:
            owners.setdefault(table.name, []).append(resource.marks.get(table))
    shared = {name: marks for name, marks in owners.items() if len(marks) > 1}
    assert shared == {
        "training_metrics": [
            ("origin", "event"),
            ("origin", "result_file"),
            ("origin", "checkpoint"),
        ]
    }
