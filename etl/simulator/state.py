"""Where in its life a job stands, and what comes next. All times are unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .biography import Biography

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a job's life."""

    status: str
    validated_at: int | None = None
    started_at: int | None = None
    #: When a final status was reached.
    ended_at: int | None = None
    #: Steps done when training stopped or paused; None while it goes on or after it ran through.
    halted_at_step: int | None = None
    #: When a paused job went on, and behind which step.
    resumed_at: int | None = None
    resumed_after: int = 0
    #: How often a finished job has gained something since it ended.
    gains: int = 0


def step_time(life: Biography, state: State, step: int) -> int:
    """When a step (from 1) was done."""
    started = state.started_at or life.created_at
    if state.resumed_at is not None and step > state.resumed_after:
        return state.resumed_at + int((step - state.resumed_after) * life.step_seconds)
    return started + int(step * life.step_seconds)


def steps_done(life: Biography, state: State, now: int) -> int:
    """How many training steps are behind this job."""
    if state.started_at is None:
        return 0
    if state.status == "succeeded":
        return life.steps
    if state.status != "running":
        return state.halted_at_step or 0
    since, before = state.started_at, 0
    if state.resumed_at is not None:
        since, before = state.resumed_at, state.resumed_after
    done = before + int((now - since) / life.step_seconds)
    # The last step is done only when the job says that it succeeded.
    return max(before, min(done, life.steps - 1))


def finished(life: Biography) -> State:
    """The final state of a job that nobody delayed."""
    validated = life.created_at + life.validation_seconds
    started = validated + life.queue_seconds
    if life.phase == "files":
        return State(life.fate, ended_at=validated)
    if life.phase == "queue":
        return State(life.fate, validated_at=validated, ended_at=started)
    state = State(life.fate, validated_at=validated, started_at=started)
    if life.fate == "succeeded":
        ended = step_time(life, state, life.steps) + life.closing_seconds
        return replace(state, ended_at=ended)
    halt = life.dice(7).between(0, life.steps - 1)
    ended = step_time(life, state, halt) + 5
    return replace(state, ended_at=ended, halted_at_step=halt)


def paused(life: Biography) -> State:
    """A job that somebody paused and never took up again."""
    halt = max(1, life.steps // 3)
    return State(
        "paused",
        validated_at=life.created_at + life.validation_seconds,
        started_at=life.created_at + life.validation_seconds + life.queue_seconds,
        halted_at_step=halt,
    )


def halted(life: Biography, state: State, now: int) -> State:
    """A running job, paused. ValueError for one in another state, and for a second pause.

    A second one would move the times of the steps between the two.
    """
    if state.status != "running":
        raise ValueError(f"is {state.status}, not running")
    if state.resumed_at is not None:
        raise ValueError("was paused before")
    return replace(state, status="paused", halted_at_step=steps_done(life, state, now))


def still_open(life: Biography, rank: int, *, azure: bool, now: int) -> State:
    """The state of one of the newest jobs; `rank` 0 is the newest."""
    if azure:
        status = ("pending", "created", "running", "running", "pending")[rank % 5]
    else:
        status = ("validating_files", "queued", "running", "running", "queued")[rank % 5]
    if status in {"validating_files", "created", "pending"}:
        return State(status)
    validated = min(life.created_at + life.validation_seconds, now - 20)
    if status == "queued":
        return State(status, validated_at=validated)
    return State(status, validated_at=validated, started_at=min(validated + 60, now - 10))


def advanced(  # noqa: PLR0911 - one line for each way on
    life: Biography, state: State, now: int, *, azure: bool
) -> State:
    """The next state of an open job, reached just after `now`."""
    status = state.status
    if status == "paused":
        return replace(state, status="queued")
    if status == "created":
        if azure:
            return replace(state, status="pending")
        return replace(state, status="cancelled", ended_at=now + 60)
    if status == "queued" and state.started_at is not None:
        before = state.halted_at_step or 0
        return replace(
            state, status="running", resumed_at=now + 60, resumed_after=before, halted_at_step=None
        )
    if status == "running":
        if life.fate == "succeeded" or life.phase != "training":
            ended = step_time(life, state, life.steps) + life.closing_seconds
            return replace(state, status="succeeded", ended_at=max(ended, now + 60))
        halt = steps_done(life, state, now)
        return replace(state, status=life.fate, ended_at=now + 60, halted_at_step=halt)
    phases = {"validating_files": {"files"}, "pending": {"files", "queue"}, "queued": {"queue"}}
    if life.fate != "succeeded" and life.phase in phases[status]:
        return replace(state, status=life.fate, ended_at=now + 60)
    if status == "validating_files":
        return replace(state, status="queued", validated_at=now + 60)
    validated = state.validated_at or now + 60
    return replace(state, status="running", validated_at=validated, started_at=now + 90)
