"""Changes have numbers of their own, so that a large one can be written before it is a revision.

Until now the number of a revision was that of its change. An entry without an external id is now
identified by its source and its whole set of signals, no longer by its first signal.
"""

from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

from featsvc.banks.sql.identity import signals_identity

revision = "0005"
down_revision = "0004"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_REMOVED = sa.text("removed_change IS NOT NULL")
_BATCH = 5_000


def upgrade() -> None:
    for index in ("entries_live", "entries_removed"):
        op.drop_index(index, "entries")
    for name in ("added", "removed"):
        op.execute(f"ALTER TABLE entries RENAME COLUMN {name}_revision TO {name}_change")
    for table in ("head", "revisions"):
        zero = sa.text("0")
        op.add_column(
            table, sa.Column("change", sa.BigInteger, nullable=False, server_default=zero)
        )
        op.execute(f"UPDATE {table} SET change = revision")
    op.create_index("revisions_change", "revisions", ["change"], unique=True)
    op.create_table(
        "pending_change",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("first_version", sa.BigInteger, nullable=False),
    )
    _rewrite_identities()
    op.create_index("entries_identity", "entries", ["bank_key", "identity"])
    _separate_equal_identities()
    op.create_index(
        "entries_removed",
        "entries",
        ["removed_change"],
        sqlite_where=_REMOVED,
        postgresql_where=_REMOVED,
    )
    if op.get_bind().dialect.name == "sqlite":
        _assume_large_tables()


def _assume_large_tables() -> None:
    """Let SQLite plan for large tables: by its own guess a bank has ten entries.

    Rows, then rows for each value of the first column of the index, and of its first two.
    """
    op.execute("ANALYZE sqlite_schema")
    op.execute("DELETE FROM sqlite_stat1")
    for table, index, rows in (
        ("entries", "entries_identity", "10000000 5000000 1"),
        ("entries", "entries_bank", "10000000 5000000 2"),
        ("entry_signals", "entry_signals", "20000000 2 1"),
        ("entry_signals", "entry_signals_value", "20000000 2"),
        ("revisions", "revisions_change", "100000 1"),
        ("revisions", "revisions_bank", "100000 1000 1"),
        ("banks", None, "100"),
        ("head", None, "1"),
    ):
        op.execute(
            sa.text(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:table, :index, :rows)"
            ).bindparams(table=table, index=index, rows=rows)
        )
    op.execute("ANALYZE sqlite_schema")


def _rewrite_identities() -> None:
    """Rewrite all versions: rollbacks and diffs also read those that are no longer live."""
    connection = op.get_bind()
    # All others have one signal and no source: their identity stays.
    rows = sa.text(
        "SELECT e.version, e.source, s.algorithm, s.value FROM ("
        "  SELECT version, source FROM entries AS e WHERE version > :last AND external_id = ''"
        "  AND (source <> '' OR EXISTS ("
        "   SELECT 1 FROM entry_signals AS t WHERE t.version = e.version AND t.ordinal = 1))"
        "  ORDER BY version LIMIT :batch"
        " ) AS e JOIN entry_signals AS s ON s.version = e.version ORDER BY e.version"
    )
    rewrite = sa.text("UPDATE entries SET identity = :identity WHERE version = :version")
    last = 0
    while batch := connection.execute(rows, {"last": last, "batch": _BATCH}).all():
        rewritten = []
        for version, signals in groupby(batch, key=itemgetter(0)):
            of_version = list(signals)
            pairs = [(row.algorithm, bytes(row.value)) for row in of_version]
            identity = signals_identity(pairs, of_version[0].source)
            rewritten.append({"version": version, "identity": identity})
        connection.execute(rewrite, rewritten)
        last = batch[-1].version


def _separate_equal_identities() -> None:
    """Keep both of two live entries with the same signals, whose first one differed until now.

    The older ones get an identity that no imported row has: a withdrawal by a signal finds them.
    """
    op.execute(
        sa.text(
            "UPDATE entries SET identity = identity || :mark || CAST(id AS VARCHAR)"
            " WHERE EXISTS (SELECT 1 FROM entries AS newer WHERE newer.bank_key = entries.bank_key"
            "  AND newer.identity = entries.identity AND newer.id > entries.id"
            "  AND newer.removed_change IS NULL)"
            " AND external_id = ''"
        ).bindparams(mark="\x1e")
    )
