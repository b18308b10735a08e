"""Are real objects served as they were written, and is nothing dropped in silence?"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from etl.simulator import World


def job(name: str, created_at: int, status: str = "succeeded", more: str = "") -> str:
    return (
        f'{{"object": "fine_tuning.job", "id":"ftjob-{name}", "created_at": {created_at},'
        f' "status":"{status}"{more}}}'
    )


def ids(world: World) -> list[str]:
    return [job_id for job_id, _ in world.jobs(None, 100).items]


def test_number_literals_and_white_space_are_served_as_written(tmp_path: Path) -> None:
    text = job("a", 1, more=', "x": 1.0, "y": 1e-05, "z": 12345678901234567890.10, "u":"\\u00e9"')
    (tmp_path / "jobs.jsonl").write_text(f"{text}\n\n{job('b', 2)}\n")
    world = World.from_files([tmp_path / "jobs.jsonl"])
    assert world.job("ftjob-a") == text
    assert world.jobs(None, 5).items == [("ftjob-b", job("b", 2)), ("ftjob-a", text)]


def test_arrays_lists_single_objects_and_gzip_are_read(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(f"[\n {job('a', 1)} , {job('b', 2)}]")
    listing = f'{{"object": "list", "data": [{job("c", 3)}], "has_more": false}}'
    (tmp_path / "list.json.gz").write_bytes(gzip.compress(listing.encode()))
    (tmp_path / "one.json").write_text(json.dumps(json.loads(job("d", 3)), indent=1))
    names = ["array.json", "list.json.gz", "one.json"]
    world = World.from_files([tmp_path / name for name in names])
    # c and d are of one second: the one given first stays first.
    assert ids(world) == ["ftjob-c", "ftjob-d", "ftjob-b", "ftjob-a"]
    assert world.job("ftjob-a") == job("a", 1)


def test_of_several_states_the_later_then_the_fuller_then_the_last_is_served() -> None:
    final, fuller = job("a", 1), job("a", 1, "running", ', "x": 1, "y": 2, "z": 3')
    assert World.from_objects([final, fuller]).job("ftjob-a") == final
    queued = job("a", 1, "queued", ', "x": 1, "y": 2, "z": 3, "w": 4')
    assert World.from_objects([fuller, queued]).job("ftjob-a") == fuller
    poor = job("b", 1, "running", ', "x": "auto"')
    rich = job("b", 1, "running", ', "x": {"y": 1}')
    assert World.from_objects([rich, poor]).job("ftjob-b") == rich
    last = job("c", 1, more=', "x": 2')
    assert World.from_objects([job("c", 1, more=', "x": 1'), last]).job("ftjob-c") == last


def test_events_and_checkpoints_belong_to_their_job(tmp_path: Path) -> None:
    event = '{"object":"fine_tuning.job.event","id":"ftevent-%d","created_at":%d,"message":"m"}'
    (tmp_path / "jobs.json").write_text(job("a", 1))
    (tmp_path / "events.jsonl").write_text("\n".join(event % (n, n) for n in (1, 3, 2)))
    checkpoint = (
        '{"object":"fine_tuning.job.checkpoint","id":"ftckpt_%d","created_at":5,'
        '"fine_tuning_job_id":"ftjob-a","step_number":%d,"metrics":{"step":80.0}}'
    )
    (tmp_path / "ckpt.json").write_text(f"[{checkpoint % (1, 80)},{checkpoint % (2, 90)}]")
    files: list[str | Path] = [
        tmp_path / "jobs.json",
        f"ftjob-a={tmp_path / 'events.jsonl'}",
        tmp_path / "ckpt.json",
    ]
    world = World.from_files(files)
    assert [text for _, text in world.events("ftjob-a", None, 9).items] == [
        event % (n, n) for n in (3, 2, 1)
    ]
    assert world.events("ftjob-a", "ftevent-2", 9).items == [("ftevent-1", event % (1, 1))]
    assert world.checkpoints("ftjob-a", None, 1) == ([("ftckpt_2", checkpoint % (2, 90))], True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            job("a", 1) + '\n{"object": "model", "id": "m"}',
            "line 2: unknown kind of object 'model'",
        ),
        ('{"id": "x", "created_at": 1}', "line 1: unknown kind of object None"),
        ("\n\n[1]", "line 3: int where an object is expected"),
        (job("a", 1) + "\n{broken", "line 2: not JSON"),
        ('{"object":"fine_tuning.job","created_at":1}', "`id` is None"),
        ('{"object":"fine_tuning.job","id":"x","created_at":"1"}', "`created_at` is '1'"),
        ('{"object":"fine_tuning.job.event","id":"e","created_at":1}', "give its file as JOBID"),
        (
            '{"object":"fine_tuning.job.checkpoint","id":"c","created_at":1,"fine_tuning_job_id":"z"}',
            "checkpoint of job 'z', which is not given",
        ),
    ],
)
def test_what_cannot_be_served_is_named_with_file_and_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"data\.jsonl, line") as caught:
        World.from_files([path])
    assert problem in str(caught.value)


def test_a_missing_file_and_events_of_an_unknown_job_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json"):
        World.from_files([tmp_path / "nowhere.json"])
    with pytest.raises(ValueError, match="'ftjob-z', which is not given"):
        World.from_objects([], {"ftjob-z": []})


def test_real_jobs_go_on_too_and_keep_their_literals() -> None:
    hyper = ', "model":"m", "hyperparameters":{"n_epochs":2}, "seed": 1.50'
    world = World.from_objects([job("a", 9, "running", hyper), job("b", 1)])
    step = world.advance(changed=2, new=1)
    assert step.changed == ["ftjob-a", "ftjob-b"]
    assert '"seed":1.50' in world.job("ftjob-a")
    ended = json.loads(world.job("ftjob-a"))
    assert ended["status"] == "succeeded"
    assert ended["trained_tokens"] % 2 == 0
    assert ended["finished_at"] <= step.now
    assert json.loads(world.job("ftjob-b"))["user_provided_suffix"] == "kept-r1"
    assert ids(world) == [step.new[0], "ftjob-a", "ftjob-b"]


def test_mappings_and_metadata_filters_work_on_given_objects() -> None:
    world = World.from_objects(
        [
            {"object": "fine_tuning.job", "id": "ftjob-a", "created_at": 1, "metadata": {"k": "v"}},
            {"object": "fine_tuning.job", "id": "ftjob-b", "created_at": 2, "metadata": None},
            {"object": "file", "id": "file-a", "created_at": 2, "purpose": "fine-tune"},
        ]
    )
    assert [one for one, _ in world.jobs(None, 9, {"k": "v"}).items] == ["ftjob-a"]
    assert [one for one, _ in world.jobs(None, 9, None).items] == ["ftjob-b"]
    assert json.loads(world.file("file-a"))["id"] == "file-a"


FILE = '{"object":"file","id":"file-a","created_at":2,"purpose":"fine-tune-results"}'


def test_the_content_of_a_file_is_served_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "objects.jsonl").write_text(job("a", 1) + "\n" + FILE)
    (tmp_path / "result.csv").write_bytes(b"step,train_loss\r\n1,0.5\r\n\xff")
    files: list[str | Path] = [
        tmp_path / "objects.jsonl",
        f"file-a={tmp_path / 'result.csv'}",
    ]
    world = World.from_files(files)
    assert world.file_content("file-a") == b"step,train_loss\r\n1,0.5\r\n\xff"
    assert world.file("file-a") == FILE
    assert world.expire(["file-a"]) == ["file-a"]
    for read in (world.file, world.file_content):
        with pytest.raises(LookupError, match="file-a"):
            read("file-a")
    assert world.files(None, 9, None, rising=False).items == []


def test_content_needs_a_file_that_is_given_or_that_a_job_names(tmp_path: Path) -> None:
    named = job("a", 1, more=', "training_file":"file-t", "result_files":["file-r"]')
    world = World.from_objects([named], contents={"file-r": b"r", "file-t": b"t"})
    assert (world.file_content("file-r"), world.file_content("file-t")) == (b"r", b"t")
    with pytest.raises(LookupError):
        world.file("file-r")
    with pytest.raises(ValueError, match="content of file 'file-z', which neither is given"):
        World.from_objects([named], contents={"file-z": b""})
    with pytest.raises(ValueError, match=r"nowhere\.csv"):
        World.from_files([f"file-r={tmp_path / 'nowhere.csv'}"])


def test_a_given_file_without_content_has_none() -> None:
    with pytest.raises(LookupError, match="file-a"):
        World.from_objects([FILE]).file_content("file-a")


def test_real_jobs_can_be_removed_restored_paused_and_named() -> None:
    world = World.from_objects([job("a", 5, "running"), job("b", 5), job("c", 1)])
    world.remove(["ftjob-a", "ftjob-c"])
    assert ids(world) == ["ftjob-b"]
    world.restore(["ftjob-c", "ftjob-a"])
    assert ids(world) == ["ftjob-a", "ftjob-b", "ftjob-c"]
    world.pause(["ftjob-a"])
    assert json.loads(world.job("ftjob-a"))["status"] == "paused"
    assert world.advance(ids=["ftjob-a"]).changed == ["ftjob-a"]
    assert json.loads(world.job("ftjob-a"))["status"] == "queued"
    with pytest.raises(ValueError, match="ftjob-b is succeeded, not running"):
        world.pause(["ftjob-b"])
    with pytest.raises(LookupError, match="ftjob-b"):
        world.restore(["ftjob-b"])
