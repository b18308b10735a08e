"""One job becomes rows: each kind of job there is, and every odd thing one may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import RecordError
from etl.fields import Drift
from etl.record import Origin, Record
from etl.resources import jobs
from tests.jobs import OPENAI, as_dict, job, record

Rows = dict[str, list[dict[str, Any]]]

AZURE = Origin("weu", "azure", "my-resource")
CREATED = "2024-12-27 18:20:48"
FINISHED = "2024-12-27 19:09:07"


def made(value: Any, origin: Origin = OPENAI) -> tuple[Rows, list[tuple[str, str, str]]]:
    """The rows of a job by table, without its id where a table has it under `job_id`; its drift."""
    one = value if isinstance(value, Record) else record(value, origin)
    tables: Rows = {}
    drift: list[tuple[str, str, str]] = []
    for row in jobs.rows(one):
        if isinstance(row, Drift):
            drift.append((row.path, row.kind, row.example))
            continue
        values = as_dict(row)
        if row[0] is not jobs.jobs:
            assert values.pop("job_id") == one.id
        tables.setdefault(row[0].name, []).append(values)
    return tables, drift


def main(value: Any, origin: Origin = OPENAI) -> dict[str, Any]:
    """The row of `jobs`."""
    return made(value, origin)[0]["jobs"][0]


def number(scope: str, name: str, text: str, value: float) -> dict[str, Any]:
    return {
        "scope": scope,
        "name": name,
        "value_text": text,
        "value_number": value,
        "is_auto": False,
    }


def auto(scope: str, name: str, text: str = "auto") -> dict[str, Any]:
    return {"scope": scope, "name": name, "value_text": text, "value_number": None, "is_auto": True}


def method(type: str, **changes: Any) -> dict[str, Any]:  # noqa: A002 - the column's name
    return {"type": type, "is_active": True, "grader": None, "response_format": None, **changes}


def tokens(quantity: int) -> dict[str, Any]:
    return {"unit": "trained_token", "origin": "trained_tokens", "quantity": quantity}


# the jobs there are


def test_a_supervised_job_of_2025() -> None:
    text = (
        b'{"object":"fine_tuning.job","id":"ftjob-uL1VKpwx7maorHNbOiDwFIn6",'
        b'"model":"gpt-4.1-nano-2025-04-14","created_at":1746484925,"finished_at":1746485841,'
        b'"fine_tuned_model":"ft:gpt-4.1-nano-2025-04-14:openai::BTz2REMH",'
        b'"organization_id":"org-abc123","result_files":["file-9TLxKY2A8tC5YE1RULYxf6"],'
        b'"status":"succeeded","validation_file":null,"training_file":"file-RCnFCYRhFDcq1aHxiYkBHw",'
        b'"hyperparameters":{"n_epochs":10,"batch_size":1,"learning_rate_multiplier":1},'
        b'"trained_tokens":1700,"error":{},"user_provided_suffix":null,"seed":1935755117,'
        b'"estimated_finish":null,"integrations":[],"metadata":null,"usage_metrics":null,'
        b'"shared_with_openai":false,"method":{"type":"supervised","supervised":{"hyperparameters":'
        b'{"n_epochs":10,"batch_size":1,"learning_rate_multiplier":1.0}}}}'
    )
    assert made(Record("jobs", "ftjob-uL1VKpwx7maorHNbOiDwFIn6", text, OPENAI)) == (
        {
            "jobs": [
                {
                    "id": "ftjob-uL1VKpwx7maorHNbOiDwFIn6",
                    "source": "default",
                    "provider": "openai",
                    "id_space": "openai",
                    "project_id": "proj_1",
                    "organization_id": "org-abc123",
                    "status": "succeeded",
                    "model": "gpt-4.1-nano-2025-04-14",
                    "base_model": "gpt-4.1-nano-2025-04-14",
                    "fine_tuned_model": "ft:gpt-4.1-nano-2025-04-14:openai::BTz2REMH",
                    "user_provided_suffix": None,
                    "method_type": "supervised",
                    "training_file": "file-RCnFCYRhFDcq1aHxiYkBHw",
                    "validation_file": None,
                    "trained_tokens": 1700,
                    "seed": 1935755117,
                    "error_code": None,
                    "error_message": None,
                    "error_param": None,
                    "created_at": "2025-05-05 22:42:05",
                    "finished_at": "2025-05-05 22:57:21",
                    "estimated_finish": None,
                    "shared_with_openai": False,
                    "eval_id": None,
                    "usage_metrics": None,
                }
            ],
            "job_hyperparameters": [
                number("job", "n_epochs", "10", 10.0),
                number("job", "batch_size", "1", 1.0),
                number("job", "learning_rate_multiplier", "1", 1.0),
                number("supervised", "n_epochs", "10", 10.0),
                number("supervised", "batch_size", "1", 1.0),
                number("supervised", "learning_rate_multiplier", "1.0", 1.0),
            ],
            "job_methods": [method("supervised")],
            "job_result_files": [{"position": 0, "file_id": "file-9TLxKY2A8tC5YE1RULYxf6"}],
            "job_usage": [tokens(1700)],
        },
        [],
    )


def test_a_failed_dpo_job() -> None:
    message = "The job failed due to an invalid training file."
    values = {"batch_size": "auto", "beta": 0.1, "n_epochs": "auto"}
    rows, drift = made(
        job(
            status="failed",
            hyperparameters=None,
            error={"code": "invalid_training_file", "message": message, "param": "training_file"},
            method={"dpo": {"hyperparameters": values}, "supervised": None, "type": "dpo"},
        )
    )
    assert drift == []
    assert rows == {
        "jobs": [
            {
                "id": "ftjob-1",
                "source": "default",
                "provider": "openai",
                "id_space": "openai",
                "project_id": "proj_1",
                "organization_id": "org-1",
                "status": "failed",
                "model": "gpt-4o-mini-2024-07-18",
                "base_model": "gpt-4o-mini-2024-07-18",
                "fine_tuned_model": None,
                "user_provided_suffix": None,
                "method_type": "dpo",
                "training_file": "file-train",
                "validation_file": None,
                "trained_tokens": None,
                "seed": 42,
                "error_code": "invalid_training_file",
                "error_message": message,
                "error_param": "training_file",
                "created_at": CREATED,
                "finished_at": None,
                "estimated_finish": None,
                "shared_with_openai": False,
                "eval_id": None,
                "usage_metrics": None,
            }
        ],
        "job_hyperparameters": [
            auto("dpo", "batch_size"),
            number("dpo", "beta", "0.1", 0.1),
            auto("dpo", "n_epochs"),
        ],
        "job_methods": [method("dpo")],
    }


def test_a_reinforcement_job_has_a_grader_and_is_billed_by_time() -> None:
    grader = {"type": "string_check", "name": "g", "input": "{{sample.output_text}}"}
    rows, drift = made(
        job(
            model="o4-mini-2025-04-16",
            hyperparameters=None,
            usage_metrics={"training_seconds": 60.0},
            eval_id="eval_1",
            method={
                "type": "reinforcement",
                "reinforcement": {
                    "hyperparameters": {"compute_multiplier": 1.0, "reasoning_effort": "medium"},
                    "grader": grader,
                    "response_format": {"type": "text"},
                },
            },
        )
    )
    assert drift == []
    assert rows["job_hyperparameters"] == [
        number("reinforcement", "compute_multiplier", "1.0", 1.0),
        {
            "scope": "reinforcement",
            "name": "reasoning_effort",
            "value_text": "medium",
            "value_number": None,
            "is_auto": False,
        },
    ]
    assert rows["job_methods"] == [
        method(
            "reinforcement",
            grader='{"type":"string_check","name":"g","input":"{{sample.output_text}}"}',
            response_format='{"type":"text"}',
        )
    ]
    assert rows["jobs"][0]["method_type"] == "reinforcement"
    assert rows["jobs"][0]["trained_tokens"] == 1700
    assert rows["jobs"][0]["usage_metrics"] == '{"training_seconds":60.0}'
    assert rows["jobs"][0]["eval_id"] == "eval_1"
    (usage,) = rows["job_usage"]
    assert (usage["unit"], usage["origin"]) == ("training_second", "usage_metrics")
    assert usage["quantity"] == 60


def test_a_job_of_2023() -> None:
    """No method, no seed, no error, no integrations."""
    value = {
        "object": "fine_tuning.job",
        "id": "ftjob-5XsithSRiJ6mvf24IP9xq7eW",
        "model": "gpt-3.5-turbo-0613",
        "created_at": 1692941148,
        "finished_at": 1692941721,
        "fine_tuned_model": "ft:gpt-3.5-turbo-0613:personal::7rJlWrzp",
        "organization_id": "org-1",
        "result_files": ["file-a", "file-b"],
        "status": "succeeded",
        "validation_file": "file-v",
        "training_file": "file-t",
        "hyperparameters": {"n_epochs": 5},
        "trained_tokens": 26100,
    }
    assert made(value) == (
        {
            "jobs": [
                {
                    "id": "ftjob-5XsithSRiJ6mvf24IP9xq7eW",
                    "source": "default",
                    "provider": "openai",
                    "id_space": "openai",
                    "project_id": "proj_1",
                    "organization_id": "org-1",
                    "status": "succeeded",
                    "model": "gpt-3.5-turbo-0613",
                    "base_model": "gpt-3.5-turbo-0613",
                    "fine_tuned_model": "ft:gpt-3.5-turbo-0613:personal::7rJlWrzp",
                    "user_provided_suffix": None,
                    "method_type": None,
                    "training_file": "file-t",
                    "validation_file": "file-v",
                    "trained_tokens": 26100,
                    "seed": None,
                    "error_code": None,
                    "error_message": None,
                    "error_param": None,
                    "created_at": "2023-08-25 05:25:48",
                    "finished_at": "2023-08-25 05:35:21",
                    "estimated_finish": None,
                    "shared_with_openai": None,
                    "eval_id": None,
                    "usage_metrics": None,
                }
            ],
            "job_hyperparameters": [number("job", "n_epochs", "5", 5.0)],
            "job_result_files": [
                {"position": 0, "file_id": "file-a"},
                {"position": 1, "file_id": "file-b"},
            ],
            "job_usage": [tokens(26100)],
        },
        [],
    )


def test_a_job_of_azure() -> None:
    """-1 for auto, nulls for lists and objects, its own names for organisation and suffix."""
    value = {
        "object": "fine_tuning.job",
        "id": "ftjob-70ee3e37776e4428b20685fcd0728abb",
        "model": "gpt-4.1-2025-04-14",
        "created_at": 1747468736,
        "updated_at": 1747507995,
        "finished_at": 1747507995,
        "estimated_finish": 1750074407,
        "fine_tuned_model": "gpt-4.1-2025-04-14.ft-70ee3e37776e4428b20685fcd0728abb-chart",
        "organisation_id": None,
        "result_files": None,
        "integrations": None,
        "method": None,
        "status": "pending",
        "suffix": "chart",
        "training_file": "file-1",
        "validation_file": None,
        "hyperparameters": {"batch_size": -1, "learning_rate_multiplier": 2.0, "n_epochs": -1},
        "trained_tokens": None,
        "seed": 624499896,
    }
    assert made(value, AZURE) == (
        {
            "jobs": [
                {
                    "id": "ftjob-70ee3e37776e4428b20685fcd0728abb",
                    "source": "weu",
                    "provider": "azure",
                    "id_space": "my-resource",
                    "project_id": None,
                    "organization_id": None,
                    "status": "pending",
                    "model": "gpt-4.1-2025-04-14",
                    "base_model": "gpt-4.1-2025-04-14",
                    "fine_tuned_model": (
                        "gpt-4.1-2025-04-14.ft-70ee3e37776e4428b20685fcd0728abb-chart"
                    ),
                    "user_provided_suffix": "chart",
                    "method_type": None,
                    "training_file": "file-1",
                    "validation_file": None,
                    "trained_tokens": None,
                    "seed": 624499896,
                    "error_code": None,
                    "error_message": None,
                    "error_param": None,
                    "created_at": "2025-05-17 07:58:56",
                    "finished_at": "2025-05-17 18:53:15",
                    "estimated_finish": "2025-06-16 11:46:47",
                    "shared_with_openai": None,
                    "eval_id": None,
                    "usage_metrics": None,
                }
            ],
            "job_hyperparameters": [
                auto("job", "batch_size", "-1"),
                number("job", "learning_rate_multiplier", "2.0", 2.0),
                auto("job", "n_epochs", "-1"),
            ],
        },
        [("updated_at", "unknown_field", "1747507995")],
    )


def test_an_object_of_the_retired_endpoint() -> None:
    """Its result files are whole objects; what else it names its own way is noted."""
    rows, drift = made(
        {
            "id": "ft-j01xrXPathi9rIWjNcknSBaa",
            "object": "fine-tune",
            "created_at": 1639253461,
            "fine_tuned_model": "ada:ft-user-jxm65ijkzc1qrfhc0ij8moic-2021-12-11-20-11-52",
            "hyperparams": {"n_epochs": 4},
            "model": "ada",
            "organization_id": "org-1",
            "result_files": [{"id": "file-IV2G", "object": "file", "bytes": 444}],
            "status": "succeeded",
            "training_files": [{"id": "file-YPzu"}],
            "updated_at": 1639253518,
            "validation_files": [],
        }
    )
    assert rows["jobs"][0]["base_model"] == "ada"
    assert rows["jobs"][0]["created_at"] == "2021-12-11 20:11:01"
    assert rows["job_result_files"] == [{"position": 0, "file_id": "file-IV2G"}]
    assert rows.keys() == {"jobs", "job_result_files"}
    assert drift == [
        ("result_files[]", "wrong_type", '{"id":"file-IV2G","object":"file","bytes":444}'),
        ("hyperparams", "unknown_field", '{"n_epochs":4}'),
        ("training_files", "unknown_field", '[{"id":"file-YPzu"}]'),
        ("updated_at", "unknown_field", "1639253518"),
    ]


def test_wandb() -> None:
    rows, drift = made(
        job(
            integrations=[
                {
                    "type": "wandb",
                    "wandb": {
                        "project": "p",
                        "entity": None,
                        "name": None,
                        "tags": None,
                        "run_id": "ftjob-1",
                    },
                },
                {"type": "wandb", "wandb": {"project": "q", "name": "n", "tags": ["a", "", "a"]}},
                {"type": "other"},
            ]
        )
    )
    nothing = dict.fromkeys(("wandb_project", "wandb_name", "wandb_entity", "wandb_run_id"))
    assert rows["job_integrations"] == [
        {
            **nothing,
            "position": 0,
            "type": "wandb",
            "wandb_project": "p",
            "wandb_run_id": "ftjob-1",
        },
        {**nothing, "position": 1, "type": "wandb", "wandb_project": "q", "wandb_name": "n"},
        {**nothing, "position": 2, "type": "other"},
    ]
    assert rows["job_integration_tags"] == [
        {"integration_position": 1, "position": 0, "tag": "a"},
        {"integration_position": 1, "position": 1, "tag": ""},
        {"integration_position": 1, "position": 2, "tag": "a"},
    ]
    assert drift == []


@pytest.mark.parametrize(
    "error",
    [
        None,
        {},
        {"code": None, "message": None, "param": None},
        {"code": None, "message": None, "param": None, "error": None},
    ],
)
def test_no_error_in_all_its_spellings(error: Any) -> None:
    rows, drift = made(job(error=error))
    assert [rows["jobs"][0][f"error_{name}"] for name in ("code", "message", "param")] == [None] * 3
    assert drift == []


@pytest.mark.parametrize(
    ("error", "code", "message", "noted"),
    [
        ({"code": 500, "message": "m"}, "500", "m", [("error.code", "wrong_type", "500")]),
        ("it broke", None, "it broke", [("error", "wrong_type", "it broke")]),
        (["it broke"], None, None, [("error", "wrong_type", '["it broke"]')]),
        (
            {"code": "c", "error": {"inner": 1}},
            "c",
            None,
            [("error.error", "unknown_field", '{"inner":1}')],
        ),
    ],
)
def test_errors_of_another_shape(
    error: Any, code: str | None, message: str | None, noted: list[Any]
) -> None:
    rows, drift = made(job(status="failed", error=error))
    assert (rows["jobs"][0]["error_code"], rows["jobs"][0]["error_message"]) == (code, message)
    assert drift == noted


def test_metadata() -> None:
    rows, drift = made(job(metadata={"team": "a", "Team": "b", "team ": "", "n": 5, "no": None}))
    assert rows["job_metadata"] == [
        {"name": "team", "value": "a"},
        {"name": "Team", "value": "b"},
        {"name": "team ", "value": ""},
        {"name": "n", "value": "5"},
    ]
    assert drift == [("metadata.n", "wrong_type", "5")]


# what may be odd about one


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, None),
        ("", None),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"),
        ("ft:gpt-3.5-turbo-0613:personal::7rJlWrzp", "gpt-3.5-turbo-0613"),
        ("ft:gpt-4o-2024-08-06:org:suffix:abc:ckpt-step-90", "gpt-4o-2024-08-06"),
        ("ft:ft:gpt-4o:org::a:org::b", "gpt-4o"),
        ("ft:ada:ft-org-2021-12-11", "ada"),
        ("ada:ft-user-x-2021-12-11-20-11-52", "ada"),
        ("davinci-002:ft-a:ft-b", "davinci-002"),
        ("gpt-4.1-2025-04-14.ft-70ee3e37776e4428b20685fcd0728abb", "gpt-4.1-2025-04-14"),
        ("gpt-4.1-2025-04-14.ft-70ee3e37776e4428b20685fcd0728abb-chart", "gpt-4.1-2025-04-14"),
        ("m.ft-" + "0" * 32 + ".ft-" + "1" * 32, "m"),
        ("ft:m.ft-" + "0" * 32 + ":org::x", "m"),
        ("m.ft-0123", "m.ft-0123"),
        ("custom:model", "custom:model"),
        # Names made to lead in a circle.
        ("ft.ft-" + "0" * 32, "ft"),
        ("ft:ft.ft-" + "0" * 32, "ft"),
        ("ft:ft:ft:", None),
        ("ft:", None),
        ("ft::org::x", None),
        ("ft", "ft"),
        (":ft-", ":ft-"),
    ],
)
def test_the_model_under_any_chain(model: str | None, expected: str | None) -> None:
    assert jobs.base_model(model) == expected


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["ft", ":", ".ft-", "0" * 32, "a", ":ft-", "\n"])).map("".join))
def test_every_name_has_an_end(model: str) -> None:
    found = jobs.base_model(model)
    assert found is None or found in model
    assert jobs.base_model(found) == found


@pytest.mark.parametrize(
    ("changes", "columns", "noted"),
    [
        ({"status": "sleeping"}, {"status": "sleeping"}, [("status", "unknown_value", "sleeping")]),
        (
            {"status": 3},
            {"status": "3"},
            [("status", "wrong_type", "3"), ("status", "unknown_value", "3")],
        ),
        (
            {"status": ["running"]},
            {"status": '["running"]'},
            [
                ("status", "wrong_type", '["running"]'),
                ("status", "unknown_value", '["running"]'),
            ],
        ),
        ({"status": None}, {"status": None}, [("status", "missing", "null")]),
        (
            {"status": "s" * 256},
            {"status": None},
            [("status", "too_long", "s" * 200), ("status", "missing", "null")],
        ),
        ({"object": "job"}, {}, [("object", "unknown_value", "job")]),
        ({"object": None}, {}, []),
        ({"trained_tokens": "1700"}, {"trained_tokens": 1700}, [("trained_tokens", "wrong_type")]),
        ({"trained_tokens": 1e3}, {"trained_tokens": 1000}, [("trained_tokens", "wrong_type")]),
        ({"trained_tokens": 2**63}, {"trained_tokens": None}, [("trained_tokens", "out_of_range")]),
        ({"trained_tokens": True}, {"trained_tokens": None}, [("trained_tokens", "wrong_type")]),
        ({"seed": -(2**63)}, {"seed": -(2**63)}, []),
        ({"created_at": "1735323648"}, {"created_at": CREATED}, [("created_at", "wrong_type")]),
        (
            {"created_at": "2024-12-27T18:20:48Z"},
            {"created_at": CREATED},
            [("created_at", "wrong_type")],
        ),
        ({"finished_at": 0}, {"finished_at": None}, [("finished_at", "out_of_range")]),
        ({"finished_at": -5}, {"finished_at": None}, [("finished_at", "out_of_range")]),
        ({"finished_at": 10**30}, {"finished_at": None}, [("finished_at", "out_of_range")]),
        ({"estimated_finish": 0}, {"estimated_finish": None}, []),
        ({"shared_with_openai": "true"}, {"shared_with_openai": True}, [("shared_with_openai",)]),
        ({"model": {"a": 1}}, {"model": '{"a":1}', "base_model": '{"a":1}'}, [("model",)]),
        ({"model": None}, {"model": None, "base_model": None}, []),
        ({"user_provided_suffix": ""}, {"user_provided_suffix": None}, []),
        ({"usage_metrics": []}, {"usage_metrics": None}, []),
        ({"usage_metrics": "x"}, {"usage_metrics": '"x"'}, []),
        ({"new": {"key": "sk-abcdefgh12345678"}}, {}, [("new", "unknown_field", '{"key":"***"}')]),
        ({"new": None, "newer": [], "": {}}, {}, []),
        ({"method": "dpo"}, {"method_type": None}, [("method", "wrong_type", "dpo")]),
        ({"hyperparameters": [1]}, {}, [("hyperparameters", "wrong_type", "[1]")]),
        ({"metadata": "x"}, {}, [("metadata", "wrong_type", "x")]),
        ({"result_files": "file-1"}, {}, [("result_files", "wrong_type", "file-1")]),
        ({"integrations": {"a": 1}}, {}, [("integrations", "wrong_type", '{"a":1}')]),
    ],
)
def test_odd_values(changes: dict[str, Any], columns: dict[str, Any], noted: list[Any]) -> None:
    rows, drift = made(job() | changes)
    assert rows["jobs"][0] == main(job()) | columns
    assert [one[: len(said)] for one, said in zip(drift, noted, strict=True)] == noted


def test_times_of_a_job_that_has_ended() -> None:
    assert main(job())["finished_at"] == FINISHED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"created_at": None}, "`created_at` is no time: null"),
        ({"created_at": 0}, "`created_at` is no time: 0"),
        ({"created_at": -5}, "`created_at` is no time: -5"),
        ({"created_at": 10**15}, "`created_at` is no time: 1000000000000000"),
        ({"created_at": "soon sk-abcdefgh12345678"}, "`created_at` is no time: soon ***"),
        ({"created_at": [1]}, "`created_at` is no time: [1]"),
        ({"created_at": "x" * 999}, "`created_at` is no time: " + "x" * 80),
        ({"metadata": {"": "a"}}, "`metadata` is empty"),
        ({"metadata": {"n" * 256: "a"}}, "`metadata` has 256 characters, 255 fit"),
        ({"metadata": {"\x00": "a"}}, "`metadata` holds U+0000 or a lone surrogate: \ufffd"),
        ({"hyperparameters": {"h" * 256: 1}}, "`hyperparameters` has 256 characters, 255 fit"),
        ({"method": {"m" * 65: {"a": 1}}}, "`method` has 65 characters, 64 fit"),
    ],
)
def test_a_job_that_cannot_become_rows_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        made(job(**changes))
    assert str(caught.value) == reason


@pytest.mark.parametrize("text", [b"5", b'"a"', b"null", b"[{}]", b"true"])
def test_what_is_no_object_is_no_job(text: bytes) -> None:
    with pytest.raises(RecordError, match=r"^a job is a JSON object, this is not$"):
        made(record(text, id="a"))


def hyperparameter(value: Any) -> tuple[list[tuple[Any, ...]], list[tuple[str, str, str]]]:
    rows, drift = made(job(hyperparameters={"h": value}, method=None))
    found = rows.get("job_hyperparameters", [])
    return [(row["value_text"], row["value_number"], row["is_auto"]) for row in found], drift


@pytest.mark.parametrize(
    ("value", "row", "noted"),
    [
        ("auto", ("auto", None, True), None),
        (-1, ("-1", None, True), None),
        (-1.0, ("-1.0", None, True), None),
        (0, ("0", 0.0, False), None),
        (1.8, ("1.8", 1.8, False), None),
        (1e-05, ("1e-05", 0.00001, False), None),
        (5e-324, ("5e-324", 5e-324, False), None),
        (10**400, ("1" + "0" * 400, None, False), "out_of_range"),
        ("1.8", ("1.8", None, False), None),
        ("", ("", None, False), None),
        ("a\x00", ("a\ufffd", None, False), "replaced_characters"),
        (True, ("true", None, False), "wrong_type"),
        ([1, 2], ("[1,2]", None, False), "wrong_type"),
        ({"type": "auto"}, ('{"type":"auto"}', None, False), "wrong_type"),
    ],
)
def test_hyperparameters(value: Any, row: tuple[Any, ...], noted: str | None) -> None:
    found, drift = hyperparameter(value)
    assert found == [row]
    assert [(path, kind) for path, kind, _ in drift] == (
        [("hyperparameters.h", noted)] if noted else []
    )


def test_a_hyperparameter_beyond_any_float_keeps_its_literal() -> None:
    text = json.dumps(job(method=None)).replace('"n_epochs": 3', '"n_epochs": 1e999').encode()
    rows, drift = made(record(text, id="ftjob-1"))
    assert rows["job_hyperparameters"][0] == {
        "scope": "job",
        "name": "n_epochs",
        "value_text": "1e999",
        "value_number": None,
        "is_auto": False,
    }
    assert drift == [("hyperparameters.n_epochs", "out_of_range", "1e999")]


@pytest.mark.parametrize("value", [None, {}, []])
def test_a_hyperparameter_of_nothing_has_no_row(value: Any) -> None:
    assert hyperparameter(value) == ([], [])


@pytest.mark.parametrize(
    ("value", "rows", "noted"),
    [
        ({"type": "dpo"}, [method("dpo")], []),
        ({"type": ""}, [], [("method.type", "unknown_value", "")]),
        ({"type": "new"}, [method("new")], [("method.type", "unknown_value", "new")]),
        (
            {"type": 5},
            [method("5")],
            [("method.type", "wrong_type", "5"), ("method.type", "unknown_value", "5")],
        ),
        ({"type": "t" * 65}, [], [("method.type", "too_long", "t" * 65)]),
        (
            {"type": "dpo", "new": {"hyperparameters": {"x": 1}, "y": 2}},
            [method("new", is_active=False), method("dpo")],
            [
                ("method.new", "unknown_field", '{"hyperparameters":{"x":1},"y":2}'),
                ("method.new.y", "unknown_field", "2"),
            ],
        ),
        # A plain member is no method, and its name may be anything.
        (
            {"type": "dpo", "version": 2, "v" * 300: "x"},
            [method("dpo")],
            [
                ("method.version", "unknown_field", "2"),
                ("method." + "v" * 300, "unknown_field", "x"),
            ],
        ),
        (
            {"type": "dpo", "dpo": "x", "supervised": {"hyperparameters": None}},
            [method("dpo"), method("supervised", is_active=False)],
            [("method.dpo", "wrong_type", "x")],
        ),
        (
            {"dpo": {"grader": [1], "odd": 1}},
            [method("dpo", is_active=False, grader="[1]")],
            [("method.dpo.odd", "unknown_field", "1")],
        ),
    ],
)
def test_methods(value: Any, rows: list[Any], noted: list[Any]) -> None:
    found, drift = made(job(method=value, hyperparameters=None))
    assert (found.get("job_methods", []), drift) == (rows, noted)


@pytest.mark.parametrize(
    ("files", "ids", "noted"),
    [
        ([None, "", "a"], [(2, "a")], []),
        ([5], [(0, "5")], ["wrong_type"]),
        ([{"id": "a"}, {"id": 5}], [(0, "a"), (1, '{"id":5}')], ["wrong_type", "wrong_type"]),
        (["f" * 256, "b"], [(1, "b")], ["too_long"]),
    ],
)
def test_result_files(files: Any, ids: list[Any], noted: list[str]) -> None:
    rows, drift = made(job(result_files=files))
    found = [(row["position"], row["file_id"]) for row in rows.get("job_result_files", [])]
    assert (found, [(path, kind) for path, kind, _ in drift]) == (
        ids,
        [("result_files[]", kind) for kind in noted],
    )


def test_integrations_of_odd_shapes() -> None:
    rows, drift = made(
        job(integrations=["wandb", None, {"type": 5, "wandb": "x", "new": 1}, {"wandb": {"t": 1}}])
    )
    assert [(row["position"], row["type"]) for row in rows["job_integrations"]] == [
        (2, "5"),
        (3, None),
    ]
    assert drift == [
        ("integrations[]", "wrong_type", "wandb"),
        ("integrations[]", "wrong_type", "null"),
        ("integrations[].wandb", "wrong_type", "x"),
        ("integrations[].type", "wrong_type", "5"),
        ("integrations[].new", "unknown_field", "1"),
        ("integrations[].wandb.t", "unknown_field", "1"),
    ]


def test_tags_of_odd_shapes() -> None:
    rows, drift = made(job(integrations=[{"type": "wandb", "wandb": {"tags": [None, 5, "a\x00"]}}]))
    assert [row["tag"] for row in rows["job_integration_tags"]] == [None, "5", "a\ufffd"]
    assert drift == [
        ("integrations[].wandb.tags[]", "wrong_type", "5"),
        ("integrations[].wandb.tags[]", "replaced_characters", "a\ufffd"),
    ]


def test_fewer_tokens_than_none_are_no_usage() -> None:
    rows, _ = made(job(trained_tokens=-1))
    assert rows["jobs"][0]["trained_tokens"] == -1
    assert "job_usage" not in rows


# what is later


@pytest.mark.parametrize(
    ("status", "final"),
    [
        ("succeeded", True),
        ("failed", True),
        ("cancelled", True),
        ("running", False),
        ("paused", False),
        ("Succeeded", False),
        ("new", False),
        (None, False),
        (5, False),
        (["succeeded"], False),
        ({"succeeded": 1}, False),
    ],
)
def test_final(status: Any, final: bool) -> None:
    one = record(job(status=status))
    assert jobs.is_final(one) is final
    assert jobs.progress(one) > 0


def test_progress_is_the_status_first_and_then_how_much_is_known() -> None:
    unsettled = {"n_epochs": "auto", "batch_size": -1}
    order = [
        job(status="validating_files", method=None, hyperparameters=unsettled),
        job(status="created", method=None),
        job(status="queued", method=None),
        job(status="running", method=None, hyperparameters=unsettled),
        job(status="running", method=None),
        job(status="succeeded", trained_tokens=None),
        job(status="succeeded"),
    ]
    found = [jobs.progress(record(value)) for value in order]
    assert found == sorted(found)
    assert jobs.progress(record(job(status="sleeping", method=None))) == found[4]
    assert not jobs.is_final(record(b"5", id="a"))
    assert jobs.progress(record(b"5", id="a")) < found[3]


def test_the_first_row_is_the_jobs_own() -> None:
    first = next(iter(jobs.rows(record(job()))))
    assert first[0] is jobs.jobs
