"""What the API's words say of a job: is it final, how far along is it, what was trained first."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from etl.record import Record

FINAL_STATUSES = frozenset({"succeeded", "failed", "cancelled"})
#: How far along an open job is; any status that is not here is somewhere in the middle.
OPEN_STATUSES = {
    "created": 0,
    "validating_files": 0,
    "pending": 1,
    "queued": 1,
    "running": 2,
    "paused": 2,
}
METHOD_TYPES = frozenset({"supervised", "dpo", "reinforcement"})
#: `object` of a job; `fine-tune` is what exports of the retired endpoint hold.
OBJECTS = frozenset({"fine_tuning.job", "fine-tune"})

_LEGACY_MODEL = re.compile(r"(?P<base>[^:]+):ft-")
_AZURE_MODEL = re.compile(r"(?P<base>.+?)\.ft-[0-9a-f]{32}")


@lru_cache(maxsize=1024)
def base_model(model: str | None) -> str | None:
    """The model that was trained first, under any chain of fine-tunings.

    `ft:{base}:{organisation}:{suffix}:{id}` at OpenAI, `{base}.ft-{32 hex}` at Azure and
    `{base}:ft-{organisation}-{date}` in the years before.
    """
    while model:
        if model.startswith("ft:"):
            rest = model.removeprefix("ft:")
            under = rest.split(":", 1)[0]
            if under == "ft":  # a chain written out: ft:ft:…
                under = rest
        elif match := _LEGACY_MODEL.match(model) or _AZURE_MODEL.match(model):
            under = match["base"]
        else:
            return model
        model = under
    return None


def is_final(record: Record) -> bool:
    """Has the job ended? Any status that is not known to be final may still change."""
    return _status(record) in FINAL_STATUSES


def progress(record: Record) -> int:
    """How far along this state is: its status first, then how much it says."""
    status = _status(record)
    stage = 3 if status in FINAL_STATUSES else OPEN_STATUSES.get(status, 2)
    return stage * 10_000 + min(_said(record.value), 9_999)


def _status(record: Record) -> str:
    status = record.value.get("status") if isinstance(record.value, dict) else None
    return status if isinstance(status, str) else ""


def _said(value: Any) -> int:
    """How much a value says: a value counts for two, one that was left to the server for one."""
    if isinstance(value, dict):
        return sum(_said(item) for item in value.values())
    if isinstance(value, list):
        return sum(_said(item) for item in value)
    if value is None:
        return 0
    return 1 if value in ("auto", -1) else 2
