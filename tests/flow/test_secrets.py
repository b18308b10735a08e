"""No secret is written anywhere: real processes, as talkative as they can be, and all that fails.

Every process is given every secret, and meets servers that repeat whatever they are sent, in each
place where a server can speak. All that it wrote is searched for each secret, however it is spelt.
"""

from __future__ import annotations

import base64
import html
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy import create_engine, make_url, text

from etl.record import unpack
from tests import servers
from tests.http_server import Reply, Seen, serve
from tests.mirror import contents
from tests.parts import Api
from tests.tls import certificate, serve_tls, url_of

#: None of them looks like a key: only who knows them can hide them.
KEY = 'zq1-Api"Key<1>&%2B\\end='
ADMIN_KEY = "zq2-Admin/Key+Qx7-Qx8=="
FILE_KEY = "zq3-File'Key;|$(x)~"
COMMAND_KEY = "zq4-Command:Key@host,"
CUSTOM_HEADER = "zq5-Custom-Header-Value"
HEADER = "zq6-Header-Variable/+"
SIGNATURE = "zq7+Sas/Signature==&x"
PROXY_PASSWORD = "zq8:Proxy/Pass@word"
DATABASE_PASSWORD = 'zq9[Db"Pass/word:@?#%&'
#: In an address for alerts: its password, and a part of its path, as of a webhook.
ALERT_PASSWORD = "zqA-Alert/Pass+Word="
ALERT_TOKEN = "zqB-Webhook-Token-Value"
SECRETS = (
    KEY,
    ADMIN_KEY,
    FILE_KEY,
    COMMAND_KEY,
    CUSTOM_HEADER,
    HEADER,
    SIGNATURE,
    PROXY_PASSWORD,
    DATABASE_PASSWORD,
    ALERT_PASSWORD,
    ALERT_TOKEN,
)


