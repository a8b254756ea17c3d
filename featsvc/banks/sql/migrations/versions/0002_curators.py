"""Tables and indexes for curators: deleted banks, look-ups by signal, retries, match counts.

An index by (bank, id) replaces those by id and by added revision: a page of one bank no longer
reads the entries of other banks. `revisions.first_version` says which versions a revision added.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = sa.text("removed_revision IS NULL")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # SQLite drops a column's UNIQUE only with its table.
        named = {"uq": "uq_%(table_name)s_%(column_0_name)s"}
        with op.batch_alter_table("banks", naming_convention=named) as banks:
            banks.drop_constraint("uq_banks_id", type_="unique")
    else:
        op.drop_constraint("banks_id_key", "banks", type_="unique")
    op.add_column("banks", sa.Column("removed_revision", sa.BigInteger))
    op.create_index(
        "banks_live", "banks", ["id"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.drop_index("entries_id", "entries")
    op.drop_index("entries_added", "entries")
    op.create_index("entries_bank", "entries", ["bank_key", "id"])
    op.execute("CREATE INDEX entry_signals_value ON entry_signals (substr(value, 1, 8))")
    _add_first_version()
    op.create_index("revisions_bank", "revisions", ["bank_id", "revision"])
    op.create_table(
        "requests",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("answer", sa.String, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("requests_time", "requests", ["time"])
    op.create_table(
        "match_counts",
        sa.Column("bank_key", _KEY, sa.ForeignKey("banks.key"), primary_key=True),
        sa.Column("entry_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("mode", sa.String(16), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("matches", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("DROP TABLE IF EXISTS schema_version")


def _add_first_version() -> None:
    first = sa.Column("first_version", sa.BigInteger, nullable=False, server_default="0")
    with op.batch_alter_table("revisions") as revisions:
        revisions.add_column(first)
    op.execute(
        "UPDATE revisions SET first_version = coalesce("
        "(SELECT min(version) FROM entries WHERE added_revision >= revisions.revision), "
        "(SELECT next_version FROM head))"
    )
    with op.batch_alter_table("revisions") as revisions:
        revisions.alter_column("first_version", server_default=None)
