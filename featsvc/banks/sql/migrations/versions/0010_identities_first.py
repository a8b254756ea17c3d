"""The index of identities begins with the identity, and no other index serves its look-ups."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_index("entries_identity", "entries")
    op.execute("CREATE INDEX entries_identity ON entries (identity, (bank_key + 0))")
    if op.get_bind().dialect.name == "sqlite":
        # Its row went with the index: see 0005.
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat)"
            " VALUES ('entries', 'entries_identity', '10000000 2 1')"
        )
        op.execute("ANALYZE sqlite_schema")
