"""A tool: users of a database server who may do this and no more."""

from __future__ import annotations

import os

from sqlalchemy import Engine, create_engine, make_url

from etl.db.engine import open_engine

#: What a user may do who only asks, tables too.
READER = {
    "postgresql": ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",),
    "mariadb": ("GRANT SELECT ON {database}.* TO {user}",),
}
MAKE = {"postgresql": "CREATE ROLE {user} LOGIN", "mariadb": "CREATE USER {user}"}
#: What PostgreSQL gives everybody unless told otherwise.
TAKE = {
    "postgresql": (
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO PUBLIC",
    ),
    "mariadb": (),
}


def user_of(url: str, kind: str, name: str, rights: tuple[str, ...]) -> Engine:
    """An engine of a user who may do this and no more."""
    parsed = make_url(url)
    user = f"{name}_{os.getpid()}"
    owner = create_engine(parsed, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        for one in (MAKE[kind], *TAKE[kind], *rights):
            connection.exec_driver_sql(one.format(user=user, database=parsed.database))
    owner.dispose()
    made = parsed.set(username=user, password=None)
    return open_engine(made.render_as_string(hide_password=False))
