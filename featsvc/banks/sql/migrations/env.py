"""Run by Alembic: migrate on the connection, and in the transaction, that the store holds."""

from alembic import context

from featsvc.banks.sql import schema

context.configure(
    connection=context.config.attributes["connection"], target_metadata=schema.metadata
)
context.run_migrations()
