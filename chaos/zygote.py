"""A process that has imported everything and forks `ftmirror` on request.

    python -m chaos.zygote EVENTS_FD

A line of JSON on stdin asks for one: `argv`, `env`, `cwd`, the files `out` and `err`, and `knobs`.
The answers, a line each: the child's pid; `ended` once it has; and, after a line `reap`, its exit
code as `subprocess` gives it. So no pid is given to another process while somebody may kill it.

The child is what `python -m etl.cli` would be, without the half second of importing. It tells on a
pipe what it is at: `(` and `)` around a writing transaction, `[` and `]` around a migration, and
`.` for each statement in one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

from etl import listing
from etl.api import paths
from etl.cli import main as ftmirror
from etl.db import bulk, migrate

#: Imported here, so that no child has to.
PRELOADED = (
    "alembic.autogenerate", "alembic.command", "alembic.script", "etl.children", "etl.cli.db",
    "etl.cli.group", "etl.cli.runs", "etl.importing", "etl.reports", "etl.sync", "etl.verify",
    "psycopg", "pymysql", "requests", "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite",
)  # fmt: skip

#: Signals that wait until a child is made.
_HELD = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Serve until stdin ends. In a child this returns, too: it ends as any Python process does."""
    events = int(sys.argv[1])
    for name in PRELOADED:
        __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        # What strikes a child while it is made would leave locks of Python's half made, which no
        # process has that is started by itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        pid = os.fork()
        if pid == 0:
            sys.exit(_become(asked, events))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        print(pid, file=answers, flush=True)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        print("ended", file=answers, flush=True)
        if not sys.stdin.readline():
            return
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)


def _become(asked: dict[str, Any], events: int) -> int:
    """The command, in this process."""
    for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    random.seed()
    turn(asked["knobs"])
    _tell(lambda word: os.write(events, word))
    sys.argv = ["ftmirror", *asked["argv"]]
    return ftmirror()


def turn(knobs: dict[str, int]) -> None:
    """Make small what is large, so that a small world takes many steps.

    `page`: items of a page; `pace`: records in a transaction; `far`: any server counts as far, so
    that a list is read by several at once.
    """
    for endpoint in paths.ENDPOINTS.values():
        if knobs.get("page") and endpoint.page_size is not None:
            object.__setattr__(endpoint, "page_size", knobs["page"])
    if knobs.get("pace"):
        for name, pace in bulk.PACE.items():
            bulk.PACE[name] = pace._replace(records=knobs["pace"])
    if knobs.get("far"):
        listing.NEAR, listing.LEAST_PAGES = 0.0, 1


def _tell(say: Callable[[bytes], object]) -> None:
    """Tell of writing transactions, of migrations and of the statements in them."""
    writing: set[int] = set()
    migrating = 0

    def is_ours() -> bool:
        return threading.current_thread() is threading.main_thread()

    def begun(connection: Connection) -> None:
        if is_ours() and connection.get_execution_options().get("writes"):
            writing.add(id(connection))
            say(b"(")

    def ended(connection: Connection) -> None:
        if is_ours() and id(connection) in writing:
            writing.discard(id(connection))
            say(b")")

    def asked(*_: Any) -> None:
        if is_ours() and (migrating or writing):
            say(b".")

    event.listen(Engine, "begin", begun)
    event.listen(Engine, "commit", ended)
    event.listen(Engine, "rollback", ended)
    event.listen(Engine, "before_cursor_execute", asked)

    plain = migrate.upgrade

    def upgrade(*args: Any, **named: Any) -> Any:
        nonlocal migrating
        migrating += 1
        say(b"[")
        try:
            return plain(*args, **named)
        finally:
            migrating -= 1
            say(b"]")

    migrate.upgrade = upgrade


if __name__ == "__main__":
    main()
