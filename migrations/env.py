"""Alembic's entry: runs the migrations on the connection that `etl.db.migrate` hands over.

Views are never touched here: `db upgrade` drops them before and makes them again after.
"""

from alembic import context

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
    with context.begin_transaction():
        context.run_migrations()
