"""Try the Dockerfile without a container engine: its very lines, in bare Debian roots.

    python tools/bare_root.py [--room DIR] [--keep]

Needs root, debootstrap and a network; takes some minutes and 1 GB. Each stage gets a root of its
own, made by debootstrap from the mirror that apt is set up with, with Debian's Python in the place
of the base image's. COPY, RUN, ENV, USER and WORKDIR are done as they stand; then the image's
ENTRYPOINT and HEALTHCHECK are run as its user, against the simulator. What an engine adds (layers,
limits, namespaces, signals to process 1, the volume) is not tried. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import dockerfile

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
KEY = "sk-of-the-simulator"
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"


class Failed(Exception):
    """A step did not do what it should."""


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def mirror() -> str:
    """Where apt gets this Debian from."""
    wanted = ["Created-By: Packages", f"Codename: {SUITE}"]
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if not said:
        raise Failed(f"apt has no mirror of {SUITE}; see /etc/apt")
    return said[0]


def make_base(base: Path) -> None:
    """A bare root with Debian's Python, and what this machine knows of names and certificates."""
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, base, mirror()],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    # The base image calls it so.
    (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).exists():
            (base / name).unlink(missing_ok=True)
            shutil.copy(Path("/", name), base / name)


class Box:
    """A root, and what ENV, USER and WORKDIR have set in it so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        # How pip comes to its packages is this machine's business, as a proxy would be.
        self.outside = {name: value for name, value in os.environ.items() if name[:4] == "PIP_"}
        self.user = "0:0"
        self.folder = "/"

    def command(self, words: list[str]) -> list[str]:
        """These words as the box's user, in its folder."""
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(words)}"
        return [
            CHROOT,
            f"--userspec={self.user}",
            "--groups=",
            str(self.root),
            "sh",
            "-c",
            inside,
        ]

    def given(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment, and no other variable."""
        home = "/root" if self.user == "0:0" else "/data"
        return {"HOME": home, **self.environment, **(more or {})}

    def run(
        self, words: list[str], more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; what it says is kept."""
        return subprocess.run(
            self.command(words),
            env=self.given(more),
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )


def build(stage: dockerfile.Stage, box: Box, boxes: Mapping[str, Box], context: list[str]) -> None:
    """Do a stage's instructions in its root. Raises Failed at the first that fails."""
    for one in stage.instructions:
        if one.word == "RUN":
            say(f"  RUN {one.rest[:66]}{'…' if len(one.rest) > 66 else ''}")
            done = box.run(["sh", "-c", one.rest], box.outside)
            if done.returncode:
                raise Failed(f"{one.rest}\n{done.stdout}{done.stderr}")
        elif one.word == "COPY":
            copy(one.rest.split(), box, boxes, context)
        elif one.word == "WORKDIR":
            box.folder = one.rest
            (box.root / one.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif one.word == "USER":
            box.user = one.rest
        elif one.word == "ENV":
            box.environment |= dict(word.split("=", 1) for word in one.rest.split())
        elif one.word not in ("LABEL", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            raise Failed(f"{one.word} is not known here")


def copy(words: list[str], box: Box, boxes: Mapping[str, Box], context: list[str]) -> None:
    """COPY: from another stage's root, or what .dockerignore lets in of the checkout."""
    *sources, target = words
    to = Path(box.folder, target)
    into = box.root / str(to).lstrip("/")
    if sources[0].startswith("--from="):
        origin = boxes[sources[0].partition("=")[2]].root / sources[1].lstrip("/")
        shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True)
        return
    for source in sources:
        files = [name for name in context if name == source or name.startswith(f"{source}/")]
        if not files:
            raise Failed(f".dockerignore lets nothing of {source} in")
        for name in files:
            is_folder = name != source
            place = Path(name).relative_to(source) if is_folder else Path(name).name
            path = into / place if is_folder or target.endswith("/") else into
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, path)


def build_all(room: Path) -> tuple[dockerfile.Stage, Box]:
    """Every stage in a root of its own; the last one, and its box."""
    stages = dockerfile.read((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    context = dockerfile.context(ROOT, (ROOT / ".dockerignore").read_text(encoding="utf-8"))
    say(f"context: {len(context)} files")
    boxes: dict[str, Box] = {}
    for stage in stages:
        say(f"FROM {stage.base} AS {stage.name}: here a bare Debian {SUITE}")
        root = room / stage.name
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "-a", "--reflink=auto", room / "base", root], check=True)
        boxes[stage.name] = Box(root)
        build(stage, boxes[stage.name], boxes, context)
    return stages[-1], boxes[stages[-1].name]


class Trial:
    """What is tried with the image; each step says what it saw."""

    def __init__(self, stage: dockerfile.Stage, box: Box) -> None:
        self.stage = stage
        self.box = box
        self.entry = stage.last("ENTRYPOINT").words()

    def expect(self, what: str, words: list[str], code: int, **more: str) -> str:
        """Run words that should end with this code; what they print."""
        done = self.box.run(words, more)
        said = done.stdout + done.stderr
        if done.returncode != code:
            raise Failed(f"{what}: exit {done.returncode} instead of {code}\n{said}")
        last = said.strip().splitlines()[-1] if said.strip() else "(prints nothing)"
        say(f"  {what}: exit {code}; {last[:90]}")
        return said

    def run(self) -> None:
        """Everything, in order."""
        user = self.stage.last("USER").rest
        if user.startswith("0") or not user[0].isdigit():
            raise Failed(f"USER {user} is root, or no number")
        self.expect("who it is", ["id"], 0)
        self.expect("Python", ["python", "--version"], 0)
        self.expect("version", [*self.entry, "version"], 0)
        for name in ("gcc", "cc"):
            self.expect(f"no {name}", ["sh", "-c", f"! command -v {name}"], 0)
        self.expect(
            "cannot write where it is installed", ["sh", "-c", "! touch /opt/ftmirror/x"], 0
        )
        self.expect("extras", ["python", "-c", IMPORTS], 0)
        self.expect("demo", [*self.entry, "--progress", "none", "demo", "--jobs", "50"], 0)
        self.against_a_simulator()

    def against_a_simulator(self) -> None:
        """Sync and schedule; the health before, after, and when it is stale."""
        health = self.stage.healthcheck()
        port = free_port()
        served = [*self.entry, "simulate", "--port", str(port), "--jobs", "50"]
        with subprocess.Popen(
            self.box.command(served),
            env=self.box.given(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                until(lambda: is_open(port), "the simulator to answer")
                given = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
                self.expect("health before the first sync", health, 1, **given)
                self.expect("sync", [*self.entry, "sync"], 0, **given)
                self.expect("health after it", health, 0, **given)
                time.sleep(2)
                self.expect("health when it is older than 1 s", health, 1, **given, MAX_AGE="1s")
                self.expect("the mirror is its own", ["stat", "-c", "%a %u %n", MIRROR], 0)
                self.schedule(given)
                self.expect("health after that", health, 0, **given, MAX_AGE="1m")
            finally:
                server.send_signal(signal.SIGTERM)

    def schedule(self, given: Mapping[str, str]) -> None:
        """The image's own CMD, ended as an engine ends it."""
        words = [*self.entry, *self.stage.last("CMD").words()]
        with subprocess.Popen(
            self.box.command(words), env=self.box.given(given), stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                until(lambda: self.succeeded() == 2, "a second run to succeed")
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=60)[1]
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise Failed(f"{shlex.join(words)} ended with {process.returncode}\n{said}")
        say(f"  {shlex.join(words)}, then SIGTERM: exit 0; {said.strip().splitlines()[-1]}")

    def succeeded(self) -> int:
        """How many runs of the mirror were a success."""
        said = self.box.run([*self.entry, "runs", "--json"]).stdout
        return sum(run["status"] == "success" for run in json.loads(said))


IMPORTS = (
    "import altair, apprise, deltalake, prometheus_client, psycopg, pyarrow, pymysql, vl_convert; "
    "print('psycopg', psycopg.__version__, psycopg.pq.__impl__)"
)
MIRROR = "/data/ftmirror.db"


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Does somebody listen there?"""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait a minute for something. Raises Failed."""
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(f"waited a minute for {what}")
        time.sleep(0.3)


def main() -> int:
    """Make the roots and try the image; 1 where something fails, 2 where it cannot be tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--room", type=Path, help="where the roots are made (else a new folder)")
    parser.add_argument("--keep", action="store_true", help="leave them there; the next is quicker")
    given = parser.parse_args()
    if os.geteuid() or not shutil.which("debootstrap"):
        print(
            "error: this needs root, and debootstrap (apt-get install debootstrap)", file=sys.stderr
        )
        return 2
    room: Path = given.room or Path(tempfile.mkdtemp(prefix="ftroot"))
    room.mkdir(parents=True, exist_ok=True)
    room.chmod(0o755)  # the image's user goes through it
    begun = time.monotonic()
    try:
        if not (room / "base").exists():
            say(f"debootstrap {SUITE} with {PACKAGES}")
            make_base(room / "base")
        stage, box = build_all(room)
        say("tried as the image's user:")
        Trial(stage, box).run()
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        if not given.keep:
            shutil.rmtree(room, ignore_errors=True)
    say(f"all of it in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
