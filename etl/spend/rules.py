"""Billable usage: what one job will be charged for, as far as its record says.

Usage only, never money: prices change and are applied by a view.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

#: Methods that OpenAI bills by training time; everything else is billed by trained tokens.
BILLED_BY_TIME = frozenset({"reinforcement"})

_BILLED = re.compile(r"Training tokens billed: ([0-9]{1,12})")


class Usage(NamedTuple):
    """An amount of something that is billed, and which field said so."""

    #: `trained_token` or `training_second`.
    unit: str
    origin: str
    quantity: int


#: What a server may call the seconds of training in `usage_metrics`: how OpenAI calls them is not
#: published, and a name that is not here is no usage rather than a guess.
TRAINING_SECONDS = frozenset(
    {
        "training_seconds",
        "train_seconds",
        "training_time_seconds",
        "training_duration_seconds",
        "core_training_seconds",
    }
)
#: Seconds: no training takes longer, and no sum of them is too large.
LONGEST = 10**9
#: What is more than this is no count of trained tokens, and would not fit into a sum; the views of
#: spend leave it out as well, and `unpriced_jobs` names the job.
MOST_TOKENS = 10**12


def job_usage(
    method_type: str | None, trained_tokens: int | None, usage_metrics: Any = None
) -> list[Usage]:
    """The usage of a job that its own record tells; one of before methods existed is supervised.

    `trained_tokens` counts every epoch already. A reinforcement job is billed by the hour, so its
    tokens say nothing about its price; its time stands in `usage_metrics`, if there. Less than
    nothing is no usage.
    """
    if method_type in BILLED_BY_TIME:
        seconds = _training_seconds(usage_metrics)
        if seconds is None:
            return []
        return [Usage("training_second", "usage_metrics", seconds)]
    if trained_tokens is None or trained_tokens < 0:
        return []
    return [Usage("trained_token", "trained_tokens", trained_tokens)]


def _training_seconds(metrics: Any) -> int | None:
    """The seconds of training, rounded half up; None where not exactly one member tells them."""
    if not isinstance(metrics, dict):
        return None
    found = [metrics[name] for name in TRAINING_SECONDS if name in metrics]
    if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], (int, float)):
        return None
    if not 0 <= found[0] <= LONGEST:
        return None
    return math.floor(found[0] + 0.5)


def billed_tokens(message: str | None) -> int | None:
    """What Azure says that it billed, in an event of its own: less than `trained_tokens`.

    Source: events of jobs at Azure, as `Training tokens billed: 5000`.
    """
    found = _BILLED.fullmatch(message or "")
    return int(found[1]) if found else None
