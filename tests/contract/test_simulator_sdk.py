"""Does the official client see the same world?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI

from etl.simulator import Simulator, World


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(World(seed=11, jobs=130), refused_keys=["sk-old"]) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[OpenAI]:
    with OpenAI(api_key="sk-test", base_url=simulator.url, max_retries=0) as opened:
        yield opened


def test_the_client_pages_through_the_jobs_of_the_world(
    simulator: Simulator, client: OpenAI
) -> None:
    seen = [job.id for job in client.fine_tuning.jobs.list(limit=25)]
    assert seen == list(simulator.world.job_ids())
    assert len(seen) == 130


def test_the_client_pages_through_events(simulator: Simulator, client: OpenAI) -> None:
    job = next(job for job in client.fine_tuning.jobs.list(limit=100) if job.result_files)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=7))
    assert events[0].message == "The job has successfully completed"
    assert events[-1].message.startswith("Validating") or events[-1].message.startswith("Created")
    assert len({event.id for event in events}) == len(events)
    whole = client.fine_tuning.jobs.list_events(job.id, limit=1000).data
    assert [event.id for event in whole] == [event.id for event in events]


def test_the_client_pages_through_checkpoints(simulator: Simulator, client: OpenAI) -> None:
    jobs = [job for job in client.fine_tuning.jobs.list(limit=100) if job.result_files]
    checkpoints = {
        job.id: list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)) for job in jobs[:20]
    }
    assert {len(found) for found in checkpoints.values()} >= {1, 2, 3}
    for job in jobs[:20]:
        found = checkpoints[job.id]
        assert found[0].fine_tuned_model_checkpoint == job.fine_tuned_model
        assert all(":ckpt-step-" in one.fine_tuned_model_checkpoint for one in found[1:])
        steps = [one.step_number for one in found]
        assert steps == sorted(steps, reverse=True)


def test_the_client_filters_by_metadata(client: OpenAI) -> None:
    found = list(client.fine_tuning.jobs.list(limit=10, metadata={"env": "prod"}))
    assert found
    assert {(job.metadata or {})["env"] for job in found} == {"prod"}


def test_the_client_sees_a_missing_job_as_404(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.fine_tuning.jobs.retrieve("ftjob-unknown")
    assert caught.value.code == "fine_tune_not_found"


def test_the_client_sees_a_refused_key_as_401(simulator: Simulator) -> None:
    with (
        OpenAI(api_key="sk-old", base_url=simulator.url, max_retries=0) as client,
        pytest.raises(AuthenticationError) as caught,
    ):
        client.fine_tuning.jobs.list()
    assert caught.value.code == "invalid_api_key"


def test_the_client_lists_files_and_reads_a_result(client: OpenAI) -> None:
    files = list(client.files.list(purpose="fine-tune-results", limit=20))
    assert len({file.id for file in files}) == len(files) > 20
    assert files[0].bytes == len(client.files.content(files[0].id).content)
