"""What will ever happen to an invented job, drawn from the seed: its whole life, fixed at birth."""

from __future__ import annotations

from typing import NamedTuple

from . import clock
from .dice import Dice

SUPERVISED, DPO, REINFORCEMENT = "supervised", "dpo", "reinforcement"
#: Longest time in seconds from creation to the end of a job that nobody delays.
LONGEST_LIFE = 9 * clock.HOUR


class Biography(NamedTuple):
    """One job's life. Times in unix seconds, lengths in seconds."""

    serial: int
    #: Feeds the dice of everything derived from this job.
    key: int
    created_at: int
    method: str
    #: The snapshot under the model: the model itself, or that of the `ft:` model trained further.
    base: str
    suffix: str | None
    n_epochs: int
    batch_size: int
    learning_rate: float
    #: Which hyperparameters were asked for as `auto`.
    auto: frozenset[str]
    has_validation: bool
    steps_per_epoch: int
    tokens_per_epoch: int
    #: How the job will end, and in which phase: `files`, `queue` or `training`.
    fate: str
    phase: str
    validation_seconds: int
    queue_seconds: int
    step_seconds: float
    closing_seconds: int

    @property
    def steps(self) -> int:
        """All training steps."""
        return self.n_epochs * self.steps_per_epoch

    @property
    def trained_tokens(self) -> int:
        """Billable tokens over all epochs."""
        return self.n_epochs * self.tokens_per_epoch

    def dice(self, purpose: int) -> Dice:
        """Dice for one purpose, independent of every other purpose."""
        return Dice(self.key, purpose)


def draw(serial: int, key: int, created_at: int, *, azure: bool) -> Biography:
    """The life of a job created at that time."""
    dice = Dice(key)
    method = _method(dice, created_at, azure=azure)
    reinforced = method == REINFORCEMENT
    fate, phase = _fate(dice)
    n_epochs = dice.pick((1, 1, 2, 3, 3, 3, 4, 5, 8, 10))
    lengthy = dice.between(1, 100)
    if reinforced:
        n_epochs, steps = dice.between(1, 3), dice.between(6, 40)
    elif lengthy <= 85:
        steps = dice.between(10, 90)
    elif lengthy <= 98:
        steps = dice.between(90, 300)
    else:
        steps = dice.between(600, 2000)
    steps_per_epoch = max(1, steps // n_epochs)
    batch_size = dice.pick((1, 1, 1, 2, 3, 4, 7, 8, 16))
    seconds = dice.between(3_600, 6 * clock.HOUR) if reinforced else dice.between(240, 9_000)
    auto = frozenset(
        name for name in ("n_epochs", "batch_size", "learning_rate_multiplier") if dice.percent(65)
    )
    return Biography(
        serial=serial,
        key=key,
        created_at=created_at,
        method=method,
        base=_model(dice, created_at, method),
        suffix=None,
        n_epochs=n_epochs,
        batch_size=batch_size,
        # Some are written 1, some 1.0: both come from the real API.
        learning_rate=dice.pick((2, 2, 1.8, 1.8, 1, 1.0, 0.1, 0.2, 0.5, 2.0, 0.05, 8)),
        auto=auto,
        has_validation=reinforced or dice.percent(45),
        steps_per_epoch=steps_per_epoch,
        tokens_per_epoch=steps_per_epoch * batch_size * dice.between(40, 900),
        fate=fate,
        phase=phase,
        validation_seconds=dice.between(8, 200),
        queue_seconds=dice.between(1, 1_200),
        step_seconds=seconds / (n_epochs * steps_per_epoch),
        closing_seconds=dice.between(10, 900),
    )


def _method(dice: Dice, created_at: int, *, azure: bool) -> str:
    throw = dice.between(1, 100)
    if created_at >= clock.REINFORCEMENT and throw <= 12 and not azure:
        return REINFORCEMENT
    if created_at >= clock.METHOD and 12 < throw <= 26:
        return DPO
    return SUPERVISED


def _model(dice: Dice, created_at: int, method: str) -> str:
    if method == REINFORCEMENT:
        return clock.REINFORCED
    known = [model for since, model in clock.MODELS if since <= created_at]
    # People move to the newest models, and some stay.
    return known[-1 - min(dice.between(0, 3), dice.between(0, 3), len(known) - 1)]


def _fate(dice: Dice) -> tuple[str, str]:
    throw = dice.between(1, 100)
    if throw <= 74:
        return "succeeded", "training"
    if throw <= 84:
        return "failed", "files"
    if throw <= 89:
        return "failed", "training"
    if throw <= 92:
        return "cancelled", "files"
    if throw <= 95:
        return "cancelled", "queue"
    return "cancelled", "training"
