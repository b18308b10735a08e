"""The examples in config/schedules: whoever they are for takes them, and their commands run."""

from __future__ import annotations

import copy
import os
import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import kubernetes_validate  # type: ignore[import-untyped] # it has no stubs
import pytest
import yaml

from etl.cli.group import ftmirror
from etl.schedule import Cron
from etl.settings.loading import VARIABLES
from etl.simulator import Simulator, World, parse_fault
from tests.http_server import Reply, Seen, serve
from tests.jobs import job

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "config" / "schedules"
CRONTAB = EXAMPLES / "crontab"
SERVICE = EXAMPLES / "ftmirror.service"
TIMER = EXAMPLES / "ftmirror.timer"
KUBERNETES = EXAMPLES / "kubernetes-cronjob.yaml"
WORKFLOW = EXAMPLES / "github-workflow.yml"

KEY = "sk-secret-of-this-test"


def tool(name: str, package: str) -> str:
    """The path of a program of the system."""
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (in CI a missing tool is a failure)")
        pytest.skip(reason)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with `ftmirror` in .venv/bin, as the examples have one."""
    program = tmp_path / ".venv" / "bin" / "ftmirror"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m etl.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def run(
    script: str, folder: Path, environment: Mapping[str, str] | None = None, shell: str = "sh -c"
) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing in its environment but this, and `ftmirror` on the PATH."""
    path = f"{folder / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        [*shell.split(), script],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def runs(folder: Path) -> list[str]:
    """The status of each run of the mirror in this folder."""
    database = sqlite3.connect(folder / "ftmirror.db")
    try:
        return [str(one) for (one,) in database.execute("SELECT status FROM sync_runs ORDER BY id")]
    finally:
        database.close()


# What each example calls


def cron_lines() -> list[tuple[str, str]]:
    """The crontab's jobs: when, and what."""
    lines = [one for one in CRONTAB.read_text().splitlines() if one and not one.startswith("#")]
    jobs = [one.split(None, 5) for one in lines if not re.match(r"\w+=", one)]
    return [(" ".join(one[:5]), one[5]) for one in jobs]


def units(path: Path) -> dict[str, list[str]]:
    """A unit's settings by name, from all its sections."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def manifests() -> dict[str, Any]:
    """What the example for Kubernetes makes, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(KUBERNETES.read_text())}


def cron_job() -> Any:
    return manifests()["CronJob"]


def pods() -> list[dict[str, Any]]:
    """The Job's and the CronJob's, in the order in which they run."""
    return [
        manifests()["Job"]["spec"]["template"]["spec"],
        cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ]


def containers() -> list[dict[str, Any]]:
    return [one for pod in pods() for one in pod["containers"]]


def workflow() -> Any:
    # YAML 1.1 takes the key `on` for a truth.
    return {
        "on" if name is True else name: value
        for name, value in yaml.safe_load(WORKFLOW.read_text()).items()
    }


