"""The schema's versions: Alembic behind plain functions, imported only when one of them runs.

Every run asks whether the schema is current; that needs one SELECT and the names of the migration
files, not Alembic, which takes longer to import than many a run takes to finish.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select
from sqlalchemy.schema import CreateTable

from etl.db import lease
from etl.db.engine import database_errors, open_engine, shown, writing
from etl.db.tables import lease_metadata, leases, metadata, records
from etl.db.types import Json, LongText, Name, UtcDateTime
from etl.errors import SchemaOutOfDate, UsageError
from etl.resources import discover

#: A name of its own: `alembic_version` may be another project's in the same database.
VERSION_TABLE = "ftmirror_version"

_PACKAGED = Path(__file__).parent.parent / "_migrations"
_CHECKOUT = Path(__file__).parent.parent.parent / "migrations"


def directory() -> Path:
    """Where the migrations are: in the wheel, else beside the package in a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def head() -> str:
    """The newest revision this version brings: files are named `<revision>_<words>.py`."""
    return max(path.name.split("_")[0] for path in (directory() / "versions").glob("[0-9]*.py"))


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
    return sorted(name for name in found if name not in (leases.name, VERSION_TABLE))


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


def upgrade(engine: Engine, *, command: str = "db upgrade") -> bool:
    """Bring the schema to the newest revision; false where it was there already.

    Raises LeaseHeld while another writer is at work, SchemaOutOfDate for a database that a newer
    version has migrated, StoreError.
    """
    lease.ensure(engine)
    with lease.hold(engine, command) as held:
        found = current(engine)
        if found == head():
            return False
        if found is not None and found > head():
            require_current(engine)
        _run(engine, lambda alembic, config: alembic.upgrade(config, "head"), held.fence)
    return True


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to an older revision, `base` for none. What only newer tables hold is lost.

    Raises UsageError for an unknown revision, LeaseHeld, StoreError.
    """
    _require_known(revision)
    found = current(engine) or "base"
    if found != "base" and found > head():
        require_current(engine)
    if revision != found and (found == "base" or (revision != "base" and revision > found)):
        raise UsageError(f"the database is at {found}, which is below {revision} already")
    lease.ensure(engine)
    with lease.hold(engine, "db downgrade") as held:
        _run(engine, lambda alembic, config: alembic.downgrade(config, revision), held.fence)


def history() -> list[tuple[str, str]]:
    """Every revision, oldest first, with its one-line description."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see the module's docstring

    script = ScriptDirectory.from_config(_config())
    return [(one.revision, one.doc) for one in reversed(list(script.walk_revisions()))]


def differences(engine: Engine) -> list[str]:
    """How the database's tables differ from what this version declares, one line each."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415

    discover()
    with database_errors(), engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": _compare_type,
                "include_object": _is_ours,
            },
        )
        return [str(difference) for difference in compare_metadata(context, metadata)]


def sql(url: str, down_to: str | None = None) -> str:
    """The whole schema as SQL for this database, or its way back; nothing is connected to.

    Raises UsageError for an unknown revision.
    """
    from alembic import command  # noqa: PLC0415

    engine = open_engine(url)
    config = _config()
    config.attributes["dialect"] = engine.dialect.name
    config.output_buffer = io.StringIO()
    if down_to is not None:
        _require_known(down_to)
        command.downgrade(config, f"{head()}:{down_to}", sql=True)
        return str(config.output_buffer.getvalue())
    for table in lease_metadata.sorted_tables:
        config.output_buffer.write(f"{CreateTable(table).compile(dialect=engine.dialect)};\n\n")
    command.upgrade(config, "head", sql=True)
    return str(config.output_buffer.getvalue())


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
    engine: Engine, act: Callable[[Any, Any], None], fence: Callable[[Connection], None]
) -> None:
    from alembic import command  # noqa: PLC0415

    discover()
    config = _config()
    with database_errors(), writing(engine) as connection:
        fence(connection)
        config.attributes["connection"] = connection
        act(command, config)


def _is_ours(_: Any, name: str | None, kind: str, __: bool, compared: Any) -> bool:
    """Leave alone what else lives in the database: tables that this version does not declare."""
    if kind == "table" and compared is None:
        return name in metadata.tables
    return name != leases.name


def _compare_type(context: Any, _: Any, __: Any, found: Any, declared: Any) -> bool | None:
    """Compare what a column can hold; how a database spells it differs by dialect and version."""
    if isinstance(declared, (Name, LongText, Json, UtcDateTime)):
        wanted = declared.dialect_impl(context.dialect).compile(dialect=context.dialect)
        seen = found.compile(dialect=context.dialect)
        return str(wanted).split(" ")[0] != str(seen).split(" ")[0]
    return None
