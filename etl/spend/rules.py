"""Billable usage: what one job will be charged for, as far as its record says.

Usage only, never money: prices change and are applied by a view.
"""

from __future__ import annotations

from typing import NamedTuple

#: Methods that OpenAI bills by training time; everything else is billed by trained tokens.
BILLED_BY_TIME = frozenset({"reinforcement"})


class Usage(NamedTuple):
    """An amount of something that is billed, and which field said so."""

    #: `trained_token` or `training_second`.
    unit: str
    origin: str
    quantity: int


def job_usage(method_type: str | None, trained_tokens: int | None) -> list[Usage]:
    """The usage of a supervised or DPO job; a job of before methods existed is supervised.

    `trained_tokens` counts every epoch already. A reinforcement job is billed by the hour, so its
    tokens say nothing about its price, and no field of it is known to hold the time. Fewer tokens
    than none are no usage.
    """
    if trained_tokens is None or trained_tokens < 0 or method_type in BILLED_BY_TIME:
        return []
    return [Usage("trained_token", "trained_tokens", trained_tokens)]
