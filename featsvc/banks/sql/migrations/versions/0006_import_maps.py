"""A bank remembers the map of columns that was given with an import."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "banks",
        sa.Column("import_map", sa.String, nullable=False, server_default=sa.text("'{}'")),
    )
