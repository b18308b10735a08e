"""Each view: these rows in, those rows out, the same on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text

from etl.db import migrate, views
from etl.db.engine import open_engine
from etl.db.tables import COUNTS, metadata
from etl.errors import StoreError

VIEWS = [
    "best_checkpoints",
    "billable_usage",
    "billed_line_items",
    "effective_hyperparameters",
    "job_costs",
    "job_failures",
    "job_files",
    "job_history",
    "job_metadata_values",
    "job_overview",
    "job_times",
    "model_lineage",
    "open_findings",
    "shared_checkpoints",
    "spend_by_day",
    "spend_by_metadata",
    "spend_by_model",
    "spend_by_month",
    "spend_by_project",
    "spend_reconciliation",
    "sync_health",
    "training_curves",
    "unpriced_jobs",
]


@pytest.fixture
def mirror(empty_database: str) -> Iterator[Engine]:
    """An empty mirror with its views."""
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2025-05-05 {clock}").replace(tzinfo=UTC)


def put(engine: Engine, table: str, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(metadata.tables[table]).values(row))


def job(job_id: str, **values: Any) -> dict[str, Any]:
    given = {"source": "research", "provider": "openai", "id_space": "openai"}
    return {"id": job_id, **given, "status": "succeeded", "created_at": at("10:00:00"), **values}


def version(job_id: str, number: int, **values: Any) -> dict[str, Any]:
    given = {"source": "research", "provider": "openai", "id_space": "openai"}
    payload = {"payload": "{}", "payload_encoding": "text", "digest": "", "canonical_digest": ""}
    named = {"resource": "jobs", "id": job_id, "version": number, "run_id": number}
    return {**named, **given, **payload, "changed_at": at("12:00:00"), **values}


def record(job_id: str, number: int, **values: Any) -> dict[str, Any]:
    given = {"last_version": number, "first_seen_at": at("09:00:00")}
    return {**version(job_id, number), **given, **values}


def billed(day: datetime, **values: Any) -> dict[str, Any]:
    named = {
        "organization_id": "org-1",
        "project_id": "",
        "line_item": "training",
        "currency": "usd",
    }
    amount = {"amount": Decimal("1.5"), "amount_nano": 1_500_000_000, "quantity_unit": ""}
    return {**named, **amount, "start_time": day, "bucket_id": f"org-1/{day:%Y-%m-%d}", **values}


def hyperparameter(job_id: str, scope: str, name: str, value: str) -> dict[str, Any]:
    number = None if value.isalpha() else float(value)
    given = {"value_text": value, "value_number": number, "is_auto": value == "auto"}
    return {"job_id": job_id, "scope": scope, "name": name, **given}


def happened(job_id: str, position: int, message: str, **values: Any) -> dict[str, Any]:
    given = {"level": "info", "type": "message", "created_at": at("10:00:00")}
    named = {"id": f"ftevent-{job_id}-{position}", "job_id": job_id, "position": position}
    return {**named, "message": message, **given, **values}


def checkpoint(identifier: str, job_id: str, step: int | None, **values: Any) -> dict[str, Any]:
    named = {"id": identifier, "job_id": job_id, "step_number": step}
    return {**named, "created_at": at("10:30:00"), **values}


def measured(origin: str, origin_id: str, step: int, **values: float) -> Iterator[dict[str, Any]]:
    for name, value in values.items():
        named = {"job_id": "ftjob-a", "origin": origin, "origin_id": origin_id, "step": step}
        yield {**named, "name": name, "value": value}


def lines(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """The answer as a reader without SQLAlchemy's types gets it, times as text."""
    found = connection.execute(text(query))
    return [
        tuple(str(value) if isinstance(value, datetime) else value for value in row)
        for row in found
    ]


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return lines(connection, query)


# The set of views


def test_these_are_the_views_and_each_says_what_it_shows() -> None:
    assert views.names() == VIEWS
    for name in VIEWS:
        assert views.summary(name).endswith(".")
        assert views.summary(name)[0].isupper()


