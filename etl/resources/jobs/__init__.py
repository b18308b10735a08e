"""Fine-tuning jobs: `GET /fine_tuning/jobs`, and everything nested in one."""

from __future__ import annotations

from collections.abc import Iterable

from etl.fields import Drift
from etl.record import Record
from etl.resource import Resource, Row
from etl.resources.jobs.open import open_rows
from etl.resources.jobs.plain import plain_rows
from etl.resources.jobs.soft import soft_rows
from etl.resources.jobs.states import base_model, is_final, progress
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


def rows(record: Record) -> Iterable[Row | Drift]:
    """One job becomes a row of `jobs` and rows for each thing nested in it.

    Nearly all jobs are read in one go; the others field by field. A job that both ways can read
    becomes the same rows either way.
    """
    found = plain_rows(record)
    return soft_rows(record) if found is None else found


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
    item_path="/fine_tuning/jobs/{job_id}",
    open_rows=open_rows,
)

__all__ = [
    "RESOURCE",
    "base_model",
    "is_final",
    "job_hyperparameters",
    "job_integration_tags",
    "job_integrations",
    "job_metadata",
    "job_methods",
    "job_result_files",
    "job_usage_table",
    "jobs",
    "plain_rows",
    "progress",
    "rows",
    "soft_rows",
]
