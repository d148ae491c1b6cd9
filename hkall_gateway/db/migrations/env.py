"""Alembic's entry point. It runs on the connection that `db/schema.py` passes in."""

from alembic import context

from hkall_gateway.db.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
