"""Draw horizontal bars as SVG: no script, no font of its own, readable on light and on dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 840
_LEFT, _RIGHT = 272, 124
_ROW, _BAR, _GAP = 25, 16, 14
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
    ' height="{height}" role="img" aria-labelledby="t d">'
)
_CARD = '<rect class="card" x="0.5" y="0.5" width="{right}" height="{bottom}" rx="8"/>'
_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  fill: #1f2328; stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }
.title { font-size: 18px; font-weight: 600; } .panel { font-size: 15px; font-weight: 600; }
.head { font-weight: 600; }
.quiet { fill: #59636e; font-size: 12px; } .value { font-variant-numeric: tabular-nums; }
.ours { font-weight: 600; }
.card { fill: #ffffff; stroke: #d1d9e0; } .grid { stroke: #d1d9e0; }
.bar { fill: #9aa4af; } .bar-ours { fill: #0b62c4; }
.bar-floor { fill: none; stroke: #6e7781; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; stroke: #0d1117; } .quiet { fill: #9198a1; }
  .card { fill: #0d1117; stroke: #3d444d; } .grid { stroke: #2a313c; }
  .bar { fill: #656c76; } .bar-ours { fill: #58a6ff; } .bar-floor { stroke: #9198a1; }
}"""


@dataclass(frozen=True)
class Bar:
    """One bar; `kind` is ours, peer or floor."""

    label: str
    seconds: float
    kind: str
    #: What stands behind the seconds.
    remark: str = ""


@dataclass(frozen=True)
class Group:
    """Bars under a heading."""

    heading: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Panel:
    """Groups that are measured against one another."""

    title: str
    groups: Sequence[Group]


class Scale:
    """Where on the line a number of seconds lies: linear, or logarithmic if they differ by much."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        self.is_log = high / low > 60
        self.low = 10.0 ** math.floor(math.log10(low) - 0.15) if self.is_log else 0.0
        self.high = high

    def width(self, value: float) -> float:
        """So many pixels."""
        full = WIDTH - _LEFT - _RIGHT
        if self.is_log:
            return full * math.log(value / self.low) / math.log(self.high / self.low)
        return full * value / self.high

    def ticks(self) -> Iterator[float]:
        """Round numbers of seconds."""
        if self.is_log:
            value = self.low
            while value <= self.high:
                yield value
                value *= 10
            return
        step = 10.0 ** math.floor(math.log10(self.high))
        step *= next(part for part in (0.2, 0.5, 1, 2) if self.high / (step * part) <= 6)
        yield from (turn * step for turn in range(int(self.high / step) + 1))


def draw(title: str, subtitle: str, panels: Sequence[Panel]) -> str:
    """The picture: one panel under the other, each with a scale of its own."""
    parts, top = list[str](), 96
    for panel in panels:
        drawn, top = _panel(panel, top)
        parts += drawn
    height = top - 16
    return "\n".join(
        [
            _SVG.format(width=WIDTH, height=height),
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(_description(panels))}</desc>',
            f"<style>\n{_STYLE}\n</style>",
            _CARD.format(right=WIDTH - 1, bottom=height - 1),
            _text(24, 36, title, "title"),
            _text(24, 58, subtitle, "quiet"),
            *parts,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, top: int) -> tuple[list[str], int]:
    """A panel, and where the next one may begin."""
    scale = Scale([bar.seconds for group in panel.groups for bar in group.bars])
    unit = "seconds, logarithmic" if scale.is_log else "seconds"
    bars = [_text(24, top, panel.title, "panel")]
    bars.append(_text(WIDTH - 24, top, f"{unit}; shorter is better", "quiet", anchor="end"))
    first = top + 16
    row = first + 6
    for group in panel.groups:
        bars.append(_text(24, row + _BAR - 3, group.heading, "head"))
        for bar in group.bars:
            bars += _bar(bar, scale, row)
            row += _ROW
        row += _GAP
    last = row - _GAP - 2
    return [*_grid(scale, first, last), *bars], last + 64


def _bar(bar: Bar, scale: Scale, top: int) -> Iterator[str]:
    suffix = "" if bar.kind == "peer" else f"-{bar.kind}"
    weight = " ours" if bar.kind == "ours" else ""
    width = max(scale.width(bar.seconds), 2)
    base = top + _BAR - 3
    yield _text(_LEFT - 10, base, bar.label, f"label{weight}", anchor="end")
    yield (
        f'<rect class="bar{suffix}" x="{_LEFT}" y="{top}" width="{width:.1f}"'
        f' height="{_BAR}" rx="2"/>'
    )
    digits = 2 if bar.seconds < 10 else 1 if bar.seconds < 100 else 0
    value = f"{bar.seconds:,.{digits}f} s"
    remark = f'<tspan class="quiet" dx="8">{escape(bar.remark)}</tspan>' if bar.remark else ""
    yield (
        f'<text class="value{weight}" x="{_LEFT + width + 8:.1f}" y="{base}">{value}{remark}</text>'
    )


def _grid(scale: Scale, top: int, bottom: int) -> Iterator[str]:
    for tick in scale.ticks():
        x = _LEFT + scale.width(tick) if tick else _LEFT
        yield (
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            + _text(x, bottom + 16, f"{tick:,g}", "quiet", anchor="middle")
        )


def _text(x: float, y: float, words: str, name: str, anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _description(panels: Sequence[Panel]) -> str:
    return " ".join(
        f"{panel.title}, {group.heading}: "
        + ", ".join(f"{bar.label} {bar.seconds:.2f} seconds" for bar in group.bars)
        + "."
        for panel in panels
        for group in panel.groups
    )
