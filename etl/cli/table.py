"""Tables as text: columns side by side where they fit, and no word ever cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Columns of the screen that a column keeps at least, however little room there is.
NARROWEST = 8


@dataclass(frozen=True)
class Shape:
    """How a table is drawn."""

    #: Columns of the screen that lines are to fit in.
    width: int
    #: Spaces between two columns.
    gap: int
    #: Of each column, whether its cells stand to the right.
    right: Sequence[bool]


def drawn(head: Sequence[str], rows: Sequence[Sequence[str]], shape: Shape) -> list[list[str]]:
    """The lines of the header, and those of each row.

    Text that is too long goes on below, broken at spaces only. An id or a name that is wider than
    its column keeps its line to itself, and the cells behind it stand below, in their columns: so
    it can be copied, and found by `grep`.
    """
    widths = _widths([head, *rows], shape)
    return [_row(cells, widths, shape) for cells in (head, *rows)]


def total(widths: Sequence[int], gap: int) -> int:
    """Columns of the screen that these columns take, with what is between them."""
    return sum(widths) + gap * (len(widths) - 1)


def _widths(rows: Sequence[Sequence[str]], shape: Shape) -> list[int]:
    columns = list(zip(*rows, strict=True))
    widths = [max(map(_size, cells)) for cells in columns]
    words = [max(_size(word) for cell in cells for word in cell.split(" ")) for cells in columns]
    for _ in columns:
        if total(words, shape.gap) <= shape.width:
            break
        # The widest names keep lines to themselves, so that the other columns need not be broken.
        at = max(range(len(words)), key=words.__getitem__)
        rooms = [
            shape.width - total(kept, shape.gap) + kept[at]
            for kept in (widths, [*words[:at], widths[at], *words[at + 1 :]])
        ]
        room = rooms[0] if rooms[0] >= NARROWEST else rooms[1]
        words[at] = widths[at] = min(words[at], max(room, NARROWEST, _size(columns[at][0])))
    _narrow(widths, words, shape)
    return widths


def _narrow(widths: list[int], least: Sequence[int], shape: Shape) -> None:
    """Take from the widest column first, until the table fits or none has more to give."""
    while (over := total(widths, shape.gap) - shape.width) > 0:
        givers = [at for at, size in enumerate(widths) if size > least[at]]
        if not givers:
            return
        widest = max(givers, key=lambda at: widths[at])
        following = max((widths[at] for at in givers if widths[at] < widths[widest]), default=0)
        widths[widest] = max(
            widths[widest] - over, least[widest], min(following, widths[widest] - 1)
        )


def _row(cells: Sequence[str], widths: Sequence[int], shape: Shape) -> list[str]:
    """A row's lines: bands of cells, each band ended by a cell that is wider than its column."""
    done: list[str] = []
    band: list[list[str]] = []
    last = len(cells) - 1
    for at, cell in enumerate(cells):
        lines = broken(cell, widths[at])
        if shape.right[at]:
            lines = [" " * (widths[at] - _size(line)) + line for line in lines]
        start = total(widths[:at], shape.gap) + shape.gap if at else 0
        for number, line in enumerate(lines):
            if number == len(band):
                band.append([])
            before = "".join(band[number])
            band[number] = [before, " " * (start - _size(before)), line]
        if at < last and any(_size(line) > widths[at] for line in lines):
            done += _joined(band)
            band = []
    return done + _joined(band)


def _joined(band: Sequence[Sequence[str]]) -> list[str]:
    lines = ["".join(parts).rstrip() for parts in band]
    return lines if any(lines) or len(lines) == 1 else []


def broken(text: str, width: int) -> list[str]:
    """The text in lines of so many columns, broken at spaces; a longer word is left whole."""
    if _size(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and _size(lines[-1]) + 1 + _size(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _size(text: str) -> int:
    """Columns of the screen that a text takes: an ideograph takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
