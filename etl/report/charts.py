"""The report's charts: static SVG, drawn by Vega without a browser.

Each is drawn twice, for wide and for narrow screens; the style sheet shows the one that fits.
Colours are those of light screens; `dark_rules` says what becomes of each on a dark one.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt

from etl.report.markup import Markup, joined, tag
from etl.settings import escaped

#: Pixels.
WIDE, NARROW = 840, 324
#: Of a chart that is one of several side by side.
SMALL = 360
#: Series in their order: colours of Okabe and Ito, which colour-blind people tell apart; on a light
#: screen and on a dark one.
SERIES = (
    ("#0072b2", "#3b9ad9"),
    ("#e69f00", "#e69f00"),
    ("#009e73", "#1fb78c"),
    ("#d55e00", "#e8743a"),
    ("#56b4e9", "#9bd3f5"),
    ("#cc79a7", "#dd9dc0"),
    ("#2a2f36", "#eceff3"),
)
#: What is left over, or not decided yet.
REST = ("#8d96a0", "#7b858f")
TEXT = ("#4a545f", "#b4bec8")
GRID = ("#dfe3e8", "#2f3841")
AXIS = ("#98a1ab", "#59636d")
#: Between the pieces of a stack: as the ground.
GROUND = ("#fefefe", "#14191f")
#: The mark of the best checkpoint.
MARK = ("#c2185b", "#ff6fa3")

#: Longest text at an axis, in characters: on wide screens, and on narrow ones.
LABEL, SHORT_LABEL = 34, 18

#: Control characters, halves of characters, and what no version of Unicode has given a meaning.
_NO_SIGN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
#: They make one emoji or letter of several.
_JOINERS = "\u200c\u200d"

Chart: TypeAlias = "alt.Chart | alt.LayerChart | alt.FacetChart"
Row: TypeAlias = Mapping[str, Any]


def dark_rules() -> str:
    """CSS that gives each colour of the charts its dark counterpart."""
    pairs = [*SERIES, REST, TEXT, GRID, AXIS, GROUND, MARK]
    rules = []
    for light, dark in pairs:
        rules.append(f'svg [fill="{light}"]{{fill:{dark}}}svg [stroke="{light}"]{{stroke:{dark}}}')
    return "\n".join(rules)


def swatch_rules(*, is_dark: bool) -> str:
    """CSS for the squares of legends: `s0` and so on, and `rest`."""
    colours = {f"s{number}": pair for number, pair in enumerate(SERIES)}
    colours["rest"], colours["mark"] = REST, MARK
    return "\n".join(
        f".{name}{{background:{pair[int(is_dark)]}}}" for name, pair in colours.items()
    )


def colour(number: int) -> str:
    """The colour of a series; those behind the last share that of the rest."""
    return SERIES[number][0] if 0 <= number < len(SERIES) else REST[0]


def swatch(number: int) -> str:
    """The class that gives a legend's square this colour."""
    return f"s{number}" if 0 <= number < len(SERIES) else "rest"


def stacked(
    rows: Sequence[Row],
    months: Sequence[str],
    names: Sequence[str],
    colours: Sequence[int],
    axis: str,
) -> Markup:
    """Bars by month: `month`, `name`, `value`, stacked in the order of the names."""
    data = _by_month(rows, names)

    def draw(width: int) -> Chart:
        made: alt.Chart = (
            _of(data)
            .mark_bar(stroke=GROUND[0], strokeWidth=0.5)
            .encode(
                x=_month_axis(months, width),
                y=alt.Y("v:Q", axis=_value_axis(_most_of_stacks(data), axis)),
                color=_in_colours(colours),
                order=alt.Order("p:O"),
            )
        )
        return made

    return _both(draw, 280)


def rising(rows: Sequence[Row], axis: str, *, is_daily: bool) -> Markup:
    """An area under a line: `day` and the `value` reached by its end."""
    data = [{"d": row["day"], "v": row["value"]} for row in rows]
    most = max((row["v"] for row in data), default=0)

    def draw(width: int) -> Chart:
        base = _of(data).encode(
            x=alt.X(
                "d:T",
                # As UTC: else the zone of this machine would move the days.
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(
                    title=None,
                    grid=False,
                    format="%Y-%m-%d" if is_daily else "%Y-%m",
                    tickCount=_labels(width) - 2,
                ),
            ),
            y=alt.Y("v:Q", axis=_value_axis(most, axis), scale=alt.Scale(zero=True)),
        )
        area = base.mark_area(color=SERIES[0][0], opacity=0.18, line=False)
        line = base.mark_line(color=SERIES[0][0], strokeWidth=2)
        return alt.layer(area, line)

    return _both(draw, 240)


