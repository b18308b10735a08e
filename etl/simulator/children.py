"""Events and checkpoints of invented jobs, told from the job's life and state."""

from __future__ import annotations

from typing import NamedTuple

from . import clock
from .biography import DPO, REINFORCEMENT, Biography
from .dice import Dice, IdCode, mix
from .jobs import Invented
from .render import failure
from .scenery import CATEGORIES, Json
from .slices import dump
from .state import State, step_time, steps_done


class _Told(NamedTuple):
    """An event without its id."""

    at: int
    message: str
    level: str = "info"
    kind: str = "message"
    data: Json | None = None


class Events:
    """The events of one job. They only ever grow at the end, so number n stays what it is."""

    def __init__(self, jobs: Invented, serial: int, now: int) -> None:
        self._jobs, self._serial = jobs, serial
        self._life: Biography = jobs.life(serial)
        self._state: State = jobs.state(serial)
        self._ids = IdCode(mix(self._life.key, 20), hexadecimal=jobs.azure)
        self._opening = _opening(jobs, self._life, self._state)
        self._first, self._stride = _told_steps(self._life, azure=jobs.azure)
        done = steps_done(self._life, self._state, now)
        self._steps = max(0, (done - self._first) // self._stride + 1)
        self._closing = _closing(jobs, self._life, self._state)

    def __len__(self) -> int:
        return len(self._opening) + self._steps + len(self._closing)

    def find(self, event_id: str) -> int | None:
        """The number of an event, 0 being the first that happened, or None."""
        number = self._ids.decode(event_id[8:]) if event_id.startswith("ftevent-") else None
        if number is None or number >= len(self):
            return None
        return number if event_id == self._id(number) else None

    def text(self, number: int) -> str:
        """The JSON text of an event."""
        told = self._tell(number)
        event: Json = {
            "object": "fine_tuning.job.event",
            "id": self._id(number),
            "created_at": told.at,
            "level": told.level,
            "message": told.message,
        }
        if told.data is not None or not self._jobs.azure:
            event["data"] = told.data
        event["type"] = told.kind
        return dump(event)

    def _id(self, number: int) -> str:
        return "ftevent-" + self._ids.encode(number, 32 if self._jobs.azure else 24)

    def _tell(self, number: int) -> _Told:
        if number < len(self._opening):
            return self._opening[number]
        number -= len(self._opening)
        if number < self._steps:
            step = self._first + number * self._stride
            at = step_time(self._life, self._state, step)
            return _step(self._life, step, at, azure=self._jobs.azure)
        return self._closing[number - self._steps]


def _told_steps(life: Biography, *, azure: bool) -> tuple[int, int]:
    """Which steps get an event: the first one, and the distance to the next."""
    if azure:
        return 10, 10
    if life.created_at < clock.EMPTY_ERROR:
        return 1, 100 if life.steps > 500 else 10
    return 1, 1


def _opening(jobs: Invented, life: Biography, state: State) -> list[_Told]:
    created = life.created_at
    training, validation = jobs.input_files(life.serial)
    files = f"training file: {training}"
    if validation is not None:
        files += f" and validation file: {validation}"
    told = [
        _Told(created, f"Created fine-tuning job: {jobs.job_id(life.serial)}", data={}),
        _Told(created, f"Validating {files}", data={}),
    ]
    if state.validated_at is not None:
        if life.dice(21).percent(5):
            warning = (
                f"File {training} contains examples greater than the supported context size. "
                "These examples will be truncated."
            )
            told.append(_Told(state.validated_at - 1, warning, level="warn", data={}))
        message = "Files validated, moving job to queued state"
        told.append(_Told(state.validated_at, message, data={}))
    if state.started_at is not None:
        told.append(_Told(state.started_at, "Fine-tuning job started"))
    return told


def _step(life: Biography, step: int, at: int, *, azure: bool) -> _Told:
    dice = Dice(life.key, 22, step)
    if life.method == REINFORCEMENT:
        return _reinforced_step(life, step, at, dice)
    measured = measure(life, step)
    data: Json = {"step": step, "train_loss": measured.train_loss}
    if not azure and life.created_at >= clock.SEED:
        data["total_steps"] = life.steps
    # A perfect accuracy is at times written as an integer.
    data["train_mean_token_accuracy"] = measured.train_accuracy
    message = f"Step {step}/{life.steps}: training loss={measured.train_loss:.2f}"
    if azure:
        message = f"Step {step}: training loss={measured.train_loss}"
    if measured.valid_loss is not None:
        data["valid_loss"] = measured.valid_loss
        data["valid_mean_token_accuracy"] = measured.valid_accuracy
        message += "" if azure else f", validation loss={measured.valid_loss:.2f}"
        if step % life.steps_per_epoch == 0:
            data["full_valid_loss"] = measured.valid_loss * 0.97
            data["full_valid_mean_token_accuracy"] = measured.valid_accuracy
            message += "" if azure else f", full validation loss={measured.valid_loss * 0.97:.2f}"
    return _Told(at, message, kind="metrics", data=data)


class Measured(NamedTuple):
    """What was measured at a step."""

    train_loss: float
    train_accuracy: float
    valid_loss: float | None
    valid_accuracy: float | None


def measure(life: Biography, step: int) -> Measured:
    """The measurements of a step (from 1): losses fall, with noise."""
    dice = Dice(life.key, 23, step)
    progress = step / life.steps
    loss = max(6.35782896551973e-07, (2.4 - 2.1 * progress) * (0.7 + 0.6 * dice.share()) - 0.3)
    accuracy = min(1.0, 0.45 + 0.5 * progress + 0.1 * dice.share())
    if accuracy == 1.0:
        accuracy = 1
    valid_loss = valid_accuracy = None
    last_of_epoch = step % life.steps_per_epoch == 0
    if life.has_validation and (last_of_epoch or step % 10 == 0):
        valid_loss = loss * (0.9 + 0.3 * dice.share()) + _learnt_by_heart(life, progress)
        valid_accuracy = min(1.0, accuracy * (0.9 + 0.1 * dice.share()))
    return Measured(loss, accuracy, valid_loss, valid_accuracy)


def _learnt_by_heart(life: Biography, progress: float) -> float:
    """What the validation loss has more: it rises late in some of the jobs with many epochs."""
    if life.n_epochs < 4 or not life.dice(26).percent(60):
        return 0.0
    return 3.0 * max(0.0, progress - 0.6)


def _reinforced_step(life: Biography, step: int, at: int, dice: Dice) -> _Told:
    reward = round(0.3 + 0.5 * step / life.steps + 0.1 * dice.share(), 4)
    tokens = dice.between(900, 4_000)
    iteration = life.step_seconds
    data: Json = {
        "step": step,
        "total_steps": life.steps,
        "train_mean_reward": reward,
        "reasoning_tokens_mean": tokens,
        "completion_tokens_mean": tokens + dice.between(50, 300),
        "mean_unresponsive_rewards": 0.0,
        "usage": {"graders": [], "samples": {"train_completion_tokens_mean": tokens}},
        "errors": {"graders": []},
        "scores": {"train_reward_mean": reward, "valid_reward_mean": None, "graders": []},
        "timing": {
            "step": {
                "sampling": iteration * 0.5,
                "training": iteration * 0.3,
                "eval": iteration * 0.2,
                "full_iteration": iteration,
            },
            "graders": [],
        },
        "model_graders_token_usage": {},
    }
    message = f"Step {step}/{life.steps}: train_mean_reward={reward:.2f}"
    if step % 5 == 0 or step == life.steps:
        data["full_valid_mean_reward"] = valid_reward(life, step)
        data["full_valid_mean_parse_error"] = 0.0
        message += f", full_valid_mean_reward={valid_reward(life, step):.2f}"
    return _Told(at, message, kind="metrics", data=data)


def valid_reward(life: Biography, step: int) -> float:
    """Mean validation reward of a reinforcement step."""
    return round(0.25 + 0.5 * step / life.steps + 0.1 * Dice(life.key, 24, step).share(), 4)


def _closing(jobs: Invented, life: Biography, state: State) -> list[_Told]:
    end = state.ended_at
    if end is None:
        return []
    error = failure(life, state)
    if error is not None:
        return [_Told(end, error[1], level="error", data={"error_code": error[0]})]
    if state.status == "cancelled":
        return [_Told(end, "Fine-tuning job was cancelled", data={})]
    model = jobs.final_model(life.serial)
    if jobs.azure:
        billed = max(1, life.trained_tokens * 8 // 10_000) * 1_000
        result = jobs.file_id(life.serial, 2)
        return [
            _Told(end - 9, "Job succeeded."),
            _Told(end - 1, "Model Evaluation Passed."),
            _Told(end, f"Completed results file: {result}"),
            _Told(end, f"Training tokens billed: {billed}"),
        ]
    terse = life.created_at >= clock.PLAIN_MODEL_EVENT
    told = []
    for step, name in checkpoint_models(jobs, life)[:-1]:
        snapshot = "" if terse else f" with Snapshot ID: {name}"
        told.append(_Told(end - 8, f"Checkpoint created at step {step}{snapshot}", data={}))
    made = "New fine-tuned model created"
    told.append(_Told(end - 8, made if terse else f"{made}: {model}", data={}))
    if life.created_at >= clock.REINFORCEMENT:
        told.append(_Told(end - 8, "Evaluating model against our usage policies", data={}))
        if life.created_at >= clock.MODERATION_EVENTS:
            told.append(_moderation(model, end - 4))
        enabled = "Usage policy evaluations completed, model is now enabled for sampling"
        told.append(_Told(end - 4, enabled, data={}))
    told.append(_Told(end, "The job has successfully completed", data={}))
    return told


def _moderation(model: str, at: int) -> _Told:
    soft = "self-harm/instructions"
    results = [
        {
            "flagged": False,
            "category": category,
            "enforcement": "non_blocking" if category == soft else "blocking",
        }
        for category in CATEGORIES
    ]
    data: Json = {"blocked": False, "results": results, "finetuned_model_checkpoint_id": model}
    message = f"Moderation checks for snapshot {model} passed."
    return _Told(at, message, kind="moderation_checks", data=data)


def checkpoint_models(jobs: Invented, life: Biography) -> list[tuple[int, str]]:
    """Step and model name of a succeeded job's checkpoints; the last is the final model."""
    if life.method == REINFORCEMENT:
        judged = [step for step in range(1, life.steps) if step % 5 == 0]
        best = sorted(judged, key=lambda step: -valid_reward(life, step))[:2]
        steps = [*sorted(best), life.steps]
    else:
        kept = range(max(1, life.n_epochs - 2), life.n_epochs + 1)
        steps = [epoch * life.steps_per_epoch for epoch in kept]
    named = []
    for number, step in enumerate(steps[:-1], start=1):
        if jobs.azure:
            stem = f"{life.base}.ft-{jobs.job_id(life.serial)[6:]}"
        else:
            stem = f"{jobs.model_stem(life)}:{jobs.model_code(life.serial, number)}"
        named.append((step, f"{stem}:ckpt-step-{step}"))
    return [*named, (steps[-1], jobs.final_model(life.serial))]


def checkpoint_texts(jobs: Invented, serial: int) -> list[tuple[str, str]]:
    """Id and JSON text of a job's checkpoints, highest step first."""
    life, state = jobs.life(serial), jobs.state(serial)
    if state.status != "succeeded" or life.created_at < clock.SEED:
        return []
    ids = IdCode(mix(life.key, 25), hexadecimal=jobs.azure)
    found = []
    for number, (step, model) in enumerate(checkpoint_models(jobs, life)):
        body = ids.encode(number, 32 if jobs.azure else 24)
        checkpoint_id = f"ftchkpt-{body}" if jobs.azure else f"ftckpt_{body}"
        checkpoint: Json = {
            "object": "fine_tuning.job.checkpoint",
            "id": checkpoint_id,
            "created_at": step_time(life, state, step),
            "fine_tuned_model_checkpoint": model,
            "fine_tuning_job_id": jobs.job_id(serial),
            "metrics": _metrics(life, step, azure=jobs.azure),
            "step_number": step,
        }
        found.append((checkpoint_id, dump(checkpoint)))
    return found[::-1]


def _metrics(life: Biography, step: int, *, azure: bool) -> Json:
    metrics: Json = {"step": float(step) if azure else step}
    if life.method == REINFORCEMENT:
        return metrics
    measured = measure(life, step)
    metrics["train_loss"] = measured.train_loss
    if life.method == DPO:
        return metrics
    metrics["train_mean_token_accuracy"] = measured.train_accuracy
    if measured.valid_loss is not None:
        metrics["valid_loss"] = measured.valid_loss
        metrics["valid_mean_token_accuracy"] = measured.valid_accuracy
        metrics["full_valid_loss"] = measured.valid_loss * 0.97
        metrics["full_valid_mean_token_accuracy"] = measured.valid_accuracy
    return metrics