def test_every_view_can_be_read_from_an_empty_mirror(mirror: Engine) -> None:
    for name in VIEWS:
        assert rows(mirror, f"SELECT count(*) FROM {name}") == [(0,)]
        assert rows(mirror, f"SELECT * FROM {name}") == []


def test_a_view_comes_after_those_that_it_reads(mirror: Engine) -> None:
    made = [words.split()[2] for words in views.create_statements(mirror.dialect)]
    assert sorted(made) == VIEWS
    assert made.index("job_times") < made.index("job_overview")
    dropped = [words.split()[2] for words in views.drop_statements(mirror.dialect)]
    assert dropped == made[::-1]


@pytest.mark.parametrize("name", ["Costs.sql", "costs.oracle.sql", "costs.txt", "2024.sql"])
def test_a_file_of_another_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("SELECT 1 AS one\n")
    with pytest.raises(StoreError, match=f"{name} is no name of a view: write <name>.sql"):
        views.read(tmp_path)


def test_a_view_that_nothing_explains_is_refused_and_so_is_an_explanation_of_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "costs.sql").write_text("SELECT 1 AS one\n")
    with pytest.raises(StoreError, match=r"what costs\.sql shows: write costs\.toml beside it"):
        views.read(tmp_path)
    (tmp_path / "costs.toml").touch()
    assert views.read(tmp_path) == {("costs", ""): "SELECT 1 AS one"}
    (tmp_path / "old.toml").touch()
    with pytest.raises(StoreError, match=r"old\.toml explains a view that has no query"):
        views.read(tmp_path)


# What each shows


def test_job_history_orders_states_by_when_they_were_observed(mirror: Engine) -> None:
    put(
        mirror,
        "record_versions",
        version("ftjob-a", 1, status="queued", observed_at=at("10:00:00")),
        # Imported later than the others, and older than they are.
        version("ftjob-a", 3, status="validating_files", observed_at=at("09:00:00")),
        version("ftjob-b", 1, status="running", changed_at=at("11:00:00")),
        {**version("file-a", 1), "resource": "files"},
    )
    put(
        mirror,
        "records",
        record(
            "ftjob-a",
            2,
            status="succeeded",
            observed_at=at("11:00:00"),
            changed_fields="finished_at, status",
        ),
        record("ftjob-b", 2, status="failed", observed_at=at("12:00:00.250000")),
        {**record("file-a", 2), "resource": "files"},
    )
    query = (
        "SELECT job_id, sequence, version, status, changed_fields, observed_at, recorded_at, "
        "run_id, is_current FROM job_history ORDER BY job_id, sequence"
    )
    noon, ten, eleven = (f"2025-05-05 {hour}:00:00" for hour in (12, 10, 11))
    nine, later = "2025-05-05 09:00:00", "2025-05-05 12:00:00.250000"
    changed = "finished_at, status"
    assert rows(mirror, query) == [
        ("ftjob-a", 1, 3, "validating_files", None, nine, noon, 3, False),
        ("ftjob-a", 2, 1, "queued", None, ten, noon, 1, False),
        ("ftjob-a", 3, 2, "succeeded", changed, eleven, noon, 2, True),
        ("ftjob-b", 1, 1, "running", None, None, eleven, 1, False),
        ("ftjob-b", 2, 2, "failed", None, later, noon, 2, True),
    ]


