"""A job's tables: `jobs`, and one for each thing nested in a job."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Integer, Table

from etl.db.tables import metadata, refers_to
from etl.db.types import BigInt, Float, Json, LongText, Name, UtcDateTime

JOB_ID = 64


def _job_id() -> Column[Any]:
    return Column(
        "job_id", Name(JOB_ID), primary_key=True, comment="The job.", info=refers_to("jobs.id")
    )


jobs = Table(
    "jobs",
    metadata,
    Column("id", Name(JOB_ID), primary_key=True, comment="The job's id, as ftjob-…"),
    Column(
        "source",
        Name(64),
        nullable=False,
        comment="The source in the settings that mirrored it first; another one takes its place "
        "only when that no longer lists the job.",
    ),
    Column(
        "provider",
        Name(64),
        nullable=False,
        comment="The kind of server it ran on: openai, azure or compatible.",
    ),
    Column(
        "id_space",
        Name(64),
        nullable=False,
        comment="Whose ids these are: jobs seen through two keys of one id space are one row.",
    ),
    Column(
        "project_id",
        Name(),
        comment="The project of its source. NULL where the settings name none: the API does not "
        "say it of a job.",
        info=refers_to("projects.id"),
    ),
    Column("organization_id", Name(), comment="The organization that owns it. NULL at Azure."),
    Column(
        "status",
        Name(),
        comment="validating_files, queued, running, paused, succeeded, failed or cancelled; what "
        "else a server says stands as it came. NULL: not said.",
    ),
    Column(
        "model",
        Name(),
        comment="What was trained on: a base model or a fine-tuned one. NULL: not said.",
    ),
    Column(
        "base_model",
        Name(),
        comment="The base model under any chain of fine-tunings, by its name. NULL: not said.",
    ),
    Column(
        "fine_tuned_model",
        Name(),
        comment="The model that came out, as ft:…; it may have been deleted since. NULL where none "
        "did, or not yet.",
    ),
    Column(
        "user_provided_suffix",
        Name(),
        comment="The suffix that was asked for in the model's name. NULL: none, or an old job.",
    ),
    Column(
        "method_type",
        Name(),
        comment="supervised, dpo or reinforcement. NULL for jobs from before there were methods, "
        "which were supervised.",
    ),
    Column(
        "training_file",
        Name(),
        comment="The file of examples that it trained on. It is never downloaded. NULL: not said.",
        info=refers_to("files.id"),
    ),
    Column(
        "validation_file",
        Name(),
        comment="The file of examples that it was measured with. NULL where there was none.",
        info=refers_to("files.id"),
    ),
    Column(
        "trained_tokens",
        BigInt,
        comment="Tokens trained on, over all epochs. NULL where the API does not say: until the "
        "job succeeded, mostly. Azure bills less; reinforcement is billed by time instead.",
    ),
    Column(
        "seed",
        BigInt,
        comment="The seed of chance, given or drawn by the server. NULL for jobs before 2024-04.",
    ),
    Column("error_code", Name(), comment="Why it failed, as a word. NULL where it did not."),
    Column(
        "error_message",
        LongText(),
        comment="Why it failed, as a sentence. NULL where it did not.",
    ),
    Column(
        "error_param",
        LongText(),
        comment="The parameter that was at fault, as training_file. NULL: none was named.",
    ),
    Column("created_at", UtcDateTime(), nullable=False, comment="When it was asked for (UTC)."),
    Column(
        "finished_at",
        UtcDateTime(),
        comment="When it ended (UTC). NULL while it goes on, and for some that were cancelled.",
    ),
    Column(
        "estimated_finish",
        UtcDateTime(),
        comment="When the server thinks that it will end (UTC). NULL where it does not say.",
    ),
    Column(
        "shared_with_openai",
        Boolean(create_constraint=False),
        comment="Is the job's data shared with OpenAI, for cheaper use? NULL: not said.",
    ),
    Column(
        "eval_id",
        Name(),
        comment="The eval made with a reinforcement job. NULL where there is none.",
    ),
    Column(
        "usage_metrics",
        Json(),
        comment="What a reinforcement job used, as the API says it. NULL for others.",
    ),
    comment="Fine-tuning jobs, one row each, as the API last described them.",
)

# On SQLite the key of these small rows is the row (`sqlite_with_rowid`): half the pages to write.
job_hyperparameters = Table(
    "job_hyperparameters",
    metadata,
    _job_id(),
    Column(
        "scope",
        Name(64),
        primary_key=True,
        comment="Where it stands: job (at the top), or under a method: supervised, dpo, "
        "reinforcement. One under the job's method counts before one at the top.",
    ),
    Column("name", Name(), primary_key=True, comment="As n_epochs or batch_size."),
    Column(
        "value_text", LongText(), nullable=False, comment="The value as it was sent, as 3 or auto."
    ),
    Column(
        "value_number", Float, comment="The value as a number. NULL where it is none, as for auto."
    ),
    Column(
        "is_auto",
        Boolean(create_constraint=False),
        nullable=False,
        comment="Is it left to the server (auto, or -1 at Azure)?",
    ),
    sqlite_with_rowid=False,
    comment="The settings of a job's training, one row each. What was sent as null has no row.",
)

job_methods = Table(
    "job_methods",
    metadata,
    _job_id(),
    Column("type", Name(64), primary_key=True, comment="supervised, dpo or reinforcement."),
    Column(
        "is_active",
        Boolean(create_constraint=False),
        nullable=False,
        comment="Is it the one that the job uses?",
    ),
    Column("grader", Json(), comment="How answers are graded. NULL where nothing is graded."),
    Column(
        "response_format", Json(), comment="The form that answers have to have. NULL: any form."
    ),
    sqlite_with_rowid=False,
    comment="The training methods that a job describes. None for jobs from before there were any.",
)

job_integrations = Table(
    "job_integrations",
    metadata,
    _job_id(),
    Column(
        "position",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="Its place in the job's list, from 0.",
    ),
    Column("type", Name(), comment="As wandb (Weights & Biases). NULL: not said."),
    Column("wandb_project", LongText(), comment="The project there. NULL for another type."),
    Column("wandb_name", LongText(), comment="The run's name there. NULL: the job's id is taken."),
    Column("wandb_entity", LongText(), comment="The team or user there. NULL: the default one."),
    Column("wandb_run_id", LongText(), comment="The run's id there. NULL where none was given."),
    sqlite_with_rowid=False,
    comment="Services that a job reports to while it runs.",
)

job_integration_tags = Table(
    "job_integration_tags",
    metadata,
    _job_id(),
    Column(
        "integration_position",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="Which of the job's integrations has the tag.",
        info=refers_to("job_integrations.position"),
    ),
    Column(
        "position",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="Its place in that integration's list, from 0.",
    ),
    Column("tag", LongText(), comment="The tag. NULL where the list holds something else."),
    sqlite_with_rowid=False,
    comment="Tags that a job gives to its run at a service.",
)

job_result_files = Table(
    "job_result_files",
    metadata,
    _job_id(),
    Column(
        "position",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="Its place in the job's list, from 0.",
    ),
    Column(
        "file_id",
        Name(),
        nullable=False,
        comment="The file's id.",
        info=refers_to("files.id", may_lack=True),
    ),
    sqlite_with_rowid=False,
    comment="Files that a job wrote: how training went, step by step. Read into training_metrics.",
)

job_metadata = Table(
    "job_metadata",
    metadata,
    _job_id(),
    Column("name", Name(), primary_key=True, comment="The key, as cost_center."),
    Column("value", LongText(), nullable=False, comment="Its value."),
    sqlite_with_rowid=False,
    comment="Keys and values that people gave a job.",
)

job_usage_table = Table(
    "job_usage",
    metadata,
    _job_id(),
    Column(
        "unit",
        Name(32),
        primary_key=True,
        comment="What is counted: trained_token, or training_second for reinforcement.",
    ),
    Column(
        "origin",
        Name(64),
        primary_key=True,
        comment="The field that tells it: trained_tokens or usage_metrics.",
    ),
    Column("quantity", BigInt, nullable=False, comment="How much, in that unit."),
    sqlite_with_rowid=False,
    comment="What a job used of what is billed, as its own record tells it. The view "
    "billable_usage adds what events tell.",
)
