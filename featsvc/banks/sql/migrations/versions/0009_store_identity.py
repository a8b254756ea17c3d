"""A store has an identity, and PostgreSQL orders text keys by their bytes, as SQLite does.

What banks count is counted again: from now on nothing is served that differs from it.
"""

import json
import uuid
from collections import defaultdict

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
_LIVE = (
    " CROSS JOIN head WHERE added_change <= head.change"
    " AND (removed_change IS NULL OR removed_change > head.change) AND NOT withheld"
)
_ENTRIES = f"SELECT bank_key, count(*) FROM entries{_LIVE} GROUP BY bank_key"
_SIGNALS = (
    "SELECT bank_key, algorithm, count(*) FROM entries JOIN entry_signals USING (version)"
    f"{_LIVE} GROUP BY bank_key, algorithm ORDER BY algorithm"
)


def upgrade() -> None:
    op.add_column(
        "head", sa.Column("store_id", sa.String(32), nullable=False, server_default=sa.text("''"))
    )
    op.execute(sa.text("UPDATE head SET store_id = :id").bindparams(id=uuid.uuid4().hex))
    if op.get_bind().dialect.name == "postgresql":
        for table, column, length in _KEYS:
            op.alter_column(table, column, type_=sa.String(length, collation="C"))
    _count_again()


def _count_again() -> None:
    connection = op.get_bind()
    entries = {row[0]: row[1] for row in connection.execute(sa.text(_ENTRIES))}
    signals: dict[int, dict[str, int]] = defaultdict(dict)
    for key, algorithm, count in connection.execute(sa.text(_SIGNALS)):
        signals[key][algorithm] = count
    live = "SELECT key, entry_count, signal_counts FROM banks WHERE removed_revision IS NULL"
    update = sa.text("UPDATE banks SET entry_count = :n, signal_counts = :signals WHERE key = :key")
    for key, entry_count, signal_counts in connection.execute(sa.text(live)).all():
        found = entries.get(key, 0), signals[key]
        if found != (entry_count, json.loads(signal_counts)):
            connection.execute(update, {"n": found[0], "signals": json.dumps(found[1]), "key": key})
