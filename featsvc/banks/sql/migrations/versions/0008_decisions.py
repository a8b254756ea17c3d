"""What curators decide about single entries outlives what their lists say.

Quarantines become decisions, as far back as versions go: a rollback restores those of its time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IDENTITY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_REMOVED = sa.text("removed_change IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "entries", sa.Column("withheld", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("entries", sa.Column("listed", sa.String, nullable=True))
    op.create_table(
        "decisions",
        sa.Column(
            "bank_key", _KEY, sa.ForeignKey("banks.key"), primary_key=True, autoincrement=False
        ),
        sa.Column("identity", _IDENTITY, primary_key=True),
        sa.Column("added_change", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("removed_change", sa.BigInteger, nullable=True),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
        sa.Column("decided", sa.String, nullable=False),
    )
    op.create_index("decisions_added", "decisions", ["added_change"])
    op.create_index(
        "decisions_removed",
        "decisions",
        ["removed_change"],
        sqlite_where=_REMOVED,
        postgresql_where=_REMOVED,
    )
    # Versions of a change that was killed are not decided: the next large change removes them.
    op.execute(
        sa.text(
            "INSERT INTO decisions"
            " (bank_key, identity, added_change, removed_change, withdrawn, decided)"
            " SELECT bank_key, identity, added_change,"
            "  CASE WHEN removed_change <= head.change THEN removed_change END, false, :decided"
            " FROM entries CROSS JOIN head"
            " WHERE entries.quarantined AND added_change <= head.change"
        ).bindparams(decided='{"quarantined":true}')
    )
