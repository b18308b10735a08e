"""Alembic's entry: runs the migrations on the connection that `etl.db.migrate` hands over.

Views are never touched here: `db upgrade` drops them before and makes them again after. On
MariaDB and MySQL each step looks first whether it is done, see `etl.db.steps`.
"""

from alembic import context

from etl.db import steps

config = context.config
options = config.attributes["options"]

if context.is_offline_mode():
    context.configure(
        dialect_name=config.attributes["dialect"],
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        **options,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    context.configure(connection=config.attributes["connection"], **options)
    if "fence" in config.attributes:
        steps.repeatable(
            context.get_context(), config.attributes["fence"], config.attributes.get("only")
        )
    with context.begin_transaction():
        context.run_migrations()
