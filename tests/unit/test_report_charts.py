"""Charts are static, escaped, and readable on light and on dark screens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import etl.report
from etl.report import charts

STYLE = (Path(etl.report.__file__).parent / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = 0, 1


def luminance(colour: str) -> float:
    """As WCAG 2 reckons it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lower, higher = sorted([luminance(one), luminance(other)])
    return (higher + 0.05) / (lower + 0.05)


def scheme(number: int) -> dict[str, str]:
    """The colours of the style sheet, for light or for dark screens."""
    found = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[number]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", found))


def test_black_on_white_is_what_it_should_be() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("number", [LIGHT, DARK])
@pytest.mark.parametrize("ink", ["ink", "quiet", "link"])
@pytest.mark.parametrize("ground", ["ground", "raised"])
def test_every_text_stands_out_from_its_ground(number: int, ink: str, ground: str) -> None:
    colours = scheme(number)
    assert contrast(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("number", [LIGHT, DARK])
def test_texts_in_charts_stand_out_from_the_page(number: int) -> None:
    assert contrast(charts.TEXT[number], scheme(number)["ground"]) >= 4.5


@pytest.mark.parametrize("number", [LIGHT, DARK])
def test_no_two_series_have_one_colour(number: int) -> None:
    colours = [pair[number] for pair in (*charts.SERIES, charts.REST)]
    assert len(set(colours)) == len(colours)


def test_every_colour_of_a_chart_has_its_dark_counterpart() -> None:
    rows = [{"month": "2025-01", "name": name, "value": 1.0} for name in "ab"]
    drawn = charts.stacked(rows, ["2025-01"], ["a", "b"], [0, -1], "$")
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]+)"', drawn))
    assert used
    assert {colour for colour in used if f'"{colour}"' not in charts.dark_rules()} == set()


def test_a_chart_is_drawn_for_wide_and_for_narrow_screens() -> None:
    rows = [{"month": "2025-01", "name": "a", "value": 1.0}]
    drawn = charts.lines(rows, ["2025-01"], ["a"], [0], "number")
    assert re.findall(r'<div class="(\w+)"><svg width="(\d+)"', drawn) == [
        ("wide", "840"),
        ("narrow", "324"),
    ]


NAMES = [
    "<script>alert(1)</script>",
    "</svg><img src=x onerror=alert(1)>",
    "\"'];alert(1);['",
    "back\\slash \\u0041 `${x}`",
    "a\x1b[2J\u202eb",
    # Each of these ends the process, where it comes to the library that measures texts.
    "a\x00b",
    "\ufffe\uffff",
    "\U0010ffff\ufdd0",
    "\ud83d",
    "\U000e0041\ue000",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_chart_is_text(name: str) -> None:
    drawn = charts.small_bars([{"name": name, "value": 2.0, "label": name}])
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert drawn.count("<svg") == drawn.count("</svg") == 1
    assert "\x1b" not in drawn


def test_what_stands_at_an_axis_is_what_was_given() -> None:
    drawn = charts.small_bars([{"name": "it's a \\ & <b>", "value": 2.0, "label": "$2"}])
    assert ">it's a \\ &amp; &lt;b&gt;<" in drawn


def test_words_that_look_like_an_attribute_stay_in_a_text() -> None:
    drawn = charts.small_bars([{"name": 'x class="y"', "value": 2.0, "label": ""}])
    assert '>x class="y"<' in drawn


def test_a_long_name_loses_its_middle() -> None:
    assert charts.shortened("abcdefghij", 10) == "abcdefghij"
    assert charts.shortened("abcdefghijk", 10) == "abcdef…ijk"


def test_a_month_axis_begins_years_at_a_label() -> None:
    months = [f"{year}-{month:02d}" for year in (2023, 2024, 2025) for month in range(1, 13)]
    rows = [{"month": month, "name": "a", "value": 1.0} for month in months[4:]]
    drawn = charts.stacked(rows, months[4:], ["a"], [0], "count")
    narrow = drawn[drawn.index('class="narrow"') :]
    assert re.findall(r">(\d{4}-\d\d)<", narrow) == ["2024-01", "2025-01"]


def test_a_loss_that_is_not_a_number_stops_no_chart() -> None:
    drawn = charts.training([(0, [(1, 2.0), (2, 1.0)])], (2, 1.0))
    assert drawn.count("<svg") == 1
    assert charts.MARK[0] in drawn
