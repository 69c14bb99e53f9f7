"""Alembic's entry: runs the migrations on the connection that `vecdb.storage.schema.upgrade` opened."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# One transaction around all revisions, begun and committed by the caller: a killed upgrade leaves the
# old schema, never half of the new one.
context.configure(connection=connection, transactional_ddl=False, transaction_per_migration=False)
context.run_migrations()
