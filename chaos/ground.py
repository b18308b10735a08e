"""What the rounds on one database stand on: served worlds, and mirrors left at a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import delete, insert, select, update

from chaos import worlds
from chaos.comparing import BEGINNING, Contents, Moment, contents, moment
from chaos.databases import Database, opened
from chaos.keys import ADMIN_KEY, AZURE_KEY, KEY
from chaos.processes import Bell, Command, Ended, Runner
from etl.batch import Refusal
from etl.db import migrate
from etl.db.tables import metadata
from etl.record import pack, unpack
from etl.resources import discover
from etl.simulator import Simulator
from etl.simulator.world import UnknownIdError

#: Jobs of the world that OpenAI serves, and of the one that Azure does.
JOBS = 14, 6
#: Moments of each world that are served, and after them the last one with answers that are bad.
MOMENTS = 4
LAST, BAD = MOMENTS - 1, MOMENTS
#: What makes some records of the last world bad, each time they are asked for.
BAD_RECORDS = "missing=created_at,record=all@/fine_tuning/jobs/*/checkpoints$"
#: Seconds that the fake API takes for an answer, so that there is a time to die in.
LATENCY = 0.002

SYNC, FULL, UPGRADE = ("sync", "--json"), ("sync", "--json", "--mode", "full"), ("db", "upgrade")


class Failed(Exception):
    """Something that has to work did not."""


@dataclass(frozen=True)
class Case:
    """What is disturbed, on what, and how it ends undisturbed."""

    name: str
    #: The mirror that it begins with, one of `Ground.base`.
    base: str
    argv: Sequence[str]
    #: The moments of the world that the disturbed runs meet in turn; the last one stays.
    moments: Sequence[int] = (2,)
    #: Undisturbed, once more after the disturbed command was run to its end.
    then: Sequence[Sequence[str]] = ()
    #: Exit codes of an undisturbed run.
    codes: Sequence[int] = (0,)
    weight: int = 1
    #: The mirror that the command makes out of the damaged one, if it does.
    whole: str | None = None

    @property
    def is_moving(self) -> bool:
        """Does the world go on between the disturbed runs?"""
        return len(self.moments) > 1


def cases() -> list[Case]:
    """All there are."""
    # What is final is listed once in a while only, so where the world goes on all of it is listed.
    found = [
        Case("first sync", "schema", SYNC, weight=3),
        Case("later sync", "followed", SYNC, weight=3),
        Case("full sync", "followed", FULL, weight=3),
        Case("sync, the world goes on", "followed", SYNC, (1, 2, 3), (FULL,), weight=2),
        Case("first sync, the world goes on", "schema", SYNC, (0, 1, 2, 3), (FULL,), weight=2),
        Case("sync of bad records", "followed", SYNC, (BAD,), (SYNC,), (0, 3)),
        Case("import", "followed", IMPORT),
        Case("first import", "schema", IMPORT),
        Case("upgrade from nothing", "nothing", UPGRADE, then=(SYNC,), weight=2),
        Case("first sync with upgrade", "nothing", SYNC, weight=2),
    ]
    found += [
        Case(f"upgrade from {older}", f"at {older}", UPGRADE, then=(SYNC,))
        for older in older_revisions()
    ]
    found.append(Case("sync with upgrade", f"at {older_revisions()[-1]}", SYNC))
    found += [
        Case("replay", "damaged", ("replay",), then=(SYNC,), weight=2, whole="followed"),
        Case("quarantine retry", "mended", ("quarantine", "retry"), (LAST,), (SYNC,), weight=2),
    ]
    return found


#: The place of the file is filled in with the directory of the ground.
IMPORT = ("import", "--source", "openai", "{directory}/import.jsonl")


def older_revisions() -> list[str]:
    """Every revision of the schema but this version's."""
    return [revision for revision, _ in migrate.history()][:-1]


@dataclass(frozen=True)
class Base:
    """A mirror that is only copied."""

    url: str
    #: Up to when a copy is the same as another.
    moment: Moment


