"""An invented job as the API would write it in the year it was created."""

from __future__ import annotations

from . import clock
from .biography import DPO, REINFORCEMENT, SUPERVISED, Biography
from .jobs import Invented
from .scenery import BREAKDOWNS, FAILURES, WANDB_PROJECTS, Json, grader
from .slices import dump
from .state import State


def job_text(jobs: Invented, serial: int) -> str:
    """The job's JSON text."""
    life, state = jobs.life(serial), jobs.state(serial)
    job = _azure(jobs, life, state) if jobs.azure else _openai(jobs, life, state)
    return dump(job)


def failure(life: Biography, state: State) -> tuple[str, str, str | None] | None:
    """Code, message and parameter of a failed job's error."""
    if state.status != "failed":
        return None
    choices = FAILURES if state.started_at is None else BREAKDOWNS
    code, message, param = life.dice(2).pick(choices)
    if param == "validation_file" and not life.has_validation:
        param = "training_file"
    return code, message, param


def _openai(jobs: Invented, life: Biography, state: State) -> Json:
    serial, created = life.serial, life.created_at
    done = state.status == "succeeded"
    training, validation = jobs.input_files(serial)
    dice = life.dice(3)
    brief = created < clock.THREE_HYPERPARAMETERS
    lost = state.status == "failed" and dice.percent(50)
    gained = int(state.gains > 0 and life.method == SUPERVISED and (brief or lost))
    hyperparameters = _hyperparameters(life, state)
    job: Json = {
        "object": "fine_tuning.job",
        "id": jobs.job_id(serial),
        "model": jobs.model(serial),
        "created_at": created,
        # Failed and cancelled jobs have no end, as at the real API.
        "finished_at": state.ended_at if done else None,
        "fine_tuned_model": jobs.final_model(serial) if done else None,
        "organization_id": jobs.organization,
        "result_files": [jobs.file_id(serial, 2)] if done else [],
        "status": state.status,
        "validation_file": validation,
        "training_file": training,
        "hyperparameters": hyperparameters,
        "trained_tokens": life.trained_tokens if done else None,
    }
    if life.method == REINFORCEMENT and dice.percent(50):
        del job["hyperparameters"]
    elif life.method != SUPERVISED or (lost and not gained):
        job["hyperparameters"] = None
    elif brief and not gained:
        job["hyperparameters"] = {"n_epochs": hyperparameters["n_epochs"]}
    _add_error(job, life, state, created, dice.between(1, 100))
    _add_later_keys(jobs, job, life, state, state.gains - gained)
    if created >= clock.METHOD and (life.method != SUPERVISED or dice.percent(97)):
        job["method"] = _method(life, hyperparameters)
    return job


def _add_later_keys(jobs: Invented, job: Json, life: Biography, state: State, renamed: int) -> None:
    """The keys that the API got over the years; `renamed` counts changes of the suffix."""
    serial, created, dice = life.serial, life.created_at, life.dice(9)
    if renamed:
        job["user_provided_suffix"] = f"{life.suffix or 'kept'}-r{renamed}"
    elif created >= clock.SUFFIX_KEY:
        job["user_provided_suffix"] = life.suffix
    if created >= clock.SEED:
        job["seed"] = None if dice.percent(1) else dice.between(0, 2**31 - 1)
    if created >= clock.ESTIMATED_FINISH:
        job["estimated_finish"] = _estimate(life, state) if state.status == "running" else None
    if created >= clock.SEED:
        job["integrations"] = _integrations(jobs, life)
    if created >= clock.METADATA:
        job["metadata"] = jobs.metadata(serial)
    if created >= clock.REINFORCEMENT:
        # The members of usage_metrics are not publicly known, so none are invented.
        job["usage_metrics"] = None
        job["shared_with_openai"] = dice.percent(10)
        job["eval_id"] = None
    if created >= clock.INTERNAL_KEYS:
        job["internal_worker_backend"] = None
        job["internal_peashooter_execution"] = None


def _add_error(job: Json, life: Biography, state: State, created: int, throw: int) -> None:
    error = failure(life, state)
    if created < clock.ERROR_KEY:
        return
    if error is not None:
        job["error"] = dict(zip(("code", "message", "param"), error, strict=True))
    elif created >= clock.EMPTY_ERROR:
        # All three mean the same: no error.
        nothing: Json = {}
        if throw > 80:
            nothing = {"code": None, "message": None, "param": None}
        if throw > 92:
            nothing["error"] = None
        job["error"] = nothing
    else:
        job["error"] = None


