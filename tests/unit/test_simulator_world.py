"""Is the simulator's world believable, ordered, and always the same for one seed?"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from etl.simulator import World

FINAL = {"succeeded", "failed", "cancelled"}


def everything(world: World) -> list[dict[str, Any]]:
    return [json.loads(text) for _, text in world.jobs(None, len(world)).items]


def texts(world: World) -> list[str]:
    return [text for _, text in world.jobs(None, len(world)).items]


def test_one_seed_makes_one_world_and_another_seed_another() -> None:
    assert texts(World(1, 80)) == texts(World(1, 80))
    assert not set(World(1, 80).job_ids()) & set(World(2, 80).job_ids())


def test_a_seed_means_the_same_on_every_machine() -> None:
    world = World(1, 50)
    assert list(world.job_ids())[:2] == [
        "ftjob-OFHfH9SUwFUcDHR4BIKkF4Yq",
        "ftjob-gEfXnfKeEopygGZjlFdxNOFs",
    ]


def test_jobs_are_newest_first_and_lie_before_the_worlds_own_now() -> None:
    world = World(3, 500)
    times = [job["created_at"] for job in everything(world)]
    assert times == sorted(times, reverse=True)
    assert times[-1] >= 1692662400  # 2023-08-22
    assert times[0] < world.now == 1795132800  # 2026-11-20
    assert len(set(times)) < len(times)


def test_all_statuses_methods_and_graders_occur() -> None:
    jobs = everything(World(3, 900))
    assert {job["status"] for job in jobs} == {
        "validating_files", "queued", "running", "paused", "created", *FINAL
    }  # fmt: skip
    assert {(job.get("method") or {}).get("type") for job in jobs} == {
        None, "supervised", "dpo", "reinforcement"
    }  # fmt: skip
    graders = {
        job["method"]["reinforcement"]["grader"]["type"]
        for job in jobs
        if job.get("method", {}).get("type") == "reinforcement"
    }
    assert graders == {"string_check", "text_similarity", "python", "score_model", "multi"}
    assert any(job["model"].startswith("ft:") for job in jobs)


def test_a_model_trained_further_is_that_of_an_older_job() -> None:
    jobs = everything(World(3, 900))
    made = {job["fine_tuned_model"]: job["finished_at"] for job in jobs if job["fine_tuned_model"]}
    further = [job for job in jobs if job["model"].startswith("ft:")]
    assert further
    assert all(made[job["model"]] <= job["created_at"] for job in further)


def test_keys_are_absent_before_the_api_had_them() -> None:
    jobs = everything(World(4, 600))
    for key, since in {
        "error": 1694390400, "seed": 1712620800, "method": 1734480000,
        "metadata": 1741651200, "usage_metrics": 1746662400,
    }.items():  # fmt: skip
        assert all(key not in job for job in jobs if job["created_at"] < since)
        assert any(key in job for job in jobs if job["created_at"] >= since)


def test_only_succeeded_jobs_have_results_and_tokens_divide_by_epochs() -> None:
    for job in everything(World(4, 600)):
        done = job["status"] == "succeeded"
        assert bool(job["fine_tuned_model"]) == done
        assert (job["finished_at"] is not None) == done
        assert len(job["result_files"]) == int(done)
        if done and job.get("hyperparameters"):
            assert job["trained_tokens"] % job["hyperparameters"]["n_epochs"] == 0
            assert job["finished_at"] > job["created_at"]


def test_some_ids_differ_only_in_letter_case() -> None:
    world = World(4, 100)
    ids = list(world.job_ids())
    assert len(set(ids)) == 100
    assert len({job_id.lower() for job_id in ids}) == 97
    assert all(json.loads(world.job(job_id))["id"] == job_id for job_id in ids)


def test_azure_has_its_own_shapes() -> None:
    jobs = everything(World(4, 200, "azure"))
    assert all(len(job["id"]) == 38 for job in jobs)
    assert {job["status"] for job in jobs} >= {"pending", "created", "running", *FINAL}
    assert any("trained_tokens" not in job for job in jobs)
    assert any(job.get("result_files", []) is None for job in jobs)
    assert any(-1 in job["hyperparameters"].values() for job in jobs)
    model = next(job["fine_tuned_model"] for job in jobs if job.get("fine_tuned_model"))
    assert ".ft-" in model


def test_a_million_jobs_start_at_once_and_any_page_of_them_is_quick() -> None:
    began = time.perf_counter()
    world = World(5, 1_000_000)
    first = world.jobs(None, 1)
    after = first.items[0][0]
    for _ in range(20):
        page = world.jobs(after, 3)
        after = page.items[-1][0]
    oldest = json.loads(world.job(world._jobs.job_id(0)))
    assert oldest["created_at"] == 1692662402
    assert world.jobs(oldest["id"], 5) == ([], False)
    assert len(world.files(None, 10, None, rising=False).items) == 10
    assert time.perf_counter() - began < 2


def test_pages_of_any_size_give_the_same_list() -> None:
    world = World(6, 60)
    seen, after, more = [], None, True
    while more:
        page = world.jobs(after, 7)
        seen += [job_id for job_id, _ in page.items]
        after, more = seen[-1], page.has_more
    assert seen == list(world.job_ids())


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_files_are_in_order_in_both_directions(provider: str) -> None:
    world = World(6, 300, provider)
    world.advance(changed=40, new=3)
    falling = [file_id for file_id, _ in world.files(None, 5_000, None, rising=False).items]
    rising = [file_id for file_id, _ in world.files(None, 5_000, None, rising=True).items]
    assert falling == rising[::-1]
    times = [json.loads(world.file(file_id))["created_at"] for file_id in falling]
    assert times == sorted(times, reverse=True)
    place, paged = None, []
    while page := world.files(place, 50, None, rising=False).items:
        paged += [file_id for file_id, _ in page]
        place = paged[-1]
    assert paged == falling


def test_advancing_changes_exactly_as_many_jobs_as_asked_for() -> None:
    world = World(7, 60)
    for changed, new in [(5, 2), (0, 0), (20, 0), (60, 1), (3, 3), (66, 0), (66, 0)]:
        before = {job["id"]: json.dumps(job) for job in everything(world)}
        step = world.advance(changed, new)
        after = {job["id"]: json.dumps(job) for job in everything(world)}
        differ = {job_id for job_id, text in before.items() if after[job_id] != text}
        assert differ == set(step.changed)
        assert len(differ) == len(step.changed) == changed
        assert list(after)[:new] == step.new
        assert len(after) == len(before) + new
        assert all(json.loads(after[one])["created_at"] <= step.now for one in step.new)


def test_open_jobs_go_on_to_an_end_and_their_events_only_grow() -> None:
    world = World(8, 120)
    watched = [job["id"] for job in everything(world) if job["status"] not in FINAL]
    events = {one: [text for _, text in world.events(one, None, 5000).items] for one in watched}
    assert len(watched) > 6
    for _ in range(5):
        world.advance(changed=len(watched), new=0)
        for one in watched:
            now = [text for _, text in world.events(one, None, 5000).items]
            before = events[one]
            assert now[len(now) - len(before) :] == before
            times = [json.loads(text)["created_at"] for text in now]
            assert times == sorted(times, reverse=True)
            assert all(at <= world.now for at in times)
            events[one] = now
    ended = [json.loads(world.job(one)) for one in watched]
    assert {job["status"] for job in ended} <= FINAL
    assert any(job["trained_tokens"] for job in ended)


def test_a_world_refuses_to_change_more_jobs_than_it_has() -> None:
    world = World(8, 3)
    with pytest.raises(ValueError, match="cannot change 4 of 3 jobs"):
        world.advance(changed=4)
    assert world.advance(changed=3, new=0) == World(8, 3).advance(changed=3, new=0)


def test_removed_jobs_are_gone_from_lists_and_lookups() -> None:
    world = World(8, 20, "azure")
    gone = list(world.job_ids())[3]
    assert world.remove([gone]) == [gone]
    assert gone not in list(world.job_ids())
    assert len(everything(world)) == len(world) == 19
    with pytest.raises(LookupError):
        world.job(gone)


def test_restored_jobs_stand_where_they_stood_with_the_same_text() -> None:
    world = World(8, 20)
    before = texts(world)
    ids = list(world.job_ids())
    world.remove([ids[3], ids[15]])
    assert world.restore([ids[15], ids[3]]) == [ids[15], ids[3]]
    assert texts(world) == before
    assert len(world) == 20
    assert json.loads(world.job(ids[3]))["id"] == ids[3]


def test_only_jobs_that_were_removed_can_be_restored() -> None:
    world = World(8, 20)
    gone, there = list(world.job_ids())[:2]
    world.remove([gone])
    for other in (there, "ftjob-nothing"):
        with pytest.raises(LookupError, match=other):
            world.restore([gone, other])
    assert len(world) == 19


def test_named_jobs_are_exactly_those_that_change() -> None:
    world = World(7, 60)
    ids = list(world.job_ids())
    before = {job["id"]: json.dumps(job) for job in everything(world)}
    step = world.advance(ids=[ids[50], ids[0], ids[50]])
    after = {job["id"]: json.dumps(job) for job in everything(world)}
    assert (step.changed, step.new) == ([ids[50], ids[0]], [])
    assert {one for one, text in before.items() if after[one] != text} == {ids[0], ids[50]}
    assert list(after) == ids
    assert len(world.advance(new=1, ids=[ids[1]]).new) == 1
    with pytest.raises(LookupError, match="ftjob-nothing"):
        world.advance(ids=[ids[0], "ftjob-nothing"])
    with pytest.raises(ValueError, match="leave out `changed`"):
        world.advance(1, ids=[ids[0]])


def test_paused_jobs_go_on_by_way_of_the_queue_and_their_events_only_grow() -> None:
    world = World(8, 2_000)
    running = [job["id"] for job in everything(world) if job["status"] == "running"]
    assert len(running) > 5
    assert world.pause(running) == running
    events = {one: world.events(one, None, 5000).items for one in running}
    seen = []
    for _ in range(4):
        seen.append({json.loads(world.job(one))["status"] for one in running})
        world.advance(ids=running)
        world.advance(changed=0, new=1)
        for one in running:
            now = world.events(one, None, 5000).items
            assert now[len(now) - len(events[one]) :] == events[one]
            events[one] = now
    assert seen[:3] == [{"paused"}, {"queued"}, {"running"}]
    assert "succeeded" in seen[3] <= FINAL
    ended = json.loads(world.job(running[0]))["status"]
    with pytest.raises(ValueError, match=f"{running[0]} is {ended}, not running"):
        world.pause([running[0]])


def test_either_all_of_the_named_jobs_are_paused_or_none() -> None:
    world = World(8, 120)
    status = {job["id"]: job["status"] for job in everything(world)}
    running = next(one for one in status if status[one] == "running")
    queued = next(one for one in status if status[one] == "queued")
    with pytest.raises(ValueError, match=f"{queued} is queued, not running"):
        world.pause([running, queued])
    assert json.loads(world.job(running))["status"] == "running"


def test_a_job_is_paused_once_at_most() -> None:
    world = World(8, 120)
    one = next(job["id"] for job in everything(world) if job["status"] == "running")
    world.pause([one])
    world.advance(ids=[one])
    world.advance(ids=[one])
    with pytest.raises(ValueError, match="was paused before"):
        world.pause([one])


def test_expired_files_are_gone_from_lists_and_lookups_with_their_content() -> None:
    world = World(6, 30)
    ids = [file_id for file_id, _ in world.files(None, 500, None, rising=False).items]
    assert world.expire([ids[4]]) == [ids[4]]
    left = [file_id for file_id, _ in world.files(None, 500, None, rising=False).items]
    assert left == [*ids[:4], *ids[5:]]
    for read in (world.file, world.file_content):
        with pytest.raises(LookupError):
            read(ids[4])
    with pytest.raises(LookupError):
        world.expire([ids[5], ids[4]])
    assert json.loads(world.file(ids[5]))["id"] == ids[5]


def test_an_empty_world_has_empty_lists() -> None:
    world = World(8, 0)
    assert world.jobs(None, 10) == ([], False)
    assert world.files(None, 10, None, rising=False) == ([], False)
    assert world.advance(0, 2).new == list(world.job_ids())
