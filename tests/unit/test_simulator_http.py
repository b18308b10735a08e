"""Does the simulator behave over real HTTP: keys, lists, controls, money, faults?"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from etl.simulator import Fault, Simulator, World, parse_fault

JOBS = "/v1/fine_tuning/jobs"
KEY = {"Authorization": "Bearer sk-test"}
ADMIN = {"Authorization": "Bearer sk-admin-test"}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.json["data"]]


def ask(
    simulator: Simulator,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    body: str | None = None,
    timeout: float = 5,
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=timeout)
    try:
        connection.request(method, path, body, KEY if headers is None else headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()


def post(simulator: Simulator, path: str, body: object = None) -> Reply:
    text = None if body is None else json.dumps(body)
    return ask(simulator, "/__simulator" + path, {}, "POST", text)


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(World(seed=1, jobs=300), refused_keys=["sk-old"]) as running:
        yield running


def faulty(*faults: str | Fault, jobs: int = 50) -> Simulator:
    return Simulator(World(seed=1, jobs=jobs), faults=faults)


def test_a_list_has_twenty_jobs_and_no_cursor_of_its_own(shared: Simulator) -> None:
    reply = ask(shared, JOBS)
    assert list(reply.json) == ["object", "data", "has_more"]
    assert reply.json["has_more"] is True
    assert reply.ids == list(shared.world.job_ids())[:20]
    following = ask(shared, f"{JOBS}?after={reply.ids[-1]}&limit=3")
    assert following.ids == list(shared.world.job_ids())[20:23]


def test_answers_carry_the_apis_headers(shared: Simulator) -> None:
    headers = ask(shared, JOBS).headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-organization"] == "acme-robotics"
    assert headers["openai-processing-ms"].isdigit()


def test_metadata_filters_need_all_pairs_and_null_means_none(shared: Simulator) -> None:
    every = ask(shared, f"{JOBS}?limit=1000").json["data"]
    both = ask(shared, f"{JOBS}?limit=1000&metadata%5Bteam%5D=legal&metadata[env]=dev")
    wanted = {"team": "legal", "env": "dev"}.items()
    assert both.ids == [job["id"] for job in every if wanted <= (job.get("metadata") or {}).items()]
    assert both.ids
    none = ask(shared, f"{JOBS}?limit=1000&metadata=null")
    assert none.ids == [job["id"] for job in every if not job.get("metadata")]


def test_keys_open_only_what_the_real_ones_open(shared: Simulator) -> None:
    costs = "/v1/organization/costs?start_time=1793000000"
    assert ask(shared, JOBS, {}).status == 401
    assert ask(shared, JOBS, {}).json["error"]["code"] is None
    refused = ask(shared, JOBS, {"Authorization": "Bearer sk-old"})
    assert (refused.status, refused.json["error"]["code"]) == (401, "invalid_api_key")
    assert b"sk-old" not in refused.body
    assert ask(shared, JOBS, ADMIN).status == 401
    assert "Missing scopes" in ask(shared, JOBS, ADMIN).json["error"]["message"]
    assert ask(shared, costs).status == 403
    assert ask(shared, costs, ADMIN).status == 200
    assert ask(shared, "/v1/organization/projects").status == 403


def test_an_unknown_job_is_404_in_the_apis_words(shared: Simulator) -> None:
    reply = ask(shared, f"{JOBS}/ftjob-nothing")
    assert (reply.status, reply.json) == (
        404,
        {
            "error": {
                "message": "Could not find fine tune: ftjob-nothing",
                "type": "invalid_request_error",
                "param": "fine_tune_id",
                "code": "fine_tune_not_found",
            }
        },
    )
    assert ask(shared, "/v1/nowhere").status == 404
    assert ask(shared, f"{JOBS}?limit=x").status == 400
    assert ask(shared, JOBS, method="POST").status == 405


def test_an_unknown_cursor_is_an_empty_page_or_an_error_as_chosen(shared: Simulator) -> None:
    reply = ask(shared, f"{JOBS}?after=ftjob-nothing")
    assert (reply.status, reply.json) == (200, {"object": "list", "data": [], "has_more": False})
    with Simulator(World(1, 5), unknown_after="error") as strict:
        assert ask(strict, f"{JOBS}?after=ftjob-nothing").status == 404


def test_result_files_are_csv_plain_when_old_and_base64_when_new(shared: Simulator) -> None:
    files = ask(shared, "/v1/files?purpose=fine-tune-results").ids
    header = b"step,train_"
    newest = ask(shared, f"/v1/files/{files[0]}/content").body
    assert base64.b64decode(newest, validate=True).startswith(header)
    assert ask(shared, f"/v1/files/{files[-1]}/content").body.startswith(header)
    jobs = ask(shared, f"{JOBS}?limit=1000").json["data"]
    results = [file_id for job in jobs for file_id in job["result_files"]]
    expired = set(results) - set(files)
    assert 0 < len(expired) < len(results) / 2
    assert ask(shared, f"/v1/files/{expired.pop()}/content").status == 404


def test_costs_come_in_days_with_pages_and_amounts_as_text(shared: Simulator) -> None:
    path = "/v1/organization/costs?start_time=1793059200&limit=10"
    first = ask(shared, path + "&group_by=line_item&group_by=project_id", ADMIN).json
    same = ask(shared, path + "&group_by[]=line_item&group_by[]=project_id", ADMIN).json
    assert first == same
    assert [bucket["start_time"] for bucket in first["data"]] == [
        1793059200 + day * 86400 for day in range(10)
    ]
    assert first["has_more"] is True
    second = ask(shared, path + "&group_by=line_item&page=" + first["next_page"], ADMIN).json
    assert second["data"][0]["start_time"] == 1793059200 + 10 * 86400
    results = [result for bucket in first["data"] for result in bucket["results"]]
    assert all(isinstance(result["amount"]["value"], str) for result in results)
    assert any("training" in result["line_item"] for result in results)
    plain = ask(shared, path, ADMIN).json["data"]
    assert {len(bucket["results"]) for bucket in plain} == {0, 1}
    assert plain[0]["results"] == [] or plain[0]["results"][0]["line_item"] is None


def test_archived_projects_are_listed_on_request(shared: Simulator) -> None:
    path = "/v1/organization/projects"
    assert len(ask(shared, path, ADMIN).ids) == 3
    whole = ask(shared, path + "?include_archived=true&limit=3", ADMIN)
    assert whole.json["last_id"] == whole.ids[-1]
    rest = ask(shared, f"{path}?include_archived=true&after={whole.ids[-1]}", ADMIN)
    assert rest.json["data"][0]["status"] == "archived"


def test_checkpoint_permissions_need_the_admin_key(shared: Simulator) -> None:
    jobs = ask(shared, f"{JOBS}?limit=100").json["data"]
    models = [quote(job["fine_tuned_model"], safe="") for job in jobs if job["fine_tuned_model"]]
    paths = [f"/v1/fine_tuning/checkpoints/{model}/permissions" for model in models]
    counts = {len(ask(shared, path, ADMIN).ids) for path in paths[:30]}
    assert counts == {0, 1, 2}
    assert ask(shared, paths[0]).status == 403
    unknown = "/v1/fine_tuning/checkpoints/ft:x:y::12345678/permissions"
    assert ask(shared, unknown, ADMIN).status == 404


def test_azure_answers_under_its_own_paths_and_key() -> None:
    with Simulator(World(seed=1, jobs=30, provider="azure")) as simulator:
        key = {"api-key": "secret"}
        path = "/openai/fine_tuning/jobs?api-version=2024-10-21"
        assert len(ask(simulator, path, key).ids) == 20
        assert len(ask(simulator, path, KEY).ids) == 20
        assert len(ask(simulator, "/openai/v1/fine_tuning/jobs", key).ids) == 20
        assert ask(simulator, "/openai/fine_tuning/jobs", key).status == 404
        assert ask(simulator, path, {}).json["error"]["code"] == "401"
        files = ask(simulator, "/openai/files?api-version=2024-10-21", key).json
        assert list(files) == ["object", "data"]
        gone = ask(simulator, path, key).ids[:2]
        assert post(simulator, "/remove", {"ids": gone}).json == {"removed": gone}
        assert gone[0] not in ask(simulator, path, key).ids
        assert post(simulator, "/remove", {"ids": gone}).status == 404


def test_advance_changes_and_adds_as_many_as_asked_and_the_same_every_time() -> None:
    answers = []
    for _ in range(2):
        with Simulator(World(seed=2, jobs=40)) as simulator:
            before = ask(simulator, f"{JOBS}?limit=100").json["data"]
            first = post(simulator, "/advance", {"changed": 4, "new": 2}).json
            after = ask(simulator, f"{JOBS}?limit=100").json["data"]
            assert [job["id"] for job in after[:2]] == first["new"]
            changed = [job["id"] for job in after[2:] if job not in before]
            assert sorted(changed) == sorted(first["changed"])
            assert len(changed) == 4
            answers.append((first, post(simulator, "/advance?changed=1&new=0").json))
            assert post(simulator, "/advance").status == 200
            assert post(simulator, "/advance", {"changed": 999}).status == 400
            assert post(simulator, "/advance", {"change": 1}).status == 400
    assert answers[0] == answers[1]


def test_named_jobs_are_removed_restored_advanced_and_paused() -> None:
    with Simulator(World(seed=2, jobs=40)) as simulator:
        listed = ask(simulator, f"{JOBS}?limit=100")
        one, two = listed.ids[:2]
        assert post(simulator, "/remove", {"ids": [one, two]}).json == {"removed": [one, two]}
        assert ask(simulator, f"{JOBS}/{one}").status == 404
        assert ask(simulator, f"{JOBS}?limit=100").ids == listed.ids[2:]
        assert post(simulator, "/restore", {"ids": [two, one]}).json == {"restored": [two, one]}
        assert ask(simulator, f"{JOBS}?limit=100").body == listed.body
        assert post(simulator, "/restore", {"ids": [one]}).status == 404
        assert post(simulator, "/restore", {"ids": one}).status == 400
        moved = post(simulator, "/advance", {"ids": [two]}).json
        assert (moved["changed"], moved["new"]) == ([two], [])
        assert post(simulator, "/advance", {"ids": ["ftjob-x"]}).status == 404
        assert post(simulator, "/advance", {"ids": [two], "changed": 1}).status == 400
        status = {job["id"]: job["status"] for job in listed.json["data"]}
        running = next(job_id for job_id in listed.ids if status[job_id] == "running")
        assert post(simulator, "/pause", {"ids": [running]}).json == {"paused": [running]}
        assert ask(simulator, f"{JOBS}/{running}").json["status"] == "paused"
        assert post(simulator, "/pause", {"ids": [running]}).status == 400


def test_expired_files_are_404_with_their_content() -> None:
    with Simulator(World(seed=2, jobs=40)) as simulator:
        file_id = ask(simulator, "/v1/files").ids[0]
        content = f"/v1/files/{file_id}/content"
        assert ask(simulator, content).status == 200
        assert post(simulator, "/expire", {"ids": [file_id]}).json == {"expired": [file_id]}
        assert ask(simulator, content).status == 404
        assert ask(simulator, f"/v1/files/{file_id}").json["error"]["message"] == (
            f"No such File object: {file_id}"
        )
        assert file_id not in ask(simulator, "/v1/files").ids
        assert post(simulator, "/expire", {"ids": [file_id]}).status == 404


def test_requests_are_counted_by_template_and_status_without_any_key() -> None:
    lines: list[str] = []
    with Simulator(World(1, 5), log=lines.append) as simulator:
        job = next(simulator.world.job_ids())
        ask(simulator, JOBS)
        ask(simulator, f"{JOBS}/{job}/events")
        ask(simulator, f"{JOBS}/ftjob-x")
        ask(simulator, "/v1/sk-secret")
        counted = ask(simulator, "/__simulator/requests")
        assert counted.json == {
            "total": 4,
            "requests": {
                "GET /fine_tuning/jobs": {"200": 1},
                "GET /fine_tuning/jobs/{id}": {"404": 1},
                "GET /fine_tuning/jobs/{id}/events": {"200": 1},
                "GET other": {"404": 1},
            },
        }
        assert post(simulator, "/requests/reset").json["total"] == 0
    assert lines[0] == "GET /v1/fine_tuning/jobs 200"
    assert not any("sk-test" in line for line in lines)


# Faults


def test_a_status_strikes_the_requests_it_names() -> None:
    with faulty("status=429,retry-after=7,retry-after-ms=20,should-retry=true@/fine_tuning#2") as s:
        replies = [ask(s, JOBS) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 429, 200]
    struck = replies[1]
    assert struck.headers["retry-after"] == "7"
    assert struck.headers["retry-after-ms"] == "20"
    assert struck.headers["x-should-retry"] == "true"
    assert struck.json["error"]["code"] == "rate_limit_exceeded"


def test_a_status_has_the_body_asked_for() -> None:
    bodies = {}
    for body in ("insufficient_quota", "html", "empty", "problem+json"):
        with faulty(f"status=429,body={body}") as simulator:
            bodies[body] = ask(simulator, JOBS)
    assert bodies["insufficient_quota"].json["error"]["code"] == "insufficient_quota"
    assert bodies["html"].headers["content-type"].startswith("text/html")
    assert bodies["empty"].body == b""
    assert bodies["problem+json"].headers["content-type"] == "application/problem+json"


def test_retry_after_may_be_a_date() -> None:
    with faulty("status=503,retry-after=date:30") as simulator:
        text = ask(simulator, JOBS).headers["retry-after"]
    assert 20 < parsedate_to_datetime(text).timestamp() - time.time() < 31


def test_a_timeout_hangs_and_does_not_keep_the_server_from_stopping() -> None:
    simulator = faulty("timeout").start()
    with pytest.raises(TimeoutError):
        ask(simulator, JOBS, timeout=0.1)
    waiting = socket.create_connection(("127.0.0.1", simulator.port))
    waiting.sendall(b"GET /v1/fine_tuning/jobs HTTP/1.1\r\nAuthorization: Bearer k\r\n\r\n")
    began = time.perf_counter()
    simulator.stop()
    assert time.perf_counter() - began < 1
    waiting.close()
    assert not [one for one in threading.enumerate() if "process_request" in one.name]


def test_a_drip_is_slow_but_whole() -> None:
    with faulty("drip=0.2") as simulator:
        began = time.perf_counter()
        assert len(ask(simulator, JOBS).ids) == 20
    assert time.perf_counter() - began > 0.15


def test_a_cut_and_a_wrong_length_end_too_early() -> None:
    for spec in ("cut", "cut=0", "length"):
        with faulty(spec) as simulator, pytest.raises(http.client.IncompleteRead):
            ask(simulator, JOBS)
    with faulty("length=-5") as simulator, pytest.raises(json.JSONDecodeError):
        _ = ask(simulator, JOBS).json


def test_a_reset_breaks_the_connection() -> None:
    with faulty("resetx1") as simulator:
        with pytest.raises(ConnectionError):
            ask(simulator, JOBS)
        assert ask(simulator, JOBS).status == 200


@pytest.mark.parametrize(("spec", "body"), [("html", b"<html>"), ("notjson", b'{"object"')])
def test_an_answer_may_be_no_json(spec: str, body: bytes) -> None:
    with faulty(spec) as simulator:
        reply = ask(simulator, JOBS)
    assert (reply.status, reply.body[: len(body)]) == (200, body)
    with pytest.raises(json.JSONDecodeError):
        _ = reply.json


def test_an_answer_may_be_empty_or_a_redirect() -> None:
    with faulty("empty#1", "redirect=http://127.0.0.1/else#1") as simulator:
        assert ask(simulator, JOBS).body == b""
    with faulty("redirect=/v1/else") as simulator:
        reply = ask(simulator, JOBS)
    assert (reply.status, reply.headers["location"]) == (307, "/v1/else")


def test_an_envelope_may_have_another_shape() -> None:
    shapes = {}
    for form in ("renamed", "array", "null", "error", "no-has-more"):
        with faulty(f"envelope={form}") as simulator:
            shapes[form] = ask(simulator, JOBS).json
    assert list(shapes["renamed"]) == ["items", "next"]
    assert isinstance(shapes["array"], list)
    assert shapes["null"]["data"] is None
    assert "error" in shapes["error"]
    assert list(shapes["no-has-more"]) == ["object", "data"]


def two_pages(spec: str) -> tuple[Reply, Reply]:
    with faulty(spec) as simulator:
        first = ask(simulator, f"{JOBS}?limit=5")
        return first, ask(simulator, f"{JOBS}?limit=5&after={first.ids[-1]}")


def test_a_page_may_come_again() -> None:
    first, second = two_pages("repeat@/fine_tuning/jobs$#2")
    assert second.ids == first.ids
    assert second.json["has_more"] is True


def test_a_cursor_may_be_stuck() -> None:
    first, second = two_pages("stuck")
    assert second.ids[-1] == first.ids[-1]
    assert second.ids[0] != first.ids[0]
    assert second.json["has_more"] is True


def test_a_record_may_be_on_two_pages() -> None:
    first, second = two_pages("twice#2")
    assert second.ids[0] == first.ids[-1]
    assert len(set(first.ids + second.ids)) == 10


def test_a_record_may_lack_a_field() -> None:
    with faulty("missing=status@/fine_tuning/jobs$", "missing=id,record=all@/files") as simulator:
        jobs = ask(simulator, JOBS).json["data"]
        assert ["status" in job for job in jobs[:3]] == [False, True, True]
        assert all("id" not in file for file in ask(simulator, "/v1/files").json["data"])
        assert "status" in ask(simulator, f"{JOBS}/{jobs[0]['id']}").json


def test_a_revoked_key_stays_revoked_until_the_faults_are_replaced() -> None:
    with faulty("revoked#2") as simulator:
        statuses = [ask(simulator, path).status for path in (JOBS, JOBS, "/v1/files")]
        assert statuses == [200, 401, 401]
        assert post(simulator, "/faults", {"faults": []}).json == {"faults": []}
        assert ask(simulator, JOBS).status == 200


def test_faults_by_chance_strike_the_same_requests_every_time() -> None:
    runs = []
    for _ in range(2):
        with faulty("status=500%30", jobs=1) as simulator:
            runs.append([ask(simulator, JOBS).status for _ in range(60)])
    assert runs[0] == runs[1]
    assert 8 < runs[0].count(500) < 30


def test_faults_may_be_replaced_while_running() -> None:
    with faulty() as simulator:
        assert post(simulator, "/faults", ["status=500x1"]).json == {"faults": ["status=500x1"]}
        assert [ask(simulator, JOBS).status for _ in range(2)] == [500, 200]
        bad = post(simulator, "/faults", ["status=abc"])
        assert bad.status == 400
        assert "status=abc is not a status from 200 to 599" in bad.json["error"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("explode", "unknown kind 'explode'"),
        ("status", "status needs a value"),
        ("status=9", "status=9 is not a status"),
        ("reset=1", "reset takes no value"),
        ("status=429,body=poem", "body=poem is not one of"),
        ("status=429,colour=red", "has no option 'colour'"),
        ("cut@", "no path after @"),
        ("cut@files", "does not begin with /"),
        ("cut#x", "#x is not a list"),
        ("cut%200", "%200 is not above 0"),
        ("cutx0", "xTIMES begins at x1"),
        ("missing", "missing needs a value"),
    ],
)
def test_a_malformed_fault_is_refused_with_the_bad_part_and_the_grammar(
    spec: str, problem: str
) -> None:
    with pytest.raises(ValueError, match="KIND") as caught:
        parse_fault(spec)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    ["status=429,retry-after=1.5@/fine_tuning/jobs/*/events$#2,5x3", "timeout=3%12.5", "reset"],
)
def test_a_fault_prints_as_its_spec(spec: str) -> None:
    assert str(parse_fault(spec)) == spec


def test_connections_are_kept_and_latency_is_added() -> None:
    with Simulator(World(1, 5), latency=0.05) as simulator:
        connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=5)
        began = time.perf_counter()
        for _ in range(3):
            connection.request("GET", JOBS, headers=KEY)
            connection.getresponse().read()
        assert time.perf_counter() - began > 0.14
        connection.close()
    simulator.stop()
