"""What servers, files and other hands wrote steers no terminal, and fakes no line of ours."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, update

from etl.db.tables import quarantine, sync_resource_runs, sync_runs
from tests.calling import Answer, Call, caller
from tests.hostile import HOSTILE, STEERING, UNSTORABLE
from tests.http_server import Reply, Seen, serve
from tests.jobs import job
from tests.parts import Api

#: All of it in one text.
STEERS = "".join(text for name, text in HOSTILE.items() if name not in {"long", *UNSTORABLE})
#: What would look like lines of ours.
FAKE = f"x\nerror: all is lost\r\nok      database: fine {STEERS}"
#: Commands that show what is in the mirror.
LOOKS = (
    ["drift"],
    ["quarantine", "list"],
    ["quarantine", "show", "1"],
    ["quarantine", "retry"],
    ["replay"],
)


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror` in an empty directory; whatever it says, it steers and fakes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-test")
    monkeypatch.setenv("COLUMNS", "20000")

    call = caller(capsys)

    def run(*arguments: str) -> Answer:
        answer = call(*arguments)
        for said in (answer.out, answer.err):
            assert STEERING.findall(said) == []
            assert not any(one.startswith("error: all is lost") for one in said.split("\n"))
            assert not any(one.startswith("ok      database: fine") for one in said.split("\n"))
        return answer

    return run


def answers(call: Call, *arguments: str) -> str:
    """Call it as a person, as a machine, and with logs for a machine; the text, all of it."""
    found = call(*arguments)
    as_json = call(*arguments, "--json")
    assert json.loads(as_json.out) is not None
    logged = call(*arguments, "-vv", "--log-format", "json")
    assert all("message" in json.loads(line) for line in logged.err.splitlines())
    return found.out + found.err


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API whose jobs have hostile ids, fields, values and errors."""
    made = Api()
    for number, (name, text) in enumerate(HOSTILE.items()):
        if name not in UNSTORABLE and len(text) < 60:
            made.jobs[text] = job(text, status=f"{STEERS}{number}", **{f"{STEERS}{number}": text})
    # One that cannot be read, and says so with its id in the reason.
    made.jobs["bad"] = job(f"bad {FAKE}"[:60], created_at=FAKE)
    with made.served() as source:
        monkeypatch.setenv("OPENAI_BASE_URL", source.base_url)
        yield made


def test_what_a_server_sends_steers_nothing(call: Call, api: Api) -> None:
    """Ids, new fields, unknown values and refused records, in the log of a run and in a proof."""
    said = answers(call, "sync", "--resource", "jobs", "--mode", "full")
    assert "quarantined: jobs bad x" in said
    assert "\\x1b[31mred" in said
    api.jobs = {
        f"{number} {one}"[:60]: job(f"{number} {one}"[:60]) for number, one in enumerate(api.jobs)
    }
    proof = answers(call, "verify")
    assert "only here" in proof
    assert "\\x1b[2J" in proof
    answers(call, "status")
    for words in LOOKS[:3]:
        answers(call, *words)


def refusing(_: Seen) -> Reply:
    """A server whose words are all hostile."""
    words = FAKE.encode("utf-8", "replace").decode("latin-1")
    headers = {"x-request-id": "".join(char if char >= " " else "?" for char in words)[:500]}
    body = {"error": {"message": FAKE, "code": FAKE, "type": FAKE}}
    return Reply(body, status=403, headers=headers)


def test_what_a_server_says_steers_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors, as they are told, logged, and kept in the log of runs."""
    with serve(refusing) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for command in ("check", "sync", "verify", "status", "runs"):
            assert "error: all is lost" in answers(call, command), command


def test_what_stands_in_the_database_steers_nothing(call: Call, api: Api, tmp_path: Path) -> None:
    """Whoever wrote it there."""
    call("sync", "--resource", "jobs")
    engine = create_engine(f"sqlite:///{tmp_path / 'ftmirror.db'}")
    with engine.begin() as connection:
        connection.execute(update(sync_runs).values(error=FAKE, mode=STEERS[:40]))
        connection.execute(update(sync_resource_runs).values(error=FAKE, source=STEERS[:60]))
        connection.execute(update(quarantine).values(reason=FAKE, source=STEERS[:60]))
    engine.dispose()
    for command in ("runs", "status"):
        assert "all is lost" in answers(call, command), command
    for words in LOOKS:
        answers(call, *words)


def test_what_somebody_calls_a_file_or_an_option_steers_nothing(call: Call, tmp_path: Path) -> None:
    name = "a\x1b[2J\u202eb.jsonl"
    assert call("import", name).code == 2
    (tmp_path / name).write_text('{"id": "ftjob-1", "created_at": "\\u001b[2J"}\n{}\n')
    assert "quarantined: jobs" in call("import", name).err
    for words in (["sync", "--source", name], ["sync", "--resource", name], [name], ["runs", name]):
        assert call(*words).code == 2
    assert call("check", "--config", name).code == 2
    assert call("status", "--database-url", f"sqlite:///{name}").code == 2


def test_a_progress_bar_between_hostile_lines(api: Api, tmp_path: Path) -> None:
    """On a terminal: what is red and turned there is ours, or it is not."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "sk-of-this-test",
        "TERM": "xterm-256color",
        "HOME": str(tmp_path),
    }
    words = [sys.executable, "-m", "etl.cli", "sync", "--resource", "jobs", "--progress", "bar"]
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # how a terminal says that nobody writes any more
            break
        said += piece
    assert process.wait(60) == 3
    os.close(ours)
    text = said.decode()
    assert "\x1b[" in text  # a bar
    assert "\\x1b[31mred" in text
    for steering in ("\x1b[31mred", "\x1b]0;title", "\x9b2J", "\u202e", "\u2028", "\b\b"):
        assert steering not in text
