"""Bank, source and external id identify an entry: two sources may use the same id.

On PostgreSQL identities are ordered by their bytes, as on SQLite, so that the sources of an id are
one range of the index.

A signal keeps the version of the algorithm that computed it. Until now all versions of hashes are
1; the version of a vector's model is part of its name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_LIVE = sa.text("removed_revision IS NULL")


def upgrade() -> None:
    _add_algorithm_versions()
    # Without the index: a new identity may equal one that is not rewritten yet.
    op.drop_index("entries_live", "entries")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("entries", "identity", type_=sa.String(collation="C"))
    _rewrite_identities()
    op.create_index(
        "entries_live",
        "entries",
        ["bank_key", "identity"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )


def _add_algorithm_versions() -> None:
    one = sa.text("1")
    op.add_column(
        "entry_signals",
        sa.Column("algorithm_version", sa.Integer, nullable=False, server_default=one),
    )
    models = sa.table("vector_models", sa.column("model", sa.String))
    columns = sa.column("algorithm", sa.String), sa.column("algorithm_version", sa.Integer)
    signals = sa.table("entry_signals", *columns)
    for model in op.get_bind().scalars(sa.select(models.c.model)).all():
        number = int(model.partition("@")[2])
        if number != 1:
            op.execute(
                sa.update(signals)
                .where(signals.c.algorithm == model)
                .values(algorithm_version=number)
            )


def _rewrite_identities() -> None:
    """Rewrite all versions: rollbacks and diffs also read those that are no longer live."""
    names = ("identity", "external_id", "source")
    entries = sa.table("entries", *(sa.column(name, sa.String) for name in names))
    escaped = sa.func.replace(entries.c.external_id, "\x1e", "\x1e0")
    escaped = sa.func.replace(escaped, "\x1f", "\x1e1")
    source = sa.case((entries.c.source != "", sa.literal("\x1f") + entries.c.source), else_="")
    identity = sa.literal("x") + escaped + source
    op.execute(
        sa.update(entries)
        .where(entries.c.external_id != "", entries.c.identity != identity)
        .values(identity=identity)
    )
