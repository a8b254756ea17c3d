"""Alembic runs this file: it migrates on the store's connection, in the store's transaction."""

from alembic import context

from featsvc.banks.sql import schema

context.configure(
    connection=context.config.attributes["connection"], target_metadata=schema.metadata
)
context.run_migrations()
