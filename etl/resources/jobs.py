"""Fine-tuning jobs: `GET /fine_tuning/jobs`, and everything nested in one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import Boolean, Column, Integer, Table

from etl import jsontext
from etl.db.tables import metadata
from etl.db.types import BigInt, Float, Json, LongText, Name, UtcDateTime
from etl.errors import RecordError
from etl.fields import INT64, LAST_SECOND, Drift, Fields, example, is_empty, is_plain, key, moment
from etl.record import Record
from etl.resource import Resource, Row, row_of
from etl.spend.rules import job_usage

JOB_ID = 64

jobs = Table(
    "jobs",
    metadata,
    Column("id", Name(JOB_ID), primary_key=True),
    Column("source", Name(64), nullable=False),
    Column("provider", Name(64), nullable=False),
    Column("id_space", Name(64), nullable=False),
    Column("project_id", Name()),
    Column("organization_id", Name()),
    Column("status", Name()),
    Column("model", Name()),
    Column("base_model", Name()),
    Column("fine_tuned_model", Name()),
    Column("user_provided_suffix", Name()),
    Column("method_type", Name()),
    Column("training_file", Name()),
    Column("validation_file", Name()),
    Column("trained_tokens", BigInt),
    Column("seed", BigInt),
    Column("error_code", Name()),
    Column("error_message", LongText()),
    Column("error_param", LongText()),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("finished_at", UtcDateTime()),
    Column("estimated_finish", UtcDateTime()),
    Column("shared_with_openai", Boolean(create_constraint=False)),
    Column("eval_id", Name()),
    Column("usage_metrics", Json()),
)

# On SQLite the key of these small rows is the row (`sqlite_with_rowid`): half the pages to write.
job_hyperparameters = Table(
    "job_hyperparameters",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("scope", Name(64), primary_key=True),
    Column("name", Name(), primary_key=True),
    Column("value_text", LongText(), nullable=False),
    Column("value_number", Float),
    Column("is_auto", Boolean(create_constraint=False), nullable=False),
    sqlite_with_rowid=False,
)

job_methods = Table(
    "job_methods",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("type", Name(64), primary_key=True),
    Column("is_active", Boolean(create_constraint=False), nullable=False),
    Column("grader", Json()),
    Column("response_format", Json()),
    sqlite_with_rowid=False,
)

job_integrations = Table(
    "job_integrations",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("type", Name()),
    Column("wandb_project", LongText()),
    Column("wandb_name", LongText()),
    Column("wandb_entity", LongText()),
    Column("wandb_run_id", LongText()),
    sqlite_with_rowid=False,
)

job_integration_tags = Table(
    "job_integration_tags",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("integration_position", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("tag", LongText()),
    sqlite_with_rowid=False,
)

job_result_files = Table(
    "job_result_files",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("file_id", Name(), nullable=False),
    sqlite_with_rowid=False,
)

job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("name", Name(), primary_key=True),
    Column("value", LongText(), nullable=False),
    sqlite_with_rowid=False,
)

job_usage_table = Table(
    "job_usage",
    metadata,
    Column("job_id", Name(JOB_ID), primary_key=True),
    Column("unit", Name(32), primary_key=True),
    Column("origin", Name(64), primary_key=True),
    Column("quantity", BigInt, nullable=False),
    sqlite_with_rowid=False,
)

JobRow = row_of(jobs)
HyperparameterRow = row_of(job_hyperparameters)
MethodRow = row_of(job_methods)
IntegrationRow = row_of(job_integrations)
IntegrationTagRow = row_of(job_integration_tags)
ResultFileRow = row_of(job_result_files)
MetadataRow = row_of(job_metadata)
UsageRow = row_of(job_usage_table)

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


def rows(record: Record) -> Iterable[Row | Drift]:
    """One job becomes a row of `jobs` and rows for each thing nested in it.

    Nearly all jobs are as `_Job` has them and are read in one go; the others field by field. A
    job that both can read becomes the same rows either way.
    """
    job = record.typed(_JOB)
    found = None if job is None else _plain_rows(record, job)
    return soft_rows(record) if found is None else found


def _plain_rows(record: Record, job: _Job) -> list[Row] | None:
    """The rows of a job that fits; None where a hyperparameter is odd after all.

    By place and without a detour: a first sync spends a good part of its time here.
    """
    job_id, origin, error, method = record.id, record.origin, job.error or None, job.method or None
    method_type = method.type if method else None
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
    if job.hyperparameters and not _plain_values(found, job_id, "job", job.hyperparameters):
        return None
    if method and not _plain_methods(found, job_id, method):
        return None
    for position, file_id in enumerate(job.result_files or ()):
        found.append((job_result_files, (job_id, position, file_id)))
    for position, integration in enumerate(job.integrations or ()):
        found += _plain_integration(job_id, position, integration)
    if job.metadata:
        found += [(job_metadata, (job_id, *pair)) for pair in job.metadata.items()]
    if tokens is not None:
        found += [(job_usage_table, (job_id, *usage)) for usage in job_usage(method_type, tokens)]
    return found


def _plain_values(found: list[Row], job_id: str, scope: str, members: dict[str, Any]) -> bool:
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


def _plain_methods(found: list[Row], job_id: str, method: _Methods) -> bool:
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
        if members and not _plain_values(found, job_id, name, members):
            return False
    return True


_NOTHING = _Method()


def _plain_integration(job_id: str, position: int, integration: _Integration) -> Iterator[Row]:
    wandb = integration.wandb or _NO_WANDB
    named = integration.type, wandb.project, wandb.name, wandb.entity, wandb.run_id
    yield IntegrationRow(job_id, position, *_without_unset(named))
    for tag_position, tag in enumerate(wandb.tags or ()):
        yield IntegrationTagRow(job_id, position, tag_position, tag)


_NO_WANDB = _Wandb()


def _without_unset(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if UNSET not in values:
        return values
    return tuple([None if value is UNSET else value for value in values])


def _json(value: Any) -> str | None:
    return None if value is UNSET or is_empty(value) else jsontext.compact(value)


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
    for usage in job_usage(method_type, tokens):
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
        yield from _method(job_id, key(active, "method.type", 64), True, Fields({}, method.notes))


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


def _status(record: Record) -> str:
    status = record.value.get("status") if isinstance(record.value, dict) else None
    return status if isinstance(status, str) else ""


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _said(value: Any) -> int:
    """How much a value says: a value counts for two, one that was left to the server for one."""
    if isinstance(value, dict):
        return sum(_said(item) for item in value.values())
    if isinstance(value, list):
        return sum(_said(item) for item in value)
    if value is None:
        return 0
    return 1 if value in ("auto", -1) else 2


RESOURCE = Resource(
    name="jobs",
    object="fine_tuning.job",
    path="/fine_tuning/jobs",
    table=jobs,
    rows=rows,
    owned={
        job_hyperparameters: "job_id",
        job_methods: "job_id",
        job_integrations: "job_id",
        job_integration_tags: "job_id",
        job_result_files: "job_id",
        job_metadata: "job_id",
        job_usage_table: "job_id",
    },
    is_final=is_final,
    progress=progress,
)