def test_job_times_are_known_as_far_as_events_and_the_job_say(mirror: Engine) -> None:
    finished = {"finished_at": at("10:30:00.900000")}
    put(mirror, "jobs", job("ftjob-a", **finished), job("ftjob-b", **finished), job("ftjob-c"))
    started = "Fine-tuning job started"
    put(
        mirror,
        "job_events",
        happened("ftjob-a", 0, "Created fine-tuning job: ftjob-a"),
        happened("ftjob-a", 1, started, created_at=at("10:05:00.500000")),
        # A job that was paused starts twice.
        happened("ftjob-a", 2, started, created_at=at("10:20:00")),
        happened("ftjob-b", 0, "Created fine-tuning job: ftjob-b"),
        happened("ftjob-c", 0, "Job started.", created_at=at("10:01:00")),
    )
    query = (
        "SELECT job_id, started_at, queue_seconds, run_seconds, total_seconds "
        "FROM job_times ORDER BY job_id"
    )
    assert rows(mirror, query) == [
        ("ftjob-a", "2025-05-05 10:05:00.500000", 300, 1500, 1800),
        ("ftjob-b", None, None, None, 1800),
        ("ftjob-c", "2025-05-05 10:01:00", 60, None, None),
    ]


def test_job_overview_has_the_hyperparameters_that_took_effect(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job("ftjob-a", method_type="supervised"),
        job("ftjob-b", method_type="reinforcement"),
        job("ftjob-c", method_type=None),
        job("ftjob-d", method_type="dpo"),
    )
    put(
        mirror,
        "job_hyperparameters",
        hyperparameter("ftjob-a", "job", "n_epochs", "3"),
        hyperparameter("ftjob-a", "job", "learning_rate_multiplier", "1.8"),
        hyperparameter("ftjob-a", "supervised", "n_epochs", "4"),
        hyperparameter("ftjob-a", "dpo", "beta", "0.5"),
        hyperparameter("ftjob-b", "reinforcement", "compute_multiplier", "0.25"),
        hyperparameter("ftjob-b", "reinforcement", "eval_interval", "5"),
        hyperparameter("ftjob-b", "reinforcement", "eval_samples", "7"),
        hyperparameter("ftjob-b", "reinforcement", "reasoning_effort", "low"),
        hyperparameter("ftjob-b", "job", "n_epochs", "2"),
        hyperparameter("ftjob-b", "reinforcement", "n_epochs", "auto"),
        hyperparameter("ftjob-c", "job", "batch_size", "16"),
        hyperparameter("ftjob-d", "dpo", "beta", "0.1"),
    )
    query = (
        "SELECT job_id, n_epochs, batch_size, learning_rate_multiplier, beta, compute_multiplier, "
        "eval_interval, eval_samples, reasoning_effort FROM job_overview ORDER BY job_id"
    )
    assert rows(mirror, query) == [
        ("ftjob-a", 4.0, None, 1.8, None, None, None, None, None),
        ("ftjob-b", None, None, None, None, 0.25, 5.0, 7.0, "low"),
        ("ftjob-c", None, 16.0, None, None, None, None, None, None),
        ("ftjob-d", None, None, None, 0.1, None, None, None, None),
    ]


def test_job_overview_counts_what_is_mirrored_of_a_job(mirror: Engine) -> None:
    put(mirror, "jobs", job("ftjob-a"), job("ftjob-b"))
    put(
        mirror,
        "records",
        record("ftjob-a", 3),
        record("ftjob-b", 1, missing_since=at("13:00:00")),
    )
    put(mirror, "record_versions", version("ftjob-a", 1), version("ftjob-a", 2))
    put(mirror, "job_events", *(happened("ftjob-a", number, "…") for number in range(5)))
    put(mirror, "job_checkpoints", *(checkpoint(f"c{n}", "ftjob-a", n) for n in range(4)))
    put(mirror, "job_result_files", {"job_id": "ftjob-a", "position": 0, "file_id": "file-a"})
    pairs = (("team", "a"), ("cost", "b"))
    put(mirror, "job_metadata", *({"job_id": "ftjob-a", "name": n, "value": v} for n, v in pairs))
    query = (
        "SELECT job_id, events_count, checkpoints_count, result_files_count, metadata_count, "
        "versions_count, is_missing, missing_since FROM job_overview ORDER BY job_id"
    )
    assert rows(mirror, query) == [
        ("ftjob-a", 5, 4, 1, 2, 3, False, None),
        ("ftjob-b", 0, 0, 0, 0, 1, True, "2025-05-05 13:00:00"),
    ]


