"""What the benchmark says of its measurements: medians, ratios, verdicts, tables, the picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import plot, tables
from benchmarks.environments import ROOT
from benchmarks.quoted import quoted
from benchmarks.results import Result, Results, ratio
from benchmarks.targets import Target, further, judge

SVG = "{http://www.w3.org/2000/svg}"


def result(entrant: str, seconds: float, **changes: Any) -> Result:
    given: dict[str, Any] = {
        "label": entrant,
        "database": "sqlite",
        "scenario": "first",
        "jobs": 100,
        "round": 0,
        "cpu": seconds / 2,
        "server_cpu": 0.0,
        "peak_mb": 50.0,
        "requests": 1,
        "exit": 0,
    }
    return Result(entrant, seconds=seconds, **{**given, **changes})


def verdicts(results: Results, jobs: int = 100) -> dict[str, str]:
    return {one.text: one.verdict for one in judge(results, jobs, {"version": 0.1}, (1, 8))}


def test_figures_are_medians_of_what_ended_well() -> None:
    results = Results([result("a", seconds) for seconds in (1, 9, 2)])
    results.add(result("a", 0.1, exit=1))
    assert results.seconds(entrant="a") == 2
    assert results.seconds(entrant="b") is None


def test_cpu_is_that_of_the_server_too() -> None:
    results = Results([result("a", 2.0, server_cpu=3.0)])
    assert results.cpu(entrant="a") == 4.0


def test_a_missing_figure_makes_no_ratio() -> None:
    assert ratio(1.0, None) is None
    assert ratio(None, 1.0) is None
    assert ratio(6.0, 2.0) == 3.0


def test_targets_are_met_missed_or_not_measured() -> None:
    results = Results([result("ftmirror", 1.0), result("dlt", 5.0)])
    found = verdicts(results)
    assert found["first sync, SQLite: faster than dlt"] == "met"
    assert found["unchanged re-sync, SQLite: faster than dlt"] == "not measured"
    assert found["ftmirror: failed runs, and jobs stored wrong"] == "met"
    results = Results([result("ftmirror", 1.0, wrong=2), result("dlt", 4.9)])
    found = verdicts(results)
    assert found["first sync, SQLite: faster than dlt"] == "missed"
    assert found["ftmirror: failed runs, and jobs stored wrong"] == "missed"


def test_a_further_job_costs_what_lies_between_two_sizes() -> None:
    results = Results(
        result("ftmirror", seconds, jobs=size)
        for size, seconds in ((10_000, 2.0), (100_000, 11.0), (1_000_000, 101.0))
    )
    assert further(results, "sqlite", "first") == pytest.approx(1.0)
    assert further(results, "postgresql", "first") is None


@pytest.mark.parametrize(
    ("target", "asked", "found"),
    [
        (Target("", 5, 12.345), "≥ 5×", "12.3×"),
        (Target("", 150, 97.2, "MB", is_floor=False), "≤ 150 MB", "97.2 MB"),
        (Target("", 0, 0, "", is_floor=False), "≤ 0", "0"),
        (Target("", 2, None), "≥ 2×", "–"),
    ],
)
def test_targets_as_people_write_them(target: Target, asked: str, found: str) -> None:
    assert (target.asked, target.found) == (asked, found)


def test_one_table_two_forms() -> None:
    table = tables.Table("", ("", "s"), [("ours", "1.0"), ("theirs", "25.0")])
    assert tables.plain(table).splitlines() == [
        "           s",
        "──────  ────",
        "ours     1.0",
        "theirs  25.0",
    ]
    assert tables.markdown(table).splitlines()[1:3] == ["| --- | ---: |", "| ours | 1.0 |"]


@pytest.mark.parametrize("longest", [2.0, 4500.0])
def test_the_picture_is_plain_svg_that_says_what_it_shows(longest: float) -> None:
    bars = [plot.Bar("ours & co", 0.7, "ours"), plot.Bar("theirs", longest, "peer", "9×")]
    text = plot.draw("Title", "on a machine", [plot.Panel("First", [plot.Group("SQLite", bars)])])
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert "ours & co 0.70 seconds" in str(root.findtext(f"{SVG}desc"))
    assert root.find(f".//{SVG}script") is None
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(href|url\(|@import)", text)
    height, width = float(root.attrib["height"]), float(root.attrib["width"])
    assert all(float(one.get("y", 0)) <= height for one in root.iter(f"{SVG}text"))
    edges = [
        float(one.attrib["x"]) + float(one.attrib["width"])
        for one in root.iter(f"{SVG}rect")
        if str(one.get("class")).startswith("bar")
    ]
    assert edges == sorted(edges)
    assert edges[-1] < width


def test_the_readme_quotes_the_published_figures() -> None:
    """`python -m benchmarks.quoted` prints what belongs there."""
    assert quoted() in (ROOT / "README.md").read_text("utf-8")
