"""What the readers of small records have in common: the object itself, its parent, its time."""

from __future__ import annotations

from etl.errors import RecordError
from etl.fields import Fields, example, key
from etl.record import Record


def opened(record: Record, kind: str, what: str) -> Fields:
    """The members of a record; its `id` counts as read, its `object` is checked against `kind`.

    Raises RecordError where the record is no JSON object; `what` names it there, as `an event`.
    """
    if not isinstance(record.value, dict):
        raise RecordError(f"{what} is a JSON object, this is not")
    fields = Fields(record.value, [])
    fields.raw("id")
    found = fields.text("object")
    if found is not None and found != kind:
        fields.note("object", "unknown_value", found)
    return fields


def parent(record: Record, what: str, owner: str, length: int) -> str:
    """What the record hangs off, fit for a column of `length` characters.

    Raises RecordError where nobody said it, or where it does not fit; `owner` names it there.
    """
    if not record.parent_id:
        raise RecordError(f"{what} belongs to {owner}, and nothing says to which")
    return key(record.parent_id, owner, length)


def created_at(fields: Fields) -> str:
    """When the record was made. Raises RecordError where it does not say so."""
    found = fields.moment("created_at")
    if found is None:
        raise RecordError(f"`created_at` is no time: {example(fields.raw('created_at')):.80}")
    return found
