"""Any job, read field by field: what is odd about it is noted, and refused only in a key."""

from __future__ import annotations

import math
from collections.abc import Iterator

from etl import jsontext
from etl.errors import RecordError
from etl.fields import Drift, Fields, example, is_empty, is_plain, key
from etl.record import Record
from etl.resource import Row, row_of
from etl.resources.jobs.states import (
    FINAL_STATUSES,
    METHOD_TYPES,
    OBJECTS,
    OPEN_STATUSES,
    base_model,
)
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
from etl.spend.rules import job_usage

JobRow = row_of(jobs)
HyperparameterRow = row_of(job_hyperparameters)
MethodRow = row_of(job_methods)
IntegrationRow = row_of(job_integrations)
IntegrationTagRow = row_of(job_integration_tags)
ResultFileRow = row_of(job_result_files)
MetadataRow = row_of(job_metadata)
UsageRow = row_of(job_usage_table)


def soft_rows(record: Record) -> Iterator[Row | Drift]:
    """The rows of any job, field by field, with what is odd about it noted."""
    if not isinstance(record.value, dict):
        raise RecordError("a job is a JSON object, this is not")
    notes: list[Drift] = []
    job = Fields(record.value, notes)
    job.raw("id")
    if (kind := job.text("object")) is not None and kind not in OBJECTS:
        job.note("object", "unknown_value", kind)
    method = job.object("method")
    method_type = method.text("type", 64)
    if method_type is not None and method_type not in METHOD_TYPES:
        method.note("type", "unknown_value", method_type)
    tokens = job.integer("trained_tokens")
    yield _job(record, job, method_type, tokens)
    yield from _hyperparameters(record.id, "job", job.object("hyperparameters"))
    yield from _methods(record.id, method, method_type)
    yield from _integrations(record.id, job)
    yield from _result_files(record.id, job)
    yield from _metadata(record.id, job.object("metadata"))
    for usage in job_usage(method_type, tokens, job.raw("usage_metrics")):
        yield UsageRow(record.id, *usage)
    job.rest()
    yield from notes


def _job(record: Record, job: Fields, method_type: str | None, tokens: int | None) -> Row:
    created_at = job.moment("created_at")
    if created_at is None:
        raise RecordError(f"`created_at` is no time: {example(job.raw('created_at')):.80}")
    status = job.text("status", 255)
    if status is None:
        job.note("status", "missing", None)
    elif status not in FINAL_STATUSES and status not in OPEN_STATUSES:
        job.note("status", "unknown_value", status)
    model = job.text("model", 255)
    code, message, param = _error(job)
    organization = job.text("organization_id", 255) or job.text("organisation_id", 255)
    suffix = job.text("user_provided_suffix", 255) or job.text("suffix", 255)
    return JobRow(
        id=record.id,
        source=record.origin.source,
        provider=record.origin.provider,
        id_space=record.origin.id_space,
        project_id=record.origin.project_id,
        organization_id=organization,
        status=status,
        model=model,
        base_model=base_model(model),
        fine_tuned_model=job.text("fine_tuned_model", 255),
        user_provided_suffix=suffix,
        method_type=method_type,
        training_file=job.text("training_file", 255),
        validation_file=job.text("validation_file", 255),
        trained_tokens=tokens,
        seed=job.integer("seed"),
        error_code=code,
        error_message=message,
        error_param=param,
        created_at=created_at,
        finished_at=job.moment("finished_at"),
        estimated_finish=job.moment("estimated_finish", zero_is_none=True),
        shared_with_openai=job.boolean("shared_with_openai"),
        eval_id=job.text("eval_id", 255),
        usage_metrics=job.json("usage_metrics"),
    )


def _error(job: Fields) -> tuple[str | None, str | None, str | None]:
    """Code, message and parameter; `{}` and an object of nulls mean that there was no error."""
    if isinstance(job.raw("error"), str):
        job.note("error", "wrong_type", job.raw("error"))
        return None, job.text("error"), None
    error = job.object("error")
    found = error.text("code", 255), error.text("message"), error.text("param")
    error.rest()
    return found


def _hyperparameters(job_id: str, scope: str, values: Fields) -> Iterator[Row]:
    for name, value in values.value.items():
        if is_empty(value):
            continue
        text, number = value, None
        if isinstance(value, str):
            text = values.text(name) or ""
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            text, number = jsontext.literal(value), _finite(value)
            if number is None:
                values.note(name, "out_of_range", value)
        else:
            text = jsontext.compact(value)
            values.note(name, "wrong_type", value)
        is_auto = text == "auto" or number == -1
        yield HyperparameterRow(
            job_id=job_id,
            scope=scope,
            name=key(name, "hyperparameters", 255),
            value_text=text,
            value_number=None if is_auto else number,
            is_auto=is_auto,
        )


def _methods(job_id: str, method: Fields, active: str | None) -> Iterator[Row]:
    types = set()
    for name, value in method.value.items():
        if name == "type" or is_empty(value):
            continue
        if name not in METHOD_TYPES:
            method.note(name, "unknown_field", value)
            if not isinstance(value, dict):
                continue
        types.add(name)
        part = method.object(name)
        yield from _method(job_id, key(name, "method", 64), name == active, part)
    if active and active not in types:
        said = method.value["type"]
        # As it was sent: a key is refused where a text would be made storable.
        active = key(said if isinstance(said, str) else active, "method.type", 64)
        yield from _method(job_id, active, True, Fields({}, method.notes))


def _method(job_id: str, name: str, is_active: bool, part: Fields) -> Iterator[Row]:
    yield MethodRow(
        job_id=job_id,
        type=name,
        is_active=is_active,
        grader=part.json("grader"),
        response_format=part.json("response_format"),
    )
    yield from _hyperparameters(job_id, name, part.object("hyperparameters"))
    part.rest()


def _integrations(job_id: str, job: Fields) -> Iterator[Row]:
    for position, item in enumerate(job.array("integrations")):
        if not isinstance(item, dict):
            job.note("integrations[]", "wrong_type", item)
            continue
        integration = Fields(item, job.notes, "integrations[]")
        wandb = integration.object("wandb")
        yield IntegrationRow(
            job_id=job_id,
            position=position,
            type=integration.text("type", 255),
            wandb_project=wandb.text("project"),
            wandb_name=wandb.text("name"),
            wandb_entity=wandb.text("entity"),
            wandb_run_id=wandb.text("run_id"),
        )
        for tag_position, tag in enumerate(wandb.array("tags")):
            text = Fields({"tags[]": tag}, job.notes, "integrations[].wandb").text("tags[]")
            yield IntegrationTagRow(job_id, position, tag_position, text)
        wandb.rest()
        integration.rest()


def _result_files(job_id: str, job: Fields) -> Iterator[Row]:
    for position, item in enumerate(job.array("result_files")):
        if item and is_plain(item, 255):
            yield ResultFileRow(job_id, position, item)
            continue
        listed = Fields({"result_files[]": item}, job.notes)
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            # The retired endpoint listed whole file objects here.
            listed.note("result_files[]", "wrong_type", item)
            listed = Fields({"result_files[]": item["id"]}, job.notes)
        if file_id := listed.text("result_files[]", 255):
            yield ResultFileRow(job_id, position, file_id)


def _metadata(job_id: str, metadata: Fields) -> Iterator[Row]:
    for name in metadata.value:
        value = metadata.text(name)
        if value is not None:
            yield MetadataRow(job_id, key(name, "metadata", 255), value)


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
