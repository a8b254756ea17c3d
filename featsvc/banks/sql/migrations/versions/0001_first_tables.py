"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = sa.text("removed_revision IS NULL")
_REMOVED = sa.text("removed_revision IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "head",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("commit_time", sa.BigInteger, nullable=False),
        sa.Column("next_version", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO head (id, revision, commit_time, next_version) VALUES (1, 0, 0, 1)")
    op.create_table(
        "banks",
        sa.Column("key", _KEY, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        *_texts("display_name", "description"),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("safe", sa.Boolean, nullable=False),
        *_texts("thresholds", "query_variants"),
        sa.Column("engine", sa.String(16), nullable=False),
        *_numbers("settings_revision", "revision", "create_time", "update_time", "entry_count"),
        *_texts("signal_counts"),
    )
    _create_entries()
    op.create_table(
        "revisions",
        sa.Column("revision", _KEY, primary_key=True, autoincrement=False),
        *_numbers("commit_time"),
        sa.Column("bank_id", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        *_texts("actor", "reason"),
        sa.Column("request_id", sa.String(128), nullable=False),
        *_texts("file_name"),
        sa.Column("file_sha256", sa.String(64), nullable=False),
        *_numbers("added_entries", "withdrawn_entries", "changed_entries"),
    )


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("version", _KEY, primary_key=True, autoincrement=False),
        *_numbers("id"),
        sa.Column("bank_key", _KEY, sa.ForeignKey("banks.key"), nullable=False),
        *_texts("identity"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *_texts("external_id", "labels", "source"),
        sa.Column("opinion", sa.String(16), nullable=False),
        *_texts("note"),
        sa.Column("expire_time", sa.BigInteger),
        sa.Column("quarantined", sa.Boolean, nullable=False),
        *_numbers("create_time", "added_revision"),
        sa.Column("removed_revision", sa.BigInteger),
    )
    op.create_index(
        "entries_live",
        "entries",
        ["bank_key", "identity"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    op.create_index("entries_id", "entries", ["id"])
    op.create_index("entries_added", "entries", ["added_revision"])
    op.create_index(
        "entries_removed",
        "entries",
        ["removed_revision"],
        sqlite_where=_REMOVED,
        postgresql_where=_REMOVED,
    )
    op.create_table(
        "entry_signals",
        sa.Column("version", _KEY, sa.ForeignKey("entries.version"), primary_key=True),
        sa.Column("ordinal", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("algorithm", sa.String(32), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("variant", sa.String(32), nullable=False),
        sa.Column("quality", sa.SmallInteger),
        sqlite_with_rowid=False,
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