def spellings(secret: str) -> set[bytes]:
    """The ways in which what was written may hold the secret, or a part of it that was cut off."""
    found = {
        secret[:6],
        secret[-6:],
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        html.escape(secret),
    }
    found |= {quote(secret), quote(secret, safe=""), quote_plus(secret), secret.encode().hex()}
    for before in range(3):
        packed = base64.b64encode(bytes(before) + secret.encode()).decode()
        # But for the ends, in which its neighbours have a part.
        piece = packed[-(-before * 8 // 6) : -4]
        found |= {piece, piece.replace("+", "-").replace("/", "_")}
    return {one.encode() for one in found}


def echo(seen: Seen, status: int = 401) -> Reply:
    """All that was sent, in each place where a server can speak."""
    said = " ".join([*seen.headers.values(), seen.raw_query, seen.path])
    words = " ".join([said, html.escape(said), quote(said), repr(said)])
    words += base64.b64encode(f"user:{said}".encode()).decode()
    key = seen.headers.get("authorization", "")
    header = "".join(char if " " <= char <= "~" else "?" for char in f"{key} {words}")
    body = {"error": {"message": f"{key} {words}", "code": key or words}}
    return Reply(body, status, {"x-request-id": header, "Location": f"http://h/{header}"})


class Ground:
    """The servers that the processes meet, and all that the processes write."""

    def __init__(self, folder: Path) -> None:
        #: What the processes are given, and where they write.
        self.given, self.work = folder / "given", folder / "work"
        self.given.mkdir()
        self.work.mkdir()
        self.api = Api()
        for number in (1, 2, 3):
            self.api.add(f"ftjob-{number}")
        self.seen: list[Seen] = []
        self.written: dict[str, bytes] = {}
        self.codes: dict[str, int] = {}
        self.watchers: dict[str, threading.Thread] = {}
        #: Lets go the clients that were kept waiting.
        self.is_over = threading.Event()
        self.environment: dict[str, str] = {}

    def answer(self, seen: Seen) -> Reply:
        """What the server says, by the first part of the path."""
        self.seen.append(seen)
        if seen.method == "CONNECT":
            return echo(seen, 407)
        who, _, rest = seen.path.removeprefix("/").partition("/")
        if who == "good":
            if rest.endswith("ftjob-2/events") or "/organization/" in rest:
                return echo(seen, 400)
            return self.api._answer(replace(seen, path=f"/{rest}"))
        if who == "moved":
            return echo(seen, 302)
        if who == "waits":
            self.is_over.wait(60)
        return echo(seen, int(who) if who.isdigit() else 401)

    def start(self, name: str, words: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start a process, and note what everybody can see of it while it runs."""
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.work,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        watcher = threading.Thread(target=self._watch, args=(name, process.pid), daemon=True)
        self.watchers[name] = watcher
        watcher.start()
        return process

    def end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Take what the process wrote, once it ends."""
        out, err = process.communicate(timeout=60)
        self.written[f"{name}, stdout"], self.written[f"{name}, stderr"] = out, err
        self.codes[name] = process.returncode
        self.watchers[name].join()

    def run(self, name: str, *words: str, **environment: str) -> None:
        """One call of `ftmirror`, from its begin to its end."""
        self.end(name, self.start(name, ["-m", "etl.cli", *words], **environment))

    def several(self, name: str, calls: Sequence[Sequence[object]]) -> None:
        """Several calls in one process, each with what it adds to the environment and its words."""
        self.end(name, self.start(name, ["-c", SEVERAL], CALLS=json.dumps(calls)))

    def _watch(self, name: str, pid: int) -> None:
        seen: set[bytes] = set()
        while True:
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                for one in (str(pid), *children):
                    seen.add(Path(f"/proc/{one}/cmdline").read_bytes())
            except OSError:
                if not Path(f"/proc/{pid}/cmdline").exists():
                    break
            time.sleep(0.02)
        self.written[f"{name}, /proc"] = b"\n".join(seen)

    def dump(self, name: str, url: str) -> None:
        """Take what stands in every table of a mirror, payloads unpacked."""
        engine = create_engine(url)
        found = contents(engine)
        for table in ("records", "record_versions", "quarantine"):
            for row in found[table]:
                row["payload"] = unpack(row["payload"], row["payload_encoding"])
        with engine.connect() as connection:
            leases = connection.execute(text("SELECT * FROM leases")).all()
        engine.dispose()
        self.written[f"{name}, tables"] = f"{found} {leases}".encode()

    def holding(self) -> list[tuple[str, str]]:
        """Which of all that was written holds which secret."""
        for file in self.work.rglob("*"):
            if file.is_file():
                self.written[f"file {file.name}"] = file.read_bytes()
        return [
            (name, secret)
            for name, said in self.written.items()
            for secret in SECRETS
            if any(one in said for one in spellings(secret))
        ]


@contextmanager
def ground_of(folder: Path) -> Iterator[Ground]:
    """Servers that answer, refuse, fail, redirect, wait, or have a certificate of their own."""
    ground = Ground(folder)
    with (
        serve(ground.answer) as server,
        serve_tls(lambda _: Reply(), certificate(ground.given)) as unsigned,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        root = f"http://127.0.0.1:{server.port}"
        bases = {
            "good": f"{root}/good/v1",
            "unknown": f"{root}/401/v1",
            "forbidden": f"{root}/403/v1",
            "broken": f"{root}/500/v1",
            "moved": f"{root}/moved/v1",
            "unsigned": url_of(unsigned),
            "plain": f"https://127.0.0.1:{server.port}/v1",
            "nowhere": "https://api.example.invalid/v1",
            "closed": f"http://127.0.0.1:{closed.getsockname()[1]}/v1",
            "behind": "https://behind.example/v1",
        }
        ways = [
            'api_key_file = "file.key"',
            f'api_key_command = "cat {ground.given}/command.key"',
            "",
        ]
        (ground.given / "file.key").write_text(FILE_KEY)
        (ground.given / "command.key").write_text(COMMAND_KEY)
        sources = {
            name: f'[[sources]]\nname = "{name}"\nbase_url = "{base}"\n'
            f"{ways[number % 3]}\n"
            f"max_attempts = {2 if name == 'broken' else 1}\n"
            'extra_headers_env = { X-Secret = "SECRET_HEADER" }\n'
            f"extra_query = {{ sig = {json.dumps(SIGNATURE)} }}\n"
            for number, (name, base) in enumerate(bases.items())
        }
        upgrading = "[database]\nauto_upgrade = true\n"
        (ground.given / "all.toml").write_text(upgrading + "\n".join(sources.values()))
        few = [sources[name] for name in ("good", "forbidden", "moved")]
        budget = "[budget]\nmonthly_usd = 0.01\n"
        (ground.given / "few.toml").write_text(budget + "\n".join(few))
        proxy = f"user:{quote(PROXY_PASSWORD, safe='')}@127.0.0.1:{server.port}"
        ground.environment = {
            "PATH": f"{ground.given}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(ground.work),
            "PYTHONFAULTHANDLER": "1",
            "OPENAI_API_KEY": KEY,
            "OPENAI_ADMIN_KEY": ADMIN_KEY,
            "OPENAI_CUSTOM_HEADERS": f"X-Gateway: {CUSTOM_HEADER}",
            "OPENAI_BASE_URL": f"{root}/401/v1",
            "SECRET_HEADER": HEADER,
            "HTTPS_PROXY": f"http://{proxy}",
            "NO_PROXY": "127.0.0.1,api.example.invalid",
            "FTMIRROR_ALERT_URLS": f"json://user:{quote(ALERT_PASSWORD, safe='')}"
            f"@127.0.0.1:{server.port}/500/{ALERT_TOKEN}",
            "WAITS": f"{root}/waits/v1",
            "CLOSED": str(closed.getsockname()[1]),
        }
        try:
            yield ground
        finally:
            ground.is_over.set()


def with_password(server: str, name: str) -> str:
    """An empty database there, whose owner has the password; its URL."""
    url = make_url(servers.create_database(server, name))
    user = f"{name}_owner"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    if url.get_backend_name() == "postgresql":
        said = [
            f"CREATE ROLE {user} LOGIN PASSWORD '{DATABASE_PASSWORD}'",
            f"ALTER DATABASE {name} OWNER TO {user}",
        ]
    else:
        said = [
            f"CREATE USER {user}@'%' IDENTIFIED BY '{DATABASE_PASSWORD}'",
            f"GRANT ALL ON {name}.* TO {user}@'%'",
        ]
    with admin.connect() as connection:
        for one in said:
            connection.exec_driver_sql(one, execution_options={"no_parameters": True})
    admin.dispose()
    made = url.set(username=user, password=DATABASE_PASSWORD)
    return made.render_as_string(hide_password=False)


#: A run that breaks where nobody thought of it, and says all it knows.
BUG = """
import logging, sys, threading, warnings
from etl import sync as syncing
from etl.cli import main

def broken(visit, resource):
    source = visit._source
    url = visit._engine.url.render_as_string(hide_password=False)
    words = [source.api_key.value, source.admin_key.value, *source.hidden]
    words += [value for _, value in source.extra_query]
    said = f"{url} {visit._engine.url.password} {words}"
    shown = [visit._order, visit._engine, source, visit._clients, visit._clients[0], vars(visit)]

    def in_thread():
        raise RuntimeError(f"in a thread: {said}")

    class Finaliser:
        def __del__(self):
            raise RuntimeError(f"in a finaliser: {said}")

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    Finaliser()
    logging.getLogger("etl.bug").debug("a line: %s %s", said, shown, extra={"words": words})
    logging.getLogger("somebody").info("a line of others: %s", said)
    warnings.warn(said)
    if "crash" in sys.argv:
        import faulthandler, resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler._sigsegv()
    try:
        raise ValueError("x" * 290 + source.api_key.value)
    except ValueError as error:
        raise RuntimeError(f"a bug: {said}") from error

syncing._Visit.mirror = broken
sys.exit(main(sys.argv[2:]))
"""


#: Several calls, one after the other: most of a short one is spent on imports.
SEVERAL = """
import json, os, sys
from etl.cli import main

codes = []
for environment, *words in json.loads(os.environ["CALLS"]):
    os.environ.update(environment)
    print("$ ftmirror", *words, file=sys.stderr, flush=True)
    codes.append(main(words))
print("codes", codes)
"""


def on_a_server(ground: Ground, kind: str, url: str) -> None:
    """A mirror on a database server: made, filled, and broken by a bug."""
    given = {"FTMIRROR_DATABASE_URL": url}
    config = ["--config", str(ground.given / "all.toml"), "-vvv"]
    if kind == "postgresql":
        ground.run(f"{kind}: upgrade", "db", "upgrade", "-vvv", **given)
    ground.run(f"{kind}: sync", "sync", *config, **given)
    bug = ["-c", BUG, "bug", "sync", *config, "--log-format", "json", "--json"]
    ground.end(f"{kind}: bug", ground.start(f"{kind}: bug", bug, **given))
    ground.dump(kind, url)


def on_a_file(ground: Ground) -> None:
    """A mirror in a file: every command that looks at it, in both forms of the log."""
    (ground.work / "bad.jsonl").write_text('{"id": "ftjob-9"}\n{"id": "ftjob-8", "a": [}\n')
    config = ["--config", str(ground.given / "all.toml"), "-vvv"]
    few = ["--config", str(ground.given / "few.toml"), "-vvv"]
    metrics = ["--metrics-file", "metrics.prom"]
    ground.run("sync", "sync", *config, *metrics, "--log-format", "json", "--json")
    ground.end("bug", ground.start("bug", ["-c", BUG, "bug", "sync", *config]))
    calls = [
        ["check", *few],
        ["verify", *few, "--children", "2", "--log-format", "json"],
        ["status", *few],
        ["status", *few, "--json"],
        ["runs", *few],
        ["runs", *few, "--json"],
        ["import", "bad.jsonl", "--source", "good", *few, "--json"],
        ["quarantine", "show", "1", *few],
        ["drift", *few, "--json"],
        ["status", *few, "--max-age", "1s", "--notify"],
        ["spend", *few, "--check", "--since", "2020-01-01", "--notify"],
        ["db", "check", *few],
        ["db", "upgrade", "--sql", *few],
    ]
    ground.several("looks", [[{}, *call] for call in calls])
    ground.dump("a file", f"sqlite:///{ground.work / 'ftmirror.db'}")


def on_its_own(ground: Ground) -> None:
    """Without a file of settings: refused, simulated, demonstrated, without a database, crashed."""
    other = {"FTMIRROR_DATABASE_URL": "sqlite:///other.db"}
    words = ["-m", "etl.cli", "simulate", "--port", "0", "--jobs", "20", "-vvv"]
    simulator = ground.start("simulate", words)
    assert simulator.stdout is not None
    url = simulator.stdout.readline().decode().removeprefix("serving at ").strip()
    place = f"127.0.0.1:{ground.environment['CLOSED']}"
    down = f"postgresql://u:{quote(DATABASE_PASSWORD, safe='')}@{place}/d"
    calls = [
        [other, "sync", "-vvv"],
        [{"OPENAI_BASE_URL": url}, "sync", "-vvv"],
        [{}, "demo", "--jobs", "3", "-vvv"],
        [{"FTMIRROR_DATABASE_URL": down}, "sync", "-vvv"],
        [{}, "check", "-vvv", "--log-format", "json"],
        [{}, "status", "-vvv", "--json"],
        [{}, "db", "upgrade", "-vvv"],
    ]
    ground.several("alone", calls)
    simulator.send_signal(signal.SIGTERM)
    ground.end("simulate", simulator)
    ground.end("crash", ground.start("crash", ["-c", BUG, "crash", "sync", "-vvv"], **other))


def ended_from_outside(ground: Ground) -> None:
    """While it waits for an answer."""
    given = {
        "FTMIRROR_DATABASE_URL": "sqlite:///ended.db",
        "OPENAI_BASE_URL": ground.environment["WAITS"],
    }
    process = ground.start("ended", ["-m", "etl.cli", "sync", "-vvv"], **given)
    while not any(seen.path.startswith("/waits/") for seen in list(ground.seen)):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    ground.end("ended", process)


def test_no_secret_is_written_anywhere(tmp_path: Path, database_servers: dict[str, str]) -> None:
    """Not to stdout, stderr, a log, a traceback, a crash, a process list, a file or a table."""
    urls: dict[str, str] = {}
    for kind in ("postgresql", "mariadb"):
        with suppress(pytest.skip.Exception):  # a machine without one still has the rest
            urls[kind] = with_password(database_servers[kind], f"secrets_{os.getpid()}")
    with ground_of(tmp_path) as ground:
        with ThreadPoolExecutor(5) as pool:
            works = [pool.submit(on_a_server, ground, kind, url) for kind, url in urls.items()]
            works += [pool.submit(on_a_file, ground), pool.submit(on_its_own, ground)]
            works.append(pool.submit(ended_from_outside, ground))
        for work in works:
            work.result()
        assert ground.holding() == []
    said = {name: text.decode(errors="replace") for name, text in ground.written.items()}
    _all_was_sent(ground)
    _all_went_wrong_as_meant(ground.codes, said, list(urls))


def _all_was_sent(ground: Ground) -> None:
    """Or it would be no wonder that nothing was found."""
    sent = " ".join(f"{seen.headers} {seen.query}" for seen in ground.seen)
    for secret in (KEY, ADMIN_KEY, FILE_KEY, COMMAND_KEY, CUSTOM_HEADER, HEADER, SIGNATURE):
        assert repr(secret)[1:-1] in sent
    for password in (PROXY_PASSWORD, ALERT_PASSWORD):
        assert base64.b64encode(f"user:{password}".encode()).decode() in sent
    assert f"/500/{ALERT_TOKEN}" in [seen.path for seen in ground.seen if seen.method == "POST"]


def _all_went_wrong_as_meant(
    codes: dict[str, int], said: dict[str, str], kinds: Sequence[str]
) -> None:
    """What was searched is what such processes write."""
    begins = ["", *(f"{kind}: " for kind in kinds)]
    assert codes == {
        **{f"{kind}: upgrade": 0 for kind in kinds if kind == "postgresql"},
        **{f"{begin}sync": 3 for begin in begins},
        **{f"{begin}bug": 1 for begin in begins},
        "looks": 0,
        "alone": 0,
        "simulate": 143,
        "ended": 143,
        "crash": -signal.SIGSEGV,
    }
    assert said["looks, stdout"].endswith("codes [1, 3, 0, 0, 0, 0, 3, 0, 0, 1, 1, 0, 0]\n")
    assert said["alone, stdout"].endswith("codes [1, 3, 0, 1, 1, 1, 1]\n")
    for begin in begins:
        for sentence in (
            "The server does not accept the key from command cat",
            "The key from OPENAI_API_KEY",
            "Try 1 of 2 failed",
            "The server redirects to h.",
            "The certificate of 127.0.0.1:",
            "No secure connection to 127.0.0.1:",
            "The host name api.example.invalid cannot be resolved (DNS)",
            "Connection refused by 127.0.0.1:",
            "The proxy refused the connection to behind.example",
        ):
            assert sentence in said[f"{begin}sync, stderr"], sentence
    for kind in ("a file", *kinds):
        assert "The server says: “Bearer ***" in said[f"{kind}, tables"]
        assert "ended by RuntimeError; the log of that run says more" in said[f"{kind}, tables"]
    for begin in begins:
        for sentence in ("in a thread: ", "in a finaliser: ", "a bug: ", "a line: ", "of others: "):
            assert sentence in said[f"{begin}bug, stderr"], sentence
    assert "Fatal Python error: Segmentation fault" in said["crash, stderr"]
    assert "ftmirror_last_run_status" in said["file metrics.prom"]
    if Path("/proc/self/cmdline").exists():
        assert "etl.cli\0sync" in said["sync, /proc"]
