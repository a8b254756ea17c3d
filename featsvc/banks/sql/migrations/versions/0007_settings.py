"""History of the settings of banks, and an index of the entries that expire.

A bank begins with its present settings, from the revision that set them on. What they were before
is not known.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_EXPIRES = sa.text("expire_time IS NOT NULL")
_SETTINGS = "display_name, description, mode, safe, thresholds, query_variants, engine"


def upgrade() -> None:
    op.create_table(
        "bank_settings",
        sa.Column("revision", _KEY, primary_key=True, autoincrement=False),
        sa.Column("bank_key", _KEY, sa.ForeignKey("banks.key"), nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("safe", sa.Boolean, nullable=False),
        sa.Column("thresholds", sa.String, nullable=False),
        sa.Column("query_variants", sa.String, nullable=False),
        sa.Column("engine", sa.String(16), nullable=False),
    )
    op.create_index("bank_settings_bank", "bank_settings", ["bank_key", "revision"])
    op.execute(
        f"INSERT INTO bank_settings (revision, bank_key, {_SETTINGS}) "
        f"SELECT settings_revision, key, {_SETTINGS} FROM banks"
    )
    op.create_index(
        "entries_expiring",
        "entries",
        ["bank_key", "expire_time"],
        sqlite_where=_EXPIRES,
        postgresql_where=_EXPIRES,
    )