def test_job_overview_has_a_row_for_a_job_with_nothing_else(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job(
            "ftjob-a",
            project_id="proj_a",
            model="gpt-4.1-nano-2025-04-14",
            trained_tokens=1700,
            shared_with_openai=False,
            finished_at=at("10:15:16"),
        ),
    )
    query = (
        "SELECT job_id, source, provider, id_space, project_id, status, model, trained_tokens, "
        "shared_with_openai, created_at, finished_at, started_at, total_seconds FROM job_overview"
    )
    where = ("ftjob-a", "research", "openai", "openai", "proj_a")
    what = ("succeeded", "gpt-4.1-nano-2025-04-14", 1700, False)
    times = ("2025-05-05 10:00:00", "2025-05-05 10:15:16", None, 916)
    assert rows(mirror, query) == [(*where, *what, *times)]


def test_training_curves_have_a_row_for_a_step_of_each_origin(mirror: Engine) -> None:
    put(
        mirror,
        "training_metrics",
        # As a result file and as an event call it.
        *measured("result_file", "file-a", 1, train_loss=1.5, train_accuracy=0.5),
        *measured("result_file", "file-a", 2, train_loss=1.25, valid_loss=1.75),
        *measured("event", "ftevent-a", 1, train_loss=1.5, train_mean_token_accuracy=0.5),
        *measured("event", "ftevent-b", 2, train_mean_reward=0.25, full_valid_mean_reward=0.75),
        # Two events that told of one step.
        *measured("event", "ftevent-c", 3, train_loss=1.0, something_new=9.0),
        *measured("event", "ftevent-d", 3, full_valid_loss=0.5, valid_mean_token_accuracy=0.625),
        *measured("checkpoint", "ftckpt_a", 2, full_valid_mean_token_accuracy=0.875),
    )
    query = (
        "SELECT job_id, origin, origin_id, step, train_loss, train_mean_token_accuracy, "
        "valid_loss, valid_mean_token_accuracy, full_valid_loss, full_valid_mean_token_accuracy, "
        "train_mean_reward, full_valid_mean_reward FROM training_curves ORDER BY origin, step"
    )
    none = (None,) * 4
    assert rows(mirror, query) == [
        ("ftjob-a", "checkpoint", "ftckpt_a", 2, *none, None, 0.875, None, None),
        ("ftjob-a", "event", "ftevent-a", 1, 1.5, 0.5, None, None, *none),
        ("ftjob-a", "event", "ftevent-b", 2, *none, None, None, 0.25, 0.75),
        ("ftjob-a", "event", None, 3, 1.0, None, None, 0.625, 0.5, None, None, None),
        ("ftjob-a", "result_file", "file-a", 1, 1.5, 0.5, None, None, *none),
        ("ftjob-a", "result_file", "file-a", 2, 1.25, None, 1.75, None, *none),
    ]


def test_the_best_checkpoint_has_the_lowest_loss_of_the_best_kind_there_is(mirror: Engine) -> None:
    put(
        mirror,
        "job_checkpoints",
        # Of the whole validation file, though the training loss of another is lower.
        checkpoint("a1", "ftjob-a", 10, train_loss=0.1, valid_loss=0.2),
        checkpoint("a2", "ftjob-a", 20, train_loss=0.9, valid_loss=0.9, full_valid_loss=0.75),
        checkpoint("a3", "ftjob-a", 30, train_loss=0.8, full_valid_loss=0.5),
        # Equal: the later step.
        checkpoint("b1", "ftjob-b", None, valid_loss=0.25),
        checkpoint("b2", "ftjob-b", 20, valid_loss=0.25, fine_tuned_model_checkpoint="ft:m:ckpt"),
        checkpoint("b3", "ftjob-b", 10, valid_loss=0.25),
        checkpoint("c1", "ftjob-c", 10, train_loss=0.0),
        # A reinforcement job's tell no loss.
        checkpoint("d1", "ftjob-d", 10),
    )
    query = (
        "SELECT job_id, checkpoint_id, fine_tuned_model_checkpoint, step_number, loss, loss_name, "
        "created_at FROM best_checkpoints ORDER BY job_id"
    )
    when = "2025-05-05 10:30:00"
    assert rows(mirror, query) == [
        ("ftjob-a", "a3", None, 30, 0.5, "full_valid_loss", when),
        ("ftjob-b", "b2", "ft:m:ckpt", 20, 0.25, "valid_loss", when),
        ("ftjob-c", "c1", None, 10, 0.0, "train_loss", when),
    ]


