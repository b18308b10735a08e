"""The views that questions need beside those of jobs and money, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from tests.contract.test_views import (
    at,
    checkpoint,
    happened,
    hyperparameter,
    job,
    mirror,
    put,
    record,
    rows,
)

__all__ = ["mirror"]  # the fixture


def metadata(job_id: str, name: str, value: str) -> dict[str, Any]:
    return {"job_id": job_id, "name": name, "value": value}


def progress(resource: str, parent_id: str, **values: Any) -> dict[str, Any]:
    named = {"resource": resource, "parent_id": parent_id, "source": "research"}
    return {**named, "is_settled": False, **values}


def test_a_failed_job_ended_with_its_last_event_and_an_open_one_has_not(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job("ftjob-a", finished_at=at("10:30:00")),
        job("ftjob-b", status="failed"),
        job("ftjob-c", status="running"),
        job("ftjob-d", status="cancelled"),
    )
    for one in ("ftjob-a", "ftjob-b", "ftjob-c"):
        put(
            mirror,
            "job_events",
            happened(one, 0, "Fine-tuning job started", created_at=at("10:01:00.250000")),
            happened(one, 1, "Step 1/9: training loss=1.20", created_at=at("10:02:00")),
            happened(one, 2, "…", created_at=at("10:31:00")),
        )
    query = (
        "SELECT job_id, created_on, created_in, ended_at, training_seconds FROM {} ORDER BY job_id"
    )
    expected = [
        ("ftjob-a", "2025-05-05", "2025-05", "2025-05-05 10:30:00", 1740),
        ("ftjob-b", "2025-05-05", "2025-05", "2025-05-05 10:31:00", 1800),
        ("ftjob-c", "2025-05-05", "2025-05", None, None),
        ("ftjob-d", "2025-05-05", "2025-05", None, None),
    ]
    assert rows(mirror, query.format("job_times")) == expected
    assert rows(mirror, query.format("job_overview")) == expected


def test_job_overview_names_the_first_run_at_weights_and_biases(mirror: Engine) -> None:
    put(mirror, "jobs", job("ftjob-a"), job("ftjob-b"))
    put(
        mirror,
        "job_integrations",
        {"job_id": "ftjob-a", "position": 0, "type": "other", "wandb_project": None},
        {"job_id": "ftjob-a", "position": 1, "type": "wandb", "wandb_project": "pricer",
         "wandb_run_id": "run-1"},
        {"job_id": "ftjob-a", "position": 2, "type": "wandb", "wandb_project": "later",
         "wandb_run_id": "run-2"},
    )  # fmt: skip
    query = "SELECT job_id, wandb_project, wandb_run_id FROM job_overview ORDER BY job_id"
    assert rows(mirror, query) == [("ftjob-a", "pricer", "run-1"), ("ftjob-b", None, None)]


def test_the_best_checkpoint_is_shown_beside_the_last_step(mirror: Engine) -> None:
    put(
        mirror,
        "job_checkpoints",
        checkpoint("a1", "ftjob-a", 10, train_loss=0.5),
        checkpoint("a2", "ftjob-a", 30, train_loss=0.75),
        checkpoint("a3", "ftjob-a", None, train_loss=0.9),
        checkpoint("b1", "ftjob-b", None, train_loss=0.9),
    )
    query = "SELECT job_id, step_number, last_step_number FROM best_checkpoints ORDER BY job_id"
    assert rows(mirror, query) == [("ftjob-a", 10, 30), ("ftjob-b", None, None)]


def test_each_job_has_a_line_for_each_metadata_key_that_any_has(mirror: Engine) -> None:
    put(mirror, "jobs", job("ftjob-a"), job("ftjob-b"))
    put(
        mirror,
        "job_metadata",
        metadata("ftjob-a", "team", "search"),
        metadata("ftjob-a", "env", ""),
        metadata("ftjob-b", "Team", "ads"),
    )
    query = "SELECT job_id, name, value FROM job_metadata_values"
    assert sorted(rows(mirror, query), key=str) == [
        ("ftjob-a", "Team", None),
        ("ftjob-a", "env", ""),
        ("ftjob-a", "team", "search"),
        ("ftjob-b", "Team", "ads"),
        ("ftjob-b", "env", None),
        ("ftjob-b", "team", None),
    ]


def test_a_hyperparameter_counts_under_the_method_before_the_top_level(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job("ftjob-a", method_type="supervised"),
        job("ftjob-b", method_type=None),
    )
    put(
        mirror,
        "job_hyperparameters",
        hyperparameter("ftjob-a", "job", "n_epochs", "3"),
        hyperparameter("ftjob-a", "supervised", "n_epochs", "auto"),
        hyperparameter("ftjob-a", "dpo", "beta", "0.5"),
        hyperparameter("ftjob-a", "job", "batch_size", "16"),
        hyperparameter("ftjob-b", "job", "n_epochs", "auto"),
    )
    query = (
        "SELECT job_id, name, value_text, value_number, is_auto, scope "
        "FROM effective_hyperparameters ORDER BY job_id, name"
    )
    assert rows(mirror, query) == [
        ("ftjob-a", "batch_size", "16", 16.0, False, "job"),
        ("ftjob-a", "n_epochs", "auto", None, True, "supervised"),
        ("ftjob-b", "n_epochs", "auto", None, True, "job"),
    ]


def test_a_jobs_files_say_what_is_known_of_them_and_which_are_gone(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job("ftjob-a", training_file="file-t", validation_file="file-v"),
        job("ftjob-b", training_file="file-t"),
        job("ftjob-c"),
    )
    put(mirror, "job_result_files", {"job_id": "ftjob-a", "position": 0, "file_id": "file-r"})
    put(
        mirror,
        "files",
        {"id": "file-t", "filename": "train.jsonl", "bytes": 70, "expires_at": at("23:00:00")},
        {"id": "file-r", "filename": "step_metrics.csv", "bytes": 9},
    )
    put(
        mirror,
        "child_progress",
        progress("files", "file-v", absent_since=at("11:00:00")),
        # Of its content, not of the file.
        progress("metrics", "file-t", absent_since=at("11:30:00")),
    )
    put(mirror, "records", record("file-r", 1, resource="files", missing_since=at("12:00:00")))
    query = (
        "SELECT job_id, role, file_id, filename, bytes, expires_at, absent_since FROM job_files "
        "ORDER BY job_id, role"
    )
    gone, expiring = "2025-05-05 12:00:00", "2025-05-05 23:00:00"
    assert rows(mirror, query) == [
        ("ftjob-a", "result", "file-r", "step_metrics.csv", 9, None, gone),
        ("ftjob-a", "training", "file-t", "train.jsonl", 70, expiring, None),
        ("ftjob-a", "validation", "file-v", None, None, None, "2025-05-05 11:00:00"),
        ("ftjob-b", "training", "file-t", "train.jsonl", 70, expiring, None),
    ]


def test_a_permission_names_the_job_and_step_of_its_checkpoint(mirror: Engine) -> None:
    put(mirror, "jobs", job("ftjob-a", fine_tuned_model="ft:m"), job("ftjob-b"))
    put(
        mirror,
        "job_checkpoints",
        checkpoint("a1", "ftjob-a", 10, fine_tuned_model_checkpoint="ft:m:ckpt-step-10"),
        checkpoint("a2", "ftjob-a", 20, fine_tuned_model_checkpoint="ft:m"),
    )
    put(mirror, "projects", {"id": "proj_b", "name": "Search"})
    for number, (model, project) in enumerate(
        [("ft:m", "proj_b"), ("ft:m", "proj_c"), ("ft:m:ckpt-step-10", "proj_b"), ("ft:x", None)]
    ):
        given = {"fine_tuned_model_checkpoint": model, "project_id": project}
        put(mirror, "checkpoint_permissions", {"id": f"cp_{number}", **given})
    query = (
        "SELECT permission_id, job_id, step_number, project_id, project_name "
        "FROM shared_checkpoints ORDER BY permission_id"
    )
    assert rows(mirror, query) == [
        ("cp_0", "ftjob-a", 20, "proj_b", "Search"),
        ("cp_1", "ftjob-a", 20, "proj_c", None),
        ("cp_2", "ftjob-a", 10, "proj_b", "Search"),
        ("cp_3", None, None, None, None),
    ]


def test_what_is_missing_in_quarantine_or_unknown_is_found_and_what_is_resolved_is_not(
    mirror: Engine,
) -> None:
    put(
        mirror,
        "records",
        record("ftjob-a", 1),
        record("ftjob-b", 1, status="failed", missing_since=at("13:00:00")),
    )
    seen = {"first_seen_at": at("09:00:00"), "last_seen_at": at("10:00:00")}
    held = {"run_id": 1, "source": "research", "resource": "jobs", "reason": "no id", **seen}
    text = {"payload": "{}", "payload_encoding": "text", "digest": "x"}
    put(
        mirror,
        "quarantine",
        {**held, **text, "record_id": None},
        {**held, **text, "record_id": "ftjob-c", "resolved_at": at("11:00:00")},
    )
    unknown = {"resource": "jobs", "path": "extra", "kind": "field", "occurrences": 3}
    put(mirror, "drift", {**unknown, **seen})
    query = "SELECT finding, source, resource, subject, detail, since FROM open_findings"
    assert sorted(rows(mirror, query)) == [
        ("drift", None, "jobs", "extra", "field", "2025-05-05 09:00:00"),
        ("missing", "research", "jobs", "ftjob-b", "failed", "2025-05-05 13:00:00"),
        ("quarantine", "research", "jobs", None, "no id", "2025-05-05 09:00:00"),
    ]