def lines(
    rows: Sequence[Row],
    months: Sequence[str],
    names: Sequence[str],
    colours: Sequence[int],
    axis: str,
) -> Markup:
    """Lines by month: `month`, `name`, `value`; a month without a value leaves a gap."""
    data = _by_month(rows, names)
    most = max((row["v"] for row in data), default=0)

    def draw(width: int) -> Chart:
        base = _of(data).encode(
            x=_month_axis(months, width),
            y=alt.Y("v:Q", axis=_value_axis(most, axis), scale=alt.Scale(zero=True)),
            color=_in_colours(colours),
        )
        dash = alt.StrokeDash("p:O", scale=alt.Scale(range=[[1, 0], [5, 3], [2, 2]]), legend=None)
        return alt.layer(
            base.mark_line(strokeWidth=2).encode(strokeDash=dash),
            base.mark_point(filled=True, size=22 if width == WIDE else 12, opacity=1),
        )

    return _both(draw, 240)


def grouped(
    rows: Sequence[Row],
    months: Sequence[str],
    names: Sequence[str],
    colours: Sequence[int],
    axis: str,
) -> Markup:
    """Bars by month, side by side: `month`, `name`, `value`."""
    data = _by_month(rows, names)
    most = max((row["v"] for row in data), default=0)

    def draw(width: int) -> Chart:
        made: alt.Chart = (
            _of(data)
            .mark_bar()
            .encode(
                x=_month_axis(months, width),
                xOffset=alt.XOffset("p:O"),
                y=alt.Y("v:Q", axis=_value_axis(most, axis)),
                color=_in_colours(colours),
            )
        )
        return made

    return _both(draw, 260)


def bars(rows: Sequence[Row]) -> Markup:
    """Bars to the right, in the order given: `name`, `value`, `label` and, unless 0, `series`."""
    height = 24 * len(rows) + 14
    return _both(lambda width: _bars(rows, width), height)


def small_bars(rows: Sequence[Row]) -> Markup:
    """The same in a column of its own."""
    return _drawn(_bars(rows, SMALL), SMALL, 24 * len(rows) + 14, "only")


def _bars(rows: Sequence[Row], width: int) -> Chart:
    # Two may be called alike: what keeps them apart is their number.
    data = [
        {"n": number, "v": row["value"], "l": drawable(row["label"])}
        for number, row in enumerate(rows)
    ]
    most = max((row["v"] for row in data), default=0)
    most_letters = LABEL if width == WIDE else SHORT_LABEL
    names = [shortened(drawable(row["name"]), most_letters) for row in rows]
    fill = [colour(row.get("series", 0)) for row in rows]
    longest = max((len(name) for name in names), default=0)
    room = 8 * longest + 8
    base = _of(data).encode(
        y=alt.Y(
            "n:O",
            axis=alt.Axis(
                title=None,
                labelExpr=f"{_array(names)}[datum.value]",
                labelLimit=room,
                minExtent=room,
                maxExtent=room,
                ticks=False,
                domain=False,
            ),
        ),
        x=alt.X(
            "v:Q",
            # Room for what is written behind the longest bar.
            scale=alt.Scale(domain=[0, (most or 1) * (1.12 if width == WIDE else 1.5)]),
            axis=None,
        ),
    )
    colours = alt.Scale(domain=list(range(len(data))), range=fill)
    return alt.layer(
        base.mark_bar().encode(color=alt.Color("n:O", scale=colours, legend=None)),
        base.mark_text(align="left", dx=5, fill=TEXT[0], fontSize=12).encode(text="l:N"),
    )


def training(
    curves: Sequence[tuple[int, Sequence[tuple[int, float]]]], best: tuple[int, float] | None
) -> Markup:
    """One job's measurements over its steps, each in the colour of its number; the best marked."""
    data = [
        {"p": number, "s": step, "v": value} for number, points in curves for step, value in points
    ]
    single = [
        row for number, points in curves if len(points) == 1 for row in data if row["p"] == number
    ]
    known = [number for number, _ in curves]
    stroke = _in_colours(known, known)
    axis = alt.Axis(title=None, tickCount=4, grid=True, format="~g")

    def draw(_: int) -> Chart:
        x = alt.X(
            "s:Q",
            axis=alt.Axis(title="step", grid=False, tickCount=5, format=",d", tickMinStep=1),
            scale=alt.Scale(zero=False, nice=False),
        )
        y = alt.Y("v:Q", axis=axis, scale=alt.Scale(zero=False))
        base = _of(data).encode(x=x, y=y, color=stroke)
        layers: list[Any] = [base.mark_line(strokeWidth=1.8)]
        if single:
            alone = _of(single).encode(x=x, y=y, color=stroke)
            layers.append(alone.mark_point(filled=True, size=36, opacity=1))
        if best is not None:
            mark = _of([{"s": best[0], "v": best[1]}]).encode(x=x, y=y)
            layers.append(
                mark.mark_point(
                    shape="diamond",
                    filled=False,
                    stroke=MARK[0],
                    strokeWidth=2.2,
                    size=150,
                    opacity=1,
                )
            )
        return alt.layer(*layers)

    return _drawn(draw(SMALL), SMALL, 200, "only")


