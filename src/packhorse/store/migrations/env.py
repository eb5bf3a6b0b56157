"""Alembic's environment: migrates over the connection that ``packhorse.store.migrate`` hands in."""

from __future__ import annotations

from alembic import context

from packhorse.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