@dataclass
class Ground:
    """All of it for one database."""

    database: Database
    runner: Runner
    directory: Path
    openai: Sequence[Simulator]
    azure: Sequence[Simulator]
    _bases: dict[str, Base] = field(default_factory=dict)
    _expected: dict[str, Contents] = field(default_factory=dict)
    _profiles: dict[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)

    def command(
        self, argv: Sequence[str], url: str, at: int, knobs: Mapping[str, int] | None = None
    ) -> Command:
        """A call at a moment of the world."""
        env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            "FTMIRROR_CONFIG": str(self.directory / f"moment-{at}.toml"),
            "FTMIRROR_DATABASE_URL": url,
            "OPENAI_API_KEY": KEY,
            "OPENAI_ADMIN_KEY": f"sk-admin-{ADMIN_KEY}",
            "AZURE_OPENAI_API_KEY": AZURE_KEY,
        }
        words = [word.format(directory=self.directory) for word in argv]
        return Command(words, env, knobs or {})

    def must(self, argv: Sequence[str], url: str, at: int, codes: Sequence[int] = (0,)) -> Ended:
        """Run undisturbed. Raises Failed for another exit code."""
        ended = self.runner.run(self.command(argv, url, at))
        check(ended, argv, codes)
        return ended

    def base(self, name: str) -> Base:
        """The mirror of this name, made when it is first asked for."""
        if name not in self._bases:
            url = self._made(name)
            since = BEGINNING
            if name != "nothing":
                with opened(url) as engine:
                    since = moment(engine)
            self._bases[name] = Base(url, since)
        return self._bases[name]

    def _made(self, name: str) -> str:
        database = self.database
        if name == "nothing":
            return database.empty()
        if name == "schema":
            url = database.empty()
            self.must(UPGRADE, url, 0)
        elif name == "followed":
            url = database.copy(self.base("schema").url)
            self.must(SYNC, url, 0)
            self.must(SYNC, url, 1)
        elif name == "damaged":
            url = database.copy(self.base("followed").url)
            _damage(url)
        elif name == "mended":
            url = database.copy(self.base("followed").url)
            self.must(SYNC, url, BAD, (0, 3))
            _mend(url)
        else:
            url = database.copy(self.base("followed").url)
            self.must(("db", "downgrade", name.removeprefix("at "), "--yes"), url, 1)
        return url

    def expected(self, case: Case) -> Contents:
        """What an undisturbed mirror holds that went through the same moments."""
        if case.name not in self._expected:
            base = self.base(case.whole or case.base)
            url = self.database.copy(base.url)
            for at in case.moments if case.whole is None else ():
                self.must(case.argv, url, at, case.codes)
            self.finish(case, url)
            with opened(url) as engine:
                self._expected[case.name] = contents(engine, base.moment)
            self.database.drop(url)
        return self._expected[case.name]

    def is_there(self, identifier: str, at: int) -> bool:
        """Does the API have a job or a file of this id at a moment?"""
        for simulator in (self.openai[at], self.azure[at]):
            look = simulator.world.job if identifier.startswith("ftjob-") else simulator.world.file
            with suppress(UnknownIdError):
                look(identifier)
                return True
        return False

    def finish(self, case: Case, url: str) -> None:
        """What comes behind the command."""
        for argv in case.then:
            self.must(argv, url, case.moments[-1], case.codes)

    def profile(self, case: Case, knobs: Mapping[str, int]) -> Mapping[str, int]:
        """How many events of each phase there are in the first run of a case."""
        key = (case.name, str(sorted(knobs.items())))
        if key not in self._profiles:
            url = self.database.copy(self.base(case.base).url)
            command = self.command(case.argv, url, case.moments[0], knobs)
            ended = self.runner.run(command)
            check(ended, case.argv, case.codes)
            self._profiles[key] = ended.events
            self.database.drop(url)
        return self._profiles[key]


def check(ended: Ended, argv: Sequence[str], codes: Sequence[int] = (0,)) -> None:
    """Raises Failed for a run that did not end well."""
    if ended.is_hanging or ended.code not in codes:
        how = "hung" if ended.is_hanging else f"exit code {ended.code}"
        raise Failed(f"undisturbed `{' '.join(argv)}`: {how}: {ended.err[-1500:].strip()}")


def _damage(url: str) -> None:
    """Rows that are not there, rows that say something else, rows of nothing."""
    tables = metadata.tables
    discover()
    with opened(url) as engine, engine.begin() as connection:
        connection.execute(delete(tables["job_hyperparameters"]))
        metrics = tables["training_metrics"]
        connection.execute(delete(metrics).where(metrics.c.step > 2))
        connection.execute(update(tables["jobs"]).values(status="damaged", seed=None))
        connection.execute(delete(tables["job_checkpoints"]))
        connection.execute(
            insert(tables["job_metadata"]).values(job_id="ftjob-nobody", name="a", value="b")
        )


def _mend(url: str) -> None:
    """Records in quarantine, as if an earlier version had not understood what this one does."""
    lines = metadata.tables["quarantine"]
    with opened(url) as engine, engine.begin() as connection:
        for line in connection.execute(select(lines)).all():
            text = unpack(line.payload, line.payload_encoding)
            payload, encoding = pack(text.replace(b"{", b'{"created_at":1700000000,', 1))
            digest = Refusal(unpack(payload, encoding), "").digest
            mended = {"payload": payload, "payload_encoding": encoding, "digest": digest}
            connection.execute(update(lines).where(lines.c.id == line.id).values(mended))


@contextmanager
def laid(
    database: Database,
    runner: Runner,
    bell: Bell,
    directory: Path,
    seed: int,
    jobs: tuple[int, int] = JOBS,
) -> Iterator[Ground]:
    """The ground of one database, its worlds served until the end of the block."""
    with ExitStack() as stack:
        openai, azure = (
            stack.enter_context(
                worlds.served(
                    seed, size, MOMENTS, provider=provider, latency=LATENCY, log=bell.ring
                )
            )
            for provider, size in zip(("openai", "azure"), jobs, strict=True)
        )
        for served in (openai, azure):
            bad = Simulator(served[-1].world, latency=LATENCY, log=bell.ring, faults=[BAD_RECORDS])
            served.append(stack.enter_context(bad))
        for at in range(MOMENTS + 1):
            text = _CONFIG.format(openai=openai[at].url, azure=azure[at].root)
            (directory / f"moment-{at}.toml").write_text(text)
        world = openai[2].world
        lines = [world.job(one) for one in world.job_ids()]
        (directory / "import.jsonl").write_text("\n".join(lines) + "\n")
        yield Ground(database, runner, directory, openai, azure)


_CONFIG = """\
[database]
auto_upgrade = true

[[sources]]
name = "openai"
base_url = "{openai}"

[[sources]]
name = "azure"
provider = "azure"
base_url = "{azure}/openai/v1"
"""