def drawable(text: str) -> str:
    """The text with a mark for what is no letter, sign or space.

    Vega's measure of texts ends the whole process over what XML forbids.
    """
    return "".join(
        char
        if unicodedata.category(char) not in _NO_SIGN or char in _JOINERS
        else "\N{REPLACEMENT CHARACTER}"
        for char in escaped(text)
    )


def shortened(text: str, most: int) -> str:
    """The text, with its middle left out where it is longer: both ends tell of it."""
    text = escaped(text)
    if len(text) <= most:
        return text
    front = (most - 1) * 2 // 3
    return f"{text[:front]}…{text[-(most - 1 - front) :]}"


def _of(rows: Sequence[Row]) -> alt.Chart:
    """A chart of these rows, which it holds."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _by_month(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Rows of `month`, `name` and `value`, with the place of the name instead of it."""
    place = {name: number for number, name in enumerate(names)}
    return [{"m": row["month"], "p": place[row["name"]], "v": row["value"]} for row in rows]


def _in_colours(colours: Sequence[int], places: Sequence[int] | None = None) -> alt.Color:
    """Each place (0, 1, … unless given) in the colour of its series."""
    domain = list(range(len(colours)) if places is None else places)
    scale = alt.Scale(domain=domain, range=[colour(number) for number in colours])
    return alt.Color("p:O", scale=scale, legend=None)


def _array(texts: Sequence[str]) -> str:
    """The texts as an array of Vega's expression language."""
    quoted = [
        "'" + re.sub(r"[\\'<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text) + "'"
        for text in texts
    ]
    return f"[{','.join(quoted)}]"


def _labels(width: int) -> int:
    """How many labels of months have room."""
    return 10 if width == WIDE else 4


def _month_axis(months: Sequence[str], width: int) -> alt.X:
    every = next(
        (every for every in (1, 2, 3, 6, 12) if math.ceil(len(months) / every) <= _labels(width)),
        12 * math.ceil(len(months) / 12 / _labels(width)),
    )
    # From January on, so that years begin at a label.
    named = [month for month in months if (int(month[:4]) * 12 + int(month[5:7]) - 1) % every == 0]
    return alt.X(
        "m:O",
        scale=alt.Scale(domain=list(months), paddingInner=0.2, paddingOuter=0.1),
        axis=alt.Axis(title=None, values=named, labelAngle=0, grid=False, ticks=True),
    )


def _value_axis(most: float, unit: str) -> alt.Axis:
    """An axis of dollars (`$`) or of plain numbers, with as many decimals as its ticks need."""
    decimals = 0 if most >= 10 else min(6, 2 - math.floor(math.log10(most))) if most > 0 else 0
    if unit != "$":
        # Nobody has half a job.
        least = alt.Undefined if unit == "number" else 1
        return alt.Axis(title=None, tickCount=5, tickMinStep=least, format=f",.{decimals}~f")
    return alt.Axis(title=None, tickCount=5, format=f"$,.{decimals}~f")


def _most_of_stacks(data: Sequence[Row]) -> float:
    heights: dict[str, float] = {}
    for row in data:
        heights[row["m"]] = heights.get(row["m"], 0) + row["v"]
    return max(heights.values(), default=0)


def _both(draw: Callable[[int], Chart], height: int) -> Markup:
    """The chart for wide and for narrow screens."""
    return joined(
        _drawn(draw(WIDE), WIDE, height, "wide"),
        _drawn(draw(NARROW), NARROW, height, "narrow"),
    )


def _drawn(chart: Chart, width: int, height: int, kind: str) -> Markup:
    chart = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    ).configure(
        aria=False,  # the figure around it is described as one
        background="transparent",
        font="system-ui, -apple-system, 'Segoe UI', sans-serif",
        padding=4,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=TEXT[0],
            labelFontSize=12,
            titleColor=TEXT[0],
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=GRID[0],
            domainColor=AXIS[0],
            tickColor=AXIS[0],
        ),
    )
    file = io.StringIO()
    chart.save(file, format="svg")
    svg = file.getvalue()
    head, _, rest = svg.partition(">")
    size = re.search(r'width="[0-9.]+" height="[0-9.]+" viewBox="[^"]*"', head)
    given = size[0] if size else ""
    # Hidden from who hears the page: the figure says what it shows, and the table has its numbers.
    opening = f'<svg {given} aria-hidden="true" focusable="false">'
    return tag("div", Markup(opening + _lighter(rest)), class_=kind)


#: Parts that are not shown, and attributes that say what is so anyway: half of what Vega writes.
_NOTHING = re.compile(
    r'<path class="(?:back|fore)ground"[^<>]*(?: d="M0,0h0v0h0Z"| display="none")[^<>]*/>'
)
_TAG = re.compile(r"<[a-z][^<>]*>")
_IDLE = re.compile(
    r' (?:aria-hidden|aria-roledescription|role|pointer-events|class|stroke-miterlimit)="[^"]*"'
    r'| opacity="1"'
)


def _lighter(svg: str) -> str:
    return _TAG.sub(lambda found: _IDLE.sub("", found[0]), _NOTHING.sub("", svg))
