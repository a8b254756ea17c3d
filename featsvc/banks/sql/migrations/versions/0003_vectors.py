"""Vectors: names of models are longer than those of hashes; a model has vectors of one length."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("entry_signals", "algorithm", type_=sa.String(80))
    op.create_table(
        "vector_models",
        sa.Column("model", sa.String(80), primary_key=True),
        sa.Column("dimensions", sa.Integer, nullable=False),
    )