def test_job_failures_tell_the_error_and_the_last_bad_event(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        job(
            "ftjob-a",
            status="failed",
            error_code="invalid_training_file",
            error_message="The file is empty.",
            error_param="training_file",
            finished_at=at("10:01:00"),
        ),
        job("ftjob-b", status="cancelled", model="gpt-4o-mini-2024-07-18", trained_tokens=20),
        job("ftjob-c", status="succeeded"),
        job("ftjob-d", status="running"),
    )
    put(
        mirror,
        "job_events",
        happened("ftjob-a", 0, "Some examples are long.", level="warn"),
        happened("ftjob-a", 1, "The file is empty: line 1.", level="error"),
        happened("ftjob-a", 2, "The job failed."),
        happened("ftjob-b", 0, "The job was cancelled."),
        happened("ftjob-c", 0, "Some examples are long.", level="warn"),
    )
    query = (
        "SELECT job_id, source, project_id, status, model, error_code, error_message, "
        "error_param, trained_tokens, created_at, finished_at, last_event_message "
        "FROM job_failures ORDER BY job_id"
    )
    error = ("invalid_training_file", "The file is empty.", "training_file", None)
    times = ("2025-05-05 10:00:00", "2025-05-05 10:01:00")
    said = "The file is empty: line 1."
    model = "gpt-4o-mini-2024-07-18"
    assert rows(mirror, query) == [
        ("ftjob-a", "research", None, "failed", None, *error, *times, said),
        ("ftjob-b", "research", None, "cancelled", model, *(None,) * 3, 20, times[0], None, None),
    ]


LINEAGE = (
    "SELECT job_id, fine_tuned_model, parent_model, parent_job_id, base_model, depth "
    "FROM model_lineage ORDER BY job_id"
)


def trained(job_id: str, model: str, became: str | None, **values: Any) -> dict[str, Any]:
    return job(job_id, model=model, base_model=model, fine_tuned_model=became, **values)


def test_model_lineage_follows_models_and_checkpoints_to_their_jobs(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        trained("ftjob-a", "gpt-4o", "ft:a"),
        trained("ftjob-b", "ft:a", "ft:b"),
        trained("ftjob-c", "ft:b:ckpt-step-5", "ft:c"),
        trained("ftjob-d", "ft:elsewhere", "ft:d"),
        trained("ftjob-e", "ft:a", None),
        # Another server's models are others, whatever their names.
        trained("ftjob-f", "ft:a", "ft:f", id_space="other"),
    )
    put(
        mirror,
        "job_checkpoints",
        checkpoint("b1", "ftjob-b", 5, fine_tuned_model_checkpoint="ft:b:ckpt-step-5"),
        checkpoint("b2", "ftjob-b", 9, fine_tuned_model_checkpoint="ft:b"),
    )
    assert rows(mirror, LINEAGE) == [
        ("ftjob-a", "ft:a", "gpt-4o", None, "gpt-4o", 1),
        ("ftjob-b", "ft:b", "ft:a", "ftjob-a", "gpt-4o", 2),
        ("ftjob-c", "ft:c", "ft:b:ckpt-step-5", "ftjob-b", "gpt-4o", 3),
        ("ftjob-d", "ft:d", "ft:elsewhere", None, "ft:elsewhere", 1),
        ("ftjob-f", "ft:f", "ft:a", None, "ft:a", 1),
    ]
    assert rows(mirror, "SELECT created_at, source, project_id FROM model_lineage LIMIT 1") == [
        ("2025-05-05 10:00:00", "research", None)
    ]


