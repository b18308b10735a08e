"""The schema's versions: Alembic behind plain functions, imported only when one of them runs.

Every run asks whether the schema is current; that needs one SELECT and the names of the migration
files, not Alembic, which takes longer to import than many a run takes to finish.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select
from sqlalchemy.schema import CreateTable

from etl.db import comments, lease, readers, views
from etl.db.engine import database_errors, open_engine, shown, writing
from etl.db.tables import (
    STANDING_INDEX,
    WITH_STANDING_INDEX,
    lease_metadata,
    leases,
    metadata,
    records,
)
from etl.db.types import Json, LongText, Name, UtcDateTime
from etl.errors import SchemaOutOfDate, UsageError
from etl.resources import discover

#: A name of its own: `alembic_version` may be another project's in the same database.
VERSION_TABLE = "ftmirror_version"

#: Databases that commit each statement of a migration, whatever becomes of the rest.
COMMITTING = ("mariadb", "mysql")

_PACKAGED = Path(__file__).parent.parent / "_migrations"
_CHECKOUT = Path(__file__).parent.parent.parent / "migrations"
_VIEWS = re.compile(r'^VIEWS = "(\w+)"$', re.MULTILINE)


def directory() -> Path:
    """Where the migrations are: in the wheel, else beside the package in a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def head() -> str:
    """The newest revision this version brings: files are named `<revision>_<words>.py`."""
    return max(path.name.split("_")[0] for path in (directory() / "versions").glob("[0-9]*.py"))


def views_digest(revision: str) -> str | None:
    """The digest of the views that were made at this revision; None where there were none yet.

    It stands in the migration, so that a changed view is a new revision.
    """
    (path,) = (directory() / "versions").glob(f"{revision}_*.py")
    found = _VIEWS.search(path.read_text(encoding="utf-8"))
    return found and found[1]


def current(engine: Engine) -> str | None:
    """The revision the database is at; None for a database without our tables."""
    with database_errors(), engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        table = Table(VERSION_TABLE, MetaData(), autoload_with=connection)
        revision = connection.scalar(select(table.c.version_num))
        return None if revision is None else str(revision)


def strangers(engine: Engine) -> list[str]:
    """Tables of somebody else in a database that none of ours is in yet."""
    if current(engine) is not None:
        return []
    with database_errors():
        found = inspect(engine).get_table_names()
    return sorted({*found} - {*lease_metadata.tables, VERSION_TABLE})


def holds_records(engine: Engine) -> int:
    """How many records a downgrade would take the tables of."""
    if current(engine) is None:
        return 0
    with database_errors(), engine.connect() as connection:
        if not inspect(connection).has_table(records.name):
            return 0
        return connection.scalar(select(func.count()).select_from(records)) or 0


def require_current(engine: Engine) -> None:
    """Raise SchemaOutOfDate unless the database is at this version's schema."""
    found, wanted = current(engine), head()
    if found == wanted:
        return
    where = f"The database {shown(engine.url)}"
    if found is None:
        raise SchemaOutOfDate(f"{where} has no ftmirror tables yet. Run `ftmirror db upgrade`.")
    if found > wanted:
        raise SchemaOutOfDate(
            f"{where} is at schema {found}, newer than this version's {wanted}: "
            "a newer ftmirror has been here. Install that one."
        )
    raise SchemaOutOfDate(
        f"{where} is at schema {found}, this version needs {wanted}. Run `ftmirror db upgrade`."
    )


def left_out(engine: Engine) -> list[str]:
    """What a cut upgrade of the schema that the database is at left out, one line each.

    Views, and roles that may not read them yet. Asks nothing where an upgrade is one transaction.
    """
    if not _commits_each_statement(engine):
        return []
    with database_errors(), engine.connect() as connection:
        roles = readers.waiting(connection, head())
    return _odd_views(engine) + [f"the role {role} may not read all views yet" for role in roles]


def is_due(engine: Engine) -> bool:
    """Whether there is something to upgrade."""
    return current(engine) != head() or bool(left_out(engine))