def scripts() -> dict[str, str]:
    """The workflow's steps that run something, by name."""
    return {one["name"]: one["run"] for one in workflow()["jobs"]["sync"]["steps"] if "run" in one}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every call of `ftmirror`: where, and its words."""
    shells = [what for _, what in cron_lines()] + units(SERVICE)["ExecStart"]
    shells += [line for script in scripts().values() for line in script.splitlines()]
    for path in EXAMPLES.iterdir():  # and what is quoted in a comment
        shells += re.findall(r"`(ftmirror [^`]+)`", path.read_text())
    for line in shells:
        call = re.search(r"(?:^|[\s/])ftmirror (?!\d)([^|&;><]+)", line)
        if call is not None and "pip install" not in line:
            yield line, shlex.split(call[1])
    for one in containers():
        yield one["name"], one["args"]


def test_every_call_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str | None] = []
    monkeypatch.setattr(click.Command, "invoke", lambda this, _: called.append(this.name))
    for _, words in commands():
        ftmirror.main(words, prog_name="ftmirror", standalone_mode=False)
    assert {name: called.count(name) for name in called if name not in ("ftmirror", "db")} == {
        "sync": 4,
        "status": 3,
        "upgrade": 4,
        "grant-reader": 1,
        "runs": 1,
        "quarantine": 1,
        "list": 1,
    }
    with pytest.raises(click.NoSuchOption):
        ftmirror.main(["sync", "--time-limt", "5m"], standalone_mode=False)
    with pytest.raises(click.BadParameter):
        ftmirror.main(["status", "--max-age", "26"], standalone_mode=False)


def test_what_is_installed_is_an_extra_of_ours() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for path in (CRONTAB, SERVICE, WORKFLOW):
        (named,) = re.findall(
            r"pip install (?:--no-cache-dir )?'ftmirror\[(\w+)\]'", path.read_text()
        )
        assert named in extras


def test_no_example_begins_on_the_hour_with_everybody_else() -> None:
    said = [when for when, _ in cron_lines()]
    said += [cron_job()["spec"]["schedule"]]
    said += [one["cron"] for one in workflow()["on"]["schedule"]]
    assert said == ["17 * * * *", "30 8 * * *", "17 * * * *", "17 * * * *"]
    for one in said:
        assert Cron(one).after(0.0) > 0.0


# Crontab


def cron_line(folder: Path, number: int = 0) -> str:
    return cron_lines()[number][1].replace("/srv/ftmirror", str(folder))


def set_up(folder: Path, url: str) -> None:
    """The .env of the crontab's folder."""
    (folder / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={url}\n")


def test_cron_finds_the_program_on_the_path_that_the_crontab_gives() -> None:
    (path,) = re.findall(r"^PATH=(.*)$", CRONTAB.read_text(), re.MULTILINE)
    assert path.split(":") == ["/srv/ftmirror/.venv/bin", "/usr/local/bin", "/usr/bin", "/bin"]
    assert "python3 -m venv /srv/ftmirror/.venv\n" in CRONTAB.read_text()
    assert "%" not in "".join(what for _, what in cron_lines())  # cron takes it for a line's end


def test_the_line_of_the_crontab_syncs_and_prints_nothing(installed: Path) -> None:
    tool("flock", "util-linux")
    with Simulator(World(1, 10)) as simulator:
        set_up(installed, simulator.url)
        done = run(cron_line(installed), installed)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert runs(installed) == ["success"]
    assert "run 1: success in " in (installed / "ftmirror.log").read_text()
    fresh = run(cron_line(installed, 1), installed)
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (0, "", "")


def test_cron_mails_the_end_of_the_log_of_a_run_that_failed(installed: Path) -> None:
    tool("flock", "util-linux")
    with Simulator(World(1, 10), refused_keys=[KEY]) as simulator:
        set_up(installed, simulator.url)
        done = run(cron_line(installed), installed)
    assert "run 1: failed in " in done.stdout
    assert "OPENAI_API_KEY" in done.stdout
    assert KEY not in done.stdout
    stale = run(cron_line(installed, 1), installed)
    assert stale.returncode == 5
    assert "default, jobs: never in step" in stale.stderr


def test_a_second_run_on_the_same_machine_is_kept_out_by_flock(installed: Path) -> None:
    tool("flock", "util-linux")
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer(seen: Seen) -> Reply:
        is_asked.set()
        may_answer.wait(60)
        if seen.path == "/v1/fine_tuning/jobs":
            return Reply({"object": "list", "data": [job("ftjob-1")], "has_more": False})
        return Reply({"object": "list", "data": [], "has_more": False})

    with serve(answer) as server:
        set_up(installed, server.url)
        done: list[subprocess.CompletedProcess[str]] = []
        first = threading.Thread(target=lambda: done.append(run(cron_line(installed), installed)))
        first.start()
        assert is_asked.wait(30)
        second = run(cron_line(installed), installed)
        refused = run(cron_line(installed).partition(" >>")[0], installed)
        may_answer.set()
        first.join(60)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (refused.returncode, refused.stdout, refused.stderr) == (75, "", "")
    assert len(runs(installed)) == 1
    assert "run 1: " in (installed / "ftmirror.log").read_text()


# systemd


def test_systemd_knows_every_setting_of_the_units(installed: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    for unit in (SERVICE, TIMER):
        text = unit.read_text().replace("/opt/ftmirror/bin", str(installed / ".venv" / "bin"))
        (installed / unit.name).write_text(text)

    def said(command: str, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [analyze, command, *words], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    paths = [str(installed / unit.name) for unit in (SERVICE, TIMER)]
    assert said("verify", "--man=no", *paths) == (0, "")
    (when,) = units(TIMER)["OnCalendar"]
    code, answer = said("calendar", when)
    assert (code, "Next elapse: " in answer) == (0, True)
    wrong = installed / SERVICE.name
    wrong.write_text(wrong.read_text().replace("ProtectClock", "ProtectClok"))
    assert "Unknown key" in said("verify", "--man=no", str(wrong))[1]


def test_the_service_can_work_with_what_its_comments_say_to_set_up(installed: Path) -> None:
    settings = units(SERVICE)
    (credential,) = settings["LoadCredential"]
    name, _, _ = credential.partition(":")
    config = "\n".join(
        line.removeprefix("#     ")
        for line in SERVICE.read_text().splitlines()
        if line.startswith("#     ")
    )
    (source,) = tomllib.loads(config)["sources"]
    assert source["api_key_file"] == f"/run/credentials/{SERVICE.name}/{name}"
    given = dict(one.split("=", 1) for one in settings["Environment"])
    assert set(given) == {"FTMIRROR_CONFIG", "FTMIRROR_DATABASE_URL"} <= set(VARIABLES)
    (installed / name).write_text(f"{KEY}\n")
    (installed / name).chmod(stat.S_IRUSR)
    (installed / "ftmirror.toml").write_text(
        config.replace(f"/run/credentials/{SERVICE.name}", str(installed))
    )
    given["FTMIRROR_CONFIG"] = given["FTMIRROR_CONFIG"].replace("/etc/ftmirror", str(installed))
    (command,) = settings["ExecStart"]
    with Simulator(World(1, 10)) as simulator:
        command = command.replace("/opt/ftmirror/bin", str(installed / ".venv" / "bin"))
        done = run(command, installed, {"OPENAI_BASE_URL": simulator.url, **given})
    assert done.returncode == 0
    assert re.fullmatch(r"the database was brought to schema \d{4}\n", done.stderr)
    assert runs(installed) == ["success"]


# Kubernetes


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_kubernetes_takes_each_part(version: str) -> None:
    """Time zones are stable since 1.27."""
    assert list(manifests()) == ["ConfigMap", "Job", "CronJob"]
    for one in manifests().values():
        kubernetes_validate.validate(one, version, strict=True)
    wrong = copy.deepcopy(cron_job())
    wrong["spec"]["jobTemplate"]["spec"]["backofLimit"] = 0
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_no_part_names_a_namespace_and_all_have_one_label() -> None:
    for one in manifests().values():
        assert "namespace" not in one["metadata"]
        assert one["metadata"]["labels"] == {"app.kubernetes.io/name": "ftmirror"}


def test_each_pod_gets_what_it_needs_from_secrets_and_no_rights() -> None:
    assert cron_job()["spec"]["concurrencyPolicy"] == "Forbid"
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        rights = pod["securityContext"]
        assert (rights["runAsNonRoot"], rights["runAsUser"]) == (True, 10001)
    secrets = {}
    for one in containers():
        for each in one["env"]:
            if "valueFrom" in each:
                reference = each["valueFrom"]["secretKeyRef"]
                secrets[one["name"], each["name"]] = (reference["name"], reference["key"])
        rights = one["securityContext"]
        assert rights == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} == set(one["resources"]["requests"])
    assert secrets == {
        ("schema", "FTMIRROR_DATABASE_URL"): ("ftmirror-owner", "FTMIRROR_DATABASE_URL"),
        ("sync", "FTMIRROR_DATABASE_URL"): ("ftmirror", "FTMIRROR_DATABASE_URL"),
        ("sync", "OPENAI_API_KEY"): ("ftmirror", "OPENAI_API_KEY"),
    }


def test_the_containers_run_with_the_settings_that_are_mounted(installed: Path) -> None:
    (volume, _) = pods()[1]["volumes"]
    assert volume["configMap"]["name"] == manifests()["ConfigMap"]["metadata"]["name"]
    (mounted, _) = containers()[1]["volumeMounts"]
    given = {each["name"]: each.get("value") for each in containers()[1]["env"]}
    ((file, settings),) = manifests()["ConfigMap"]["data"].items()
    assert given["FTMIRROR_CONFIG"] == f"{mounted['mountPath']}/{file}"
    (installed / file).write_text(settings)
    with Simulator(World(1, 10)) as simulator:
        environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": simulator.url}
        environment["FTMIRROR_DATABASE_URL"] = "sqlite:///ftmirror.db"
        for one in containers():
            named = {"FTMIRROR_CONFIG": str(installed / file)} if one["name"] == "sync" else {}
            done = run(shlex.join(["ftmirror", *one["args"]]), installed, environment | named)
            assert done.returncode == 0, done.stderr
    assert runs(installed) == ["success"]


# GitHub


def test_github_takes_the_workflow(tmp_path: Path) -> None:
    def checked(path: Path) -> int:
        words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
        return subprocess.run(
            [sys.executable, *words, str(path)], capture_output=True, timeout=60, check=False
        ).returncode

    assert checked(WORKFLOW) == 0
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOW.read_text().replace("cancel-in-progress", "cancel-in-progres"))
    assert checked(wrong) == 1


def test_the_secrets_of_the_workflow_come_from_github_under_our_names() -> None:
    job_ = workflow()["jobs"]["sync"]
    given = {**job_["env"]}
    for step in job_["steps"]:
        given |= step.get("env", {})
    assert given == {
        name: f"${{{{ secrets.{name} }}}}" for name in ("OPENAI_API_KEY", "FTMIRROR_DATABASE_URL")
    }


@pytest.mark.parametrize(
    ("fault", "refused", "code", "status", "fresh"),
    [
        ("missing=created_at@/fine_tuning/jobs$", [], 0, "partial", 0),
        (None, [], 0, "success", 0),
        (None, [KEY], 1, "failed", 5),
    ],
)
def test_a_partial_run_is_a_warning_in_the_workflow_and_a_failed_one_a_failure(
    installed: Path, fault: str | None, refused: list[str], code: int, status: str, fresh: int
) -> None:
    bash = f"{tool('bash', 'bash')} -e -c"
    faults = [parse_fault(fault)] if fault else []
    with Simulator(World(1, 10), faults=faults, refused_keys=refused) as simulator:
        environment = {"OPENAI_BASE_URL": simulator.url}
        environment["FTMIRROR_DATABASE_URL"] = "sqlite:///ftmirror.db"
        with_key = {**environment, "OPENAI_API_KEY": KEY}
        done = run(scripts()["Sync"], installed, with_key, bash)
    assert done.returncode == code
    assert runs(installed) == [status]
    assert ("::warning " in done.stdout) == (status == "partial")
    asked = run(scripts()["Is the mirror fresh?"], installed, environment, bash)
    assert asked.returncode == fresh