def test_model_lineage_takes_the_last_job_before_where_a_name_came_twice(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        trained("ftjob-a", "base", "mine", created_at=at("08:00:00")),
        trained("ftjob-b", "other", "mine", created_at=at("09:00:00")),
        trained("ftjob-c", "mine", "next", created_at=at("10:00:00")),
        trained("ftjob-d", "base", "mine", created_at=at("11:00:00")),
    )
    assert rows(mirror, LINEAGE)[2] == ("ftjob-c", "next", "mine", "ftjob-b", "other", 2)


def test_model_lineage_ends_in_a_circle_and_below_fifty(mirror: Engine) -> None:
    put(
        mirror,
        "jobs",
        trained("ftjob-x", "ft:y", "ft:x"),
        trained("ftjob-y", "ft:x", "ft:y"),
        trained("ftjob-z", "ft:y", "ft:z"),
        trained("ftjob-self", "ft:self", "ft:self"),
        *(trained(f"long-{n:02}", f"m{n - 1}", f"m{n}") for n in range(1, 53)),
    )
    found = {line[0]: line[1:] for line in rows(mirror, LINEAGE)}
    assert found["ftjob-x"] == ("ft:x", "ft:y", "ftjob-y", "ft:y", None)
    assert found["ftjob-y"] == ("ft:y", "ft:x", "ftjob-x", "ft:x", None)
    assert found["ftjob-z"] == ("ft:z", "ft:y", "ftjob-y", "ft:y", None)
    assert found["ftjob-self"] == ("ft:self", "ft:self", None, "ft:self", 1)
    assert found["long-01"] == ("m1", "m0", None, "m0", 1)
    assert found["long-50"] == ("m50", "m49", "long-49", "m0", 50)
    assert found["long-51"] == ("m51", "m50", "long-50", "m50", None)