def _hyperparameters(life: Biography, state: State) -> Json:
    values: Json = {
        "n_epochs": life.n_epochs,
        "batch_size": life.batch_size,
        "learning_rate_multiplier": life.learning_rate,
    }
    if state.validated_at is None:
        # The API replaces `auto` only when it has seen the files.
        values.update(dict.fromkeys(life.auto, "auto"))
    return values


def _method(life: Biography, common: Json) -> Json:
    dice = life.dice(4)
    hyperparameters = dict(common)
    rate = hyperparameters["learning_rate_multiplier"]
    if isinstance(rate, int) and dice.percent(50):
        # One number written in two ways in one object, as the real API does.
        hyperparameters["learning_rate_multiplier"] = float(rate)
    details: Json = {"hyperparameters": hyperparameters}
    if life.method == DPO:
        hyperparameters["beta"] = dice.pick(("auto", 0.1, 0.5, 1))
    elif life.method == REINFORCEMENT:
        hyperparameters["compute_multiplier"] = dice.pick(("auto", 1.0, 0.5))
        hyperparameters["eval_interval"] = dice.pick(("auto", 5, 10))
        hyperparameters["eval_samples"] = dice.pick(("auto", 3))
        hyperparameters["reasoning_effort"] = dice.pick(("default", "low", "medium", "high"))
        details["grader"] = grader(dice)
        details["response_format"] = None
    return {"type": life.method, life.method: details}


def _integrations(jobs: Invented, life: Biography) -> list[Json]:
    dice = life.dice(5)
    if not dice.percent(12):
        return []
    wandb: Json = {
        "project": dice.pick(WANDB_PROJECTS),
        "entity": None,
        "name": dice.pick((None, f"run-{life.serial}")),
        "tags": dice.pick((None, ["nightly"], ["prod", "v2"])),
        "run_id": jobs.job_id(life.serial),
    }
    return [{"type": "wandb", "wandb": wandb}]


def _estimate(life: Biography, state: State) -> int:
    started = state.resumed_at or state.started_at or life.created_at
    return started + int(life.steps * life.step_seconds) + 600


def _azure(jobs: Invented, life: Biography, state: State) -> Json:
    serial, created = life.serial, life.created_at
    done = state.status == "succeeded"
    unknown = state.validated_at is None
    hyperparameters: Json = {"n_epochs": life.n_epochs}
    if created >= clock.SEED:
        # Azure writes -1 where OpenAI writes "auto".
        hyperparameters["batch_size"] = life.batch_size
        hyperparameters["learning_rate_multiplier"] = float(life.learning_rate)
        if unknown:
            names = sorted(life.auto - {"learning_rate_multiplier"})
            hyperparameters.update(dict.fromkeys(names, -1))
    job: Json = {
        "hyperparameters": hyperparameters,
        "status": state.status,
        "model": life.base,
        "training_file": jobs.file_id(serial, 0),
        "id": jobs.job_id(serial),
        "created_at": created,
        "object": "fine_tuning.job",
    }
    if life.has_validation:
        job["validation_file"] = jobs.file_id(serial, 1)
    if done:
        job["fine_tuned_model"] = jobs.final_model(serial)
        job["finished_at"] = state.ended_at
        job["result_files"] = [jobs.file_id(serial, 2)]
        job["trained_tokens"] = life.trained_tokens
    error = failure(life, state)
    if error is not None:
        job["error"] = {"code": error[0], "message": error[1]}
    _add_azure_era(job, life, state, hyperparameters)
    if state.gains:
        job["suffix"] = f"{life.suffix or 'kept'}-r{state.gains}"
    elif life.suffix:
        job["suffix"] = life.suffix
    return job


def _add_azure_era(job: Json, life: Biography, state: State, hyperparameters: Json) -> None:
    """What Azure's older form has, or its newer one."""
    created, dice = life.created_at, life.dice(6)
    if created < clock.SEED:
        job["updated_at"] = state.ended_at or state.started_at or created
    elif dice.percent(70):
        # The newer form writes null where the older one leaves the key out.
        absent = ("error", "fine_tuned_model", "finished_at", "organization_id", "result_files")
        for name in (*absent, "trained_tokens", "validation_file"):
            job.setdefault(name, None)
        job["seed"] = dice.pick((105, dice.between(0, 2**31 - 1)))
        job["integrations"] = None
        # Set once and left alone when the job ends.
        job["estimated_finish"] = created + dice.between(1_000, 9_000)
        if created >= clock.METADATA:
            job["metadata"] = None
            job["method"] = _method(life, hyperparameters) if life.method == DPO else None