def upgrade(engine: Engine, *, command: str = "db upgrade", wait: float = 0.0) -> bool:
    """Bring the schema to the newest revision; false where nothing was to do.

    The views are dropped before and made again after; so are they where some are missing, as after
    an upgrade that MariaDB, which keeps each step of it, did not see the end of. Comments that
    differ are written at any revision, and roles that were made readers may read new views, too.
    Raises LeaseHeld while another writer is at work, SchemaOutOfDate for a database that a newer
    version has migrated, StoreError.
    """
    lease.ensure(engine)
    with lease.hold(engine, command, wait=wait) as held:
        found = current(engine)
        if found is not None and found > head():
            require_current(engine)
        if found == head() and not _odd_views(engine):
            is_explained = _explain(engine, held.fence)
            return _grant_again(engine, held.fence) or is_explained
        _run(engine, found, "head", held.fence)
    return True


def downgrade(engine: Engine, revision: str, *, wait: float = 0.0) -> None:
    """Go back to an older revision, `base` for none. What only newer tables hold is lost.

    Raises UsageError for an unknown revision, LeaseHeld, StoreError.
    """
    _require_known(revision)
    lease.ensure(engine)
    with lease.hold(engine, "db downgrade", wait=wait) as held:
        found = current(engine) or "base"
        if found != "base" and found > head():
            require_current(engine)
        if revision != found and (found == "base" or (revision != "base" and revision > found)):
            raise UsageError(f"the database is at {found}, which is below {revision} already")
        _run(engine, found, revision, held.fence)


def history() -> list[tuple[str, str]]:
    """Every revision, oldest first, with its one-line description."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's docstring

    script = ScriptDirectory.from_config(_config())
    return [(one.revision, one.doc) for one in reversed(list(script.walk_revisions()))]


def differences(engine: Engine, *, with_comments: bool = True) -> list[str]:
    """How the database's tables and views differ from this version's, one line each.

    `with_comments`: also what they say otherwise of themselves, which nothing but people reads.
    """
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415

    discover()
    with database_errors(), engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": _compare_type,
                "include_object": partial(_is_ours, engine.dialect.name),
            },
        )
        found = compare_metadata(context, metadata)
        tables = [str(difference) for difference in found if not _is_comment(difference)]
        said = comments.differences(connection) if with_comments else []
        return tables + views.differences(connection) + said


def sql(url: str, down_to: str | None = None) -> str:
    """The whole schema as SQL for this database, or its way back; nothing is connected to.

    Raises UsageError for an unknown revision.
    """
    from alembic import command  # noqa: PLC0415

    engine = open_engine(url)
    config = _config()
    config.attributes["dialect"] = engine.dialect.name
    config.output_buffer = out = io.StringIO()
    if down_to is not None:
        _require_known(down_to)
        if down_to != head():
            out.writelines(f"{one};\n\n" for one in views.drop_statements(engine.dialect))
        command.downgrade(config, f"{head()}:{down_to}", sql=True)
        return out.getvalue()
    for table in lease_metadata.sorted_tables:
        out.write(f"{CreateTable(table).compile(dialect=engine.dialect)};\n\n")
    command.upgrade(config, "head", sql=True)
    for one in (*views.create_statements(engine.dialect), *comments.statements(engine.dialect)):
        out.write(f"\n{one};\n")
    return out.getvalue()


def _require_known(revision: str) -> None:
    known = [revision for revision, _ in history()]
    if revision != "base" and revision not in known:
        raise UsageError(f"revision {revision!r} is not known; known are: base, {', '.join(known)}")


def _config() -> Any:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(directory()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["options"] = {
        "version_table": VERSION_TABLE,
        "compare_type": _compare_type,
        "target_metadata": metadata,
    }
    return config


def _run(
    engine: Engine, found: str | None, target: str, fence: Callable[[Connection], None]
) -> None:
    """Move the schema from one revision to another: `head`, an older one or `base`."""
    from alembic import command  # noqa: PLC0415

    discover()
    config = _config()
    with database_errors(), writing(engine) as connection:
        fence(connection)
        if target == "head":
            readers.create_table(connection)
        readers.begin_anew(connection)
        # Before there were views of ours, one of the same name is somebody else's.
        if found not in (None, "base") and views_digest(found) is not None:
            views.drop(connection)
        config.attributes["connection"] = connection
        if _commits_each_statement(engine):
            config.attributes["fence"] = fence  # each step begins a transaction of its own
        if target == "head":
            command.upgrade(config, target)
        elif _commits_each_statement(engine):
            _go_down(config, connection, found, target)
        else:
            command.downgrade(config, target)
        if target in ("head", head()):
            fence(connection)  # what came before may have been committed
            views.create(connection)
            comments.bring(connection, fence)
            readers.grant_again(connection, fence, head())
        if target == "base":
            readers.drop_empty_table(connection)


def _grant_again(engine: Engine, fence: Callable[[Connection], None]) -> bool:
    """Let readers read what they could not yet; false where none lacks anything."""
    with database_errors(), writing(engine) as connection:
        fence(connection)
        return readers.grant_again(connection, fence, head())


def _explain(engine: Engine, fence: Callable[[Connection], None]) -> bool:
    """Write the comments that differ; false where none does."""
    with database_errors():
        with engine.connect() as connection:
            if not comments.differing(connection):
                return False
        with writing(engine) as connection:
            fence(connection)
            return bool(comments.bring(connection, fence))


def _is_comment(difference: Any) -> bool:
    """Alembic's word for a comment; of views it knows none, so all are compared by ours."""
    if isinstance(difference, list):  # what differs in one column
        return all(_is_comment(one) for one in difference)
    return difference[0] in ("add_table_comment", "remove_table_comment", "modify_comment")


