"""A table brought in step with its original: both read in one order, the differences written."""

from __future__ import annotations

from etl.db.copies import Place
from etl.moving.destination import Destination
from etl.moving.reading import Original, Page, Progress
from etl.moving.values import Key, Row, Shape

_NOTHING = Page([], is_last=True)


def walk(
    original: Original, destination: Destination, shape: Shape, place: Place, progress: Progress
) -> int:
    """Go from a place to the end of a table; how many rows it has then.

    Into an empty table this is a plain copy. A table that was copied from another state of the same
    mirror gets what is new, changed and gone since.
    """
    walker = _Walker(original, destination, shape, place, progress)
    for rows in original.pages(shape, place.last_key):
        walker.take(rows)
    walker.end()
    return walker.count


class _Walker:
    def __init__(
        self,
        original: Original,
        destination: Destination,
        shape: Shape,
        place: Place,
        progress: Progress,
    ) -> None:
        self._destination = destination
        self._shape = shape
        self._at: Key | None = place.last_key
        self._progress = progress
        self._of = original.rows(shape)
        #: Does the destination have nothing behind this place?
        self._is_clear = False
        self.count = place.rows

    def take(self, rows: list[Row]) -> None:
        """The next rows of the original."""
        key = self._shape.key
        while rows:
            there, is_last = self._there()
            end = key(rows[-1])
            if not is_last:
                end = min(end, key(there[-1]))
            of_both = (
                [row for row in rows if key(row) <= end],
                [row for row in there if key(row) <= end],
            )
            self._step(*of_both, end)
            self._is_clear = is_last and len(of_both[1]) == len(there)
            rows = rows[len(of_both[0]) :]

    def end(self) -> None:
        """The original has no more rows, so nor has this."""
        while not self._is_clear:
            there, is_last = self._there()
            if there:
                self._step([], there, self._shape.key(there[-1]))
            self._is_clear = is_last

    def _there(self) -> Page:
        return _NOTHING if self._is_clear else self._destination.page(self._shape, self._at)

    def _step(self, rows: list[Row], there: list[Row], end: Key) -> None:
        self.count += len(rows)
        self._destination.step(self._shape, rows, there, end, self.count)
        self._at = end
        self._progress(self._shape.name, self.count, self._of)
