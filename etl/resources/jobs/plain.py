"""Jobs as nearly all are, read in one go.

A job that fits becomes the rows that `etl.resources.jobs.soft` makes of it, in a third of the time.
What does not fit, in whatever way, is left to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from etl import jsontext
from etl.fields import INT64, LAST_SECOND, is_empty, moment
from etl.record import Record
from etl.resource import Row
from etl.resources.jobs.states import base_model
from etl.resources.jobs.tables import (
    job_hyperparameters,
    job_integration_tags,
    job_integrations,
    job_metadata,
    job_methods,
    job_result_files,
    job_usage_table,
    jobs,
)
from etl.spend.rules import BILLED_BY_TIME, job_usage

_Name = Annotated[str, Meta(max_length=255)] | None | UnsetType
_Text = str | None | UnsetType
_Whole = Annotated[int, Meta(ge=-INT64, le=INT64 - 1)] | None | UnsetType
_Seconds = Annotated[int, Meta(gt=0, le=LAST_SECOND)]
_Members = dict[Annotated[str, Meta(min_length=1, max_length=255)], Any] | None | UnsetType


class _Method(Struct, forbid_unknown_fields=True):
    hyperparameters: _Members = UNSET
    grader: Any = UNSET
    response_format: Any = UNSET


class _Methods(Struct, forbid_unknown_fields=True):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: _Method | UnsetType | None = UNSET
    dpo: _Method | UnsetType | None = UNSET
    reinforcement: _Method | UnsetType | None = UNSET


class _Wandb(Struct, forbid_unknown_fields=True):
    project: _Text = UNSET
    name: _Text = UNSET
    entity: _Text = UNSET
    run_id: _Text = UNSET
    tags: list[str] | UnsetType | None = UNSET


class _Integration(Struct, forbid_unknown_fields=True):
    type: _Name = UNSET
    wandb: _Wandb | UnsetType | None = UNSET


class _Error(Struct, forbid_unknown_fields=True):
    code: _Name = UNSET
    message: _Text = UNSET
    param: _Text = UNSET
    error: UnsetType | None = UNSET  # always null


class _Job(Struct, forbid_unknown_fields=True):
    """A job as nearly all are. The last four fields are always null, and nobody knows them."""

    id: str
    created_at: _Seconds
    status: Literal[
        "created",
        "validating_files",
        "pending",
        "queued",
        "running",
        "paused",
        "succeeded",
        "failed",
        "cancelled",
    ]
    object: Literal["fine_tuning.job"] | UnsetType = UNSET
    model: _Name = UNSET
    finished_at: _Seconds | UnsetType | None = UNSET
    estimated_finish: _Seconds | UnsetType | None = UNSET
    fine_tuned_model: _Name = UNSET
    organization_id: _Name = UNSET
    user_provided_suffix: _Name = UNSET
    training_file: _Name = UNSET
    validation_file: _Name = UNSET
    eval_id: _Name = UNSET
    trained_tokens: _Whole = UNSET
    seed: _Whole = UNSET
    shared_with_openai: bool | UnsetType | None = UNSET
    usage_metrics: Any = UNSET
    error: _Error | UnsetType | None = UNSET
    hyperparameters: _Members = UNSET
    method: _Methods | UnsetType | None = UNSET
    integrations: list[_Integration] | UnsetType | None = UNSET
    result_files: list[Annotated[str, Meta(min_length=1, max_length=255)]] | UnsetType | None = (
        UNSET
    )
    metadata: dict[Annotated[str, Meta(min_length=1, max_length=255)], str] | UnsetType | None = (
        UNSET
    )
    internal_worker_backend: UnsetType | None = UNSET
    internal_peashooter_execution: UnsetType | None = UNSET
    train_experiment_id: UnsetType | None = UNSET
    eval_experiment_id: UnsetType | None = UNSET


_JOB = jsontext.Shape(_Job)


def plain_rows(record: Record) -> list[Row] | None:
    """The rows of a job that fits, its own row first; None where it does not.

    By place and without a detour: a first sync spends a good part of its time here.
    """
    job = record.typed(_JOB)
    if job is None:
        return None
    job_id, origin, error, method = record.id, record.origin, job.error or None, job.method or None
    method_type = method.type if method else None
    if method_type in BILLED_BY_TIME and job.usage_metrics:
        return None
    tokens = None if job.trained_tokens is UNSET else job.trained_tokens
    values = (
        job_id,
        origin.source,
        origin.provider,
        origin.id_space,
        origin.project_id,
        job.organization_id or None,
        job.status,
        job.model,
        base_model(job.model or None),
        job.fine_tuned_model,
        job.user_provided_suffix or None,
        method_type,
        job.training_file,
        job.validation_file,
        tokens,
        job.seed,
        None if error is None or error.code is UNSET else error.code,
        None if error is None or error.message is UNSET else error.message,
        None if error is None or error.param is UNSET else error.param,
        moment(job.created_at),
        moment(job.finished_at) if job.finished_at else None,
        moment(job.estimated_finish) if job.estimated_finish else None,
        job.shared_with_openai,
        job.eval_id,
        _json(job.usage_metrics),
    )
    found: list[Row] = [(jobs, _without_unset(values))]
    if job.hyperparameters and not _values(found, job_id, "job", job.hyperparameters):
        return None
    if method and not _method_rows(found, job_id, method):
        return None
    for position, file_id in enumerate(job.result_files or ()):
        found.append((job_result_files, (job_id, position, file_id)))
    for position, integration in enumerate(job.integrations or ()):
        found += _integration_rows(job_id, position, integration)
    if job.metadata:
        found += [(job_metadata, (job_id, *pair)) for pair in job.metadata.items()]
    if tokens is not None:
        found += [(job_usage_table, (job_id, *usage)) for usage in job_usage(method_type, tokens)]
    return found


def _values(found: list[Row], job_id: str, scope: str, members: dict[str, Any]) -> bool:
    """Append the rows of some hyperparameters; False where one is odd."""
    for name, value in members.items():
        kind = type(value)
        if kind is int and -INT64 <= value < INT64:
            text, number, is_auto = str(value), float(value), value == -1
        elif kind is str:
            text, number, is_auto = value, None, value == "auto"
        elif kind is jsontext.Number and math.isfinite(value):
            text, number, is_auto = value.text, float(value), value == -1
        elif is_empty(value):
            continue
        else:
            return False
        row = job_id, scope, name, text, None if is_auto else number, is_auto
        found.append((job_hyperparameters, row))
    return True


def _method_rows(found: list[Row], job_id: str, method: _Methods) -> bool:
    parts = (
        ("supervised", method.supervised),
        ("dpo", method.dpo),
        ("reinforcement", method.reinforcement),
    )
    for name, part in parts:
        is_active = name == method.type
        if not part or part == _NOTHING:
            if is_active:
                found.append((job_methods, (job_id, name, True, None, None)))
            continue
        said = _json(part.grader), _json(part.response_format)
        found.append((job_methods, (job_id, name, is_active, *said)))
        members = part.hyperparameters
        if members and not _values(found, job_id, name, members):
            return False
    return True


_NOTHING = _Method()


def _integration_rows(job_id: str, position: int, integration: _Integration) -> Iterator[Row]:
    wandb = integration.wandb or _NO_WANDB
    named = integration.type, wandb.project, wandb.name, wandb.entity, wandb.run_id
    yield job_integrations, (job_id, position, *_without_unset(named))
    for tag_position, tag in enumerate(wandb.tags or ()):
        yield job_integration_tags, (job_id, position, tag_position, tag)


_NO_WANDB = _Wandb()


def _without_unset(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if UNSET not in values:
        return values
    return tuple([None if value is UNSET else value for value in values])


def _json(value: Any) -> str | None:
    return None if value is UNSET or is_empty(value) else jsontext.compact(value)