def _commits_each_statement(engine: Engine) -> bool:
    return engine.dialect.name in COMMITTING


def _go_down(config: Any, connection: Connection, found: str | None, target: str) -> None:
    """Go down where each step is for good, so that one can go up or down again after any of them.

    The lower revision is written before the steps to it. So a cut, in whichever direction, always
    leaves a revision with some of the next one: going up makes what lacks of it, going down first
    undoes what is there of it.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    from etl.db import steps  # noqa: PLC0415

    script = ScriptDirectory.from_config(config)
    order = ["base", *(revision for revision, _ in history())]
    at = order.index(found or "base")

    def take_back(revision: str, *, is_certain: bool) -> None:
        migration: Any = script.get_revision(revision)
        made = steps.made_by(migration.module, connection.dialect)
        # It may have been somebody else's tables of these names that ended the upgrade.
        config.attributes["only"] = None if is_certain else made

        def run(_: Any, context: Any) -> list[Any]:
            steps.take_back(context, migration.module, made)
            return []  # no steps of Alembic's own: the version stays as it was written

        with EnvironmentContext(config, script, fn=run):
            script.run_env()
        config.attributes["only"] = None

    if order[at] != head():
        take_back(order[at + 1], is_certain=False)
    for number in range(at, order.index(target), -1):
        command.stamp(config, order[number - 1])
        take_back(order[number], is_certain=True)


def _odd_views(engine: Engine) -> list[str]:
    with database_errors(), engine.connect() as connection:
        return views.differences(connection)


def _is_ours(
    dialect: str, _: Any, name: str | None, kind: str, is_found: bool, compared: Any
) -> bool:
    """Leave alone what else lives in the database: tables that this version does not declare.

    Alembic knows nothing of an index that is declared for some databases only.
    """
    if kind == "index" and name == STANDING_INDEX and not is_found:
        return dialect in WITH_STANDING_INDEX
    if kind == "table" and compared is None:
        return name in metadata.tables
    return name != leases.name


def _compare_type(context: Any, _: Any, __: Any, found: Any, declared: Any) -> bool | None:
    """Compare what a column can hold; how a database spells it differs by dialect and version."""
    if isinstance(declared, (Name, LongText, Json, UtcDateTime)):
        wanted = declared.dialect_impl(context.dialect).compile(dialect=context.dialect)
        seen = found.compile(dialect=context.dialect)
        return _kind(str(wanted)) != _kind(str(seen))
    return None


def _kind(spelled: str) -> str:
    """A type without its collation. One without a length is TEXT, as SQLAlchemy 2.0 spells it."""
    kind = spelled.split(" ", maxsplit=1)[0]
    return "TEXT" if kind == "VARCHAR" else kind