def logged(run_id: int, mode: str, *resources: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A run that began so many minutes after ten, and each of its lines."""
    begun = {"started_at": at(f"10:{run_id:02}:00"), **dict.fromkeys(COUNTS, 0)}
    yield {"id": run_id, "mode": mode, "status": "success", **begun}
    for values in resources:
        given = {"run_id": run_id, "source": "research", "status": "success", "is_whole": True}
        yield {**given, **begun, **values}


def refused(source: str, resource: str, **values: Any) -> dict[str, Any]:
    given = {"run_id": 1, "reason": "…", "payload": "{}", "payload_encoding": "text", "digest": ""}
    seen = {"first_seen_at": at("10:00:00"), "last_seen_at": at("10:00:00")}
    return {"source": source, "resource": resource, **given, **seen, **values}


def test_sync_health_tells_the_last_success_and_how_the_last_run_went(mirror: Engine) -> None:
    jobs, events = {"resource": "jobs"}, {"resource": "events"}
    elsewhere = {"resource": "jobs", "source": "azure"}
    failed = {"status": "failed", "error": "refused"}
    late = {"status": "partial", "error": "The time limit came"}
    runs = [
        logged(1, "full", jobs, events, {**elsewhere, **failed}),
        # A record that went to quarantine keeps the rest in step; a list that was cut is not.
        logged(2, "incremental", {**jobs, "status": "partial"}, {**events, **late}),
        logged(3, "incremental", {**jobs, **failed}),
        logged(4, "incremental", {**events, "is_whole": False}),
        # No API was asked.
        *(logged(number, mode, jobs) for number, mode in ((5, "import"), (6, "replay"))),
        logged(7, "retry", {**jobs, "error": "no"}, {"resource": "files"}),
        logged(8, "auto", {**elsewhere, "status": "running"}),
    ]
    for first, *others in runs:
        put(mirror, "sync_runs", first)
        put(mirror, "sync_resource_runs", *others)
    resolved = {"resolved_at": at("11:00:00")}
    put(mirror, "quarantine", *(refused("research", "jobs") for _ in range(2)))
    put(mirror, "quarantine", refused("research", "jobs", **resolved), refused("azure", "jobs"))
    query = (
        "SELECT source, resource, last_success_at, last_run_id, last_run_at, last_status, "
        "last_error, open_quarantine FROM sync_health ORDER BY source, resource"
    )
    one, two, three, four, eight = (f"2025-05-05 10:0{minute}:00" for minute in (1, 2, 3, 4, 8))
    assert rows(mirror, query) == [
        ("azure", "jobs", None, 8, eight, "running", None, 1),
        ("research", "events", one, 4, four, "success", None, 0),
        ("research", "jobs", two, 3, three, "failed", "refused", 2),
    ]
    assert rows(mirror, "SELECT age_seconds FROM sync_health WHERE source = 'azure'") == [(None,)]


def test_the_age_is_told_by_the_database_in_whole_seconds_in_every_zone(mirror: Engine) -> None:
    (run, line) = logged(1, "full", {"resource": "jobs"})
    put(mirror, "sync_runs", run)
    put(mirror, "sync_resource_runs", {**line, "started_at": datetime.now(UTC) - timedelta(days=2)})
    with mirror.connect() as connection:
        for zone in ("SELECT 1", ZONES[mirror.dialect.name]):
            connection.execute(text(zone))
            ((age,),) = lines(connection, "SELECT age_seconds FROM sync_health")
            assert isinstance(age, int)
            assert 172_800 - 60 <= age <= 172_800 + 600


# Who reads


ZONES = {
    "postgresql": "SET TIME ZONE 'America/Los_Angeles'",
    "mariadb": "SET time_zone = '-08:00'",
    "sqlite": "SELECT 1",  # has no zone
}


def test_another_time_zone_of_the_session_changes_no_figure(mirror: Engine) -> None:
    put(mirror, "jobs", job("ftjob-a", fine_tuned_model="ft:a", finished_at=at("23:30:00")))
    put(mirror, "jobs", job("ftjob-b", status="failed", finished_at=at("00:30:00")))
    put(mirror, "job_events", happened("ftjob-a", 0, "Fine-tuning job started"))
    put(mirror, "job_checkpoints", checkpoint("c", "ftjob-a", 1, train_loss=0.5))
    put(mirror, "records", record("ftjob-a", 1, missing_since=at("23:59:59")))
    first, *others = logged(1, "full", {"resource": "jobs"})
    put(mirror, "sync_runs", first)
    put(mirror, "sync_resource_runs", *others)
    put(mirror, "job_metadata", {"job_id": "ftjob-a", "name": "team", "value": "search"})
    put(mirror, "billed_costs", billed(at("23:30:00")))
    put(mirror, "job_result_files", {"job_id": "ftjob-a", "position": 0, "file_id": "file-a"})
    put(mirror, "files", {"id": "file-a", "expires_at": at("23:45:00")})
    put(mirror, "job_hyperparameters", hyperparameter("ftjob-a", "job", "n_epochs", "3"))
    permission = {"id": "cp_a", "fine_tuned_model_checkpoint": "ft:m", "created_at": at("23:50:00")}
    put(mirror, "checkpoint_permissions", permission)
    queries = {name: f"SELECT * FROM {name} ORDER BY 1" for name in VIEWS}
    # Not the age, which may have gone on between.
    queries["sync_health"] = "SELECT resource, last_success_at, last_run_at FROM sync_health"
    with mirror.connect() as connection:
        in_utc = {name: lines(connection, query) for name, query in queries.items()}
        connection.execute(text(ZONES[mirror.dialect.name]))
        assert {name: lines(connection, query) for name, query in queries.items()} == in_utc
    assert {name for name, found in in_utc.items() if not found} == {"training_curves"}
