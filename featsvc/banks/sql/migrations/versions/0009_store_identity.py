"""A store has an identity, and PostgreSQL orders text keys by their bytes, as SQLite does."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_KEYS = (
    ("banks", "id", 64),
    ("revisions", "bank_id", 64),
    ("requests", "id", 128),
    ("vector_models", "model", 80),
    ("match_counts", "mode", 16),
)


def upgrade() -> None:
    op.add_column(
        "head", sa.Column("store_id", sa.String(32), nullable=False, server_default=sa.text("''"))
    )
    op.execute(sa.text("UPDATE head SET store_id = :id").bindparams(id=uuid.uuid4().hex))
    if op.get_bind().dialect.name == "postgresql":
        for table, column, length in _KEYS:
            op.alter_column(table, column, type_=sa.String(length, collation="C"))
