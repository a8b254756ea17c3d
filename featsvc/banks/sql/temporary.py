"""Temporary tables of a writing connection: rows of an import, and what a change is about to do.

`import_rows` has one row for each signal of the imported file. `row` is the entry's number in the
file times ROW_ORDINALS plus the signal's ordinal; an entry's fields are read from its first row
only. Fewer values in a row make imports faster, so values that most rows of a list share are in
`import_details`. The `old_` columns are filled from the live version of the same identity, if
there is one. `import_withdrawals` has one row for each signal, or the id, of a withdrawn row.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    false,
    literal_column,
    type_coerce,
)

from featsvc.banks.sql.schema import AlgorithmName, IdentityText, Key

ROW_ORDINALS = 256
_temporary = MetaData()
import_rows = Table(
    "import_rows",
    _temporary,
    Column("row", Key, primary_key=True, autoincrement=False),
    Column("identity", IdentityText, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("external_id", String, nullable=False),
    Column("details", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("old_version", BigInteger, nullable=True),
    Column("old_id", BigInteger, nullable=True),
    # Whether a curator decided that the entry is withdrawn.
    Column("decided_withdrawn", Boolean, nullable=True),
    Column("old_create_time", BigInteger, nullable=True),
    Column("unchanged", Boolean, nullable=False, server_default=false()),
    prefixes=["TEMPORARY"],
)
import_details = Table(
    "import_details",
    _temporary,
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("labels", String, nullable=False),
    Column("source", String, nullable=False),
    Column("opinion", String(16), nullable=False),
    Column("note", String, nullable=False),
    Column("expire_time", BigInteger, nullable=True),
    Column("algorithm", AlgorithmName, nullable=False),
    Column("variant", String(32), nullable=False),
    Column("quality", SmallInteger, nullable=True),
    Column("algorithm_version", Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
import_withdrawals = Table(
    "import_withdrawals",
    _temporary,
    Column("row", Key, primary_key=True, autoincrement=False),
    Column("line", BigInteger, nullable=False),
    # Of the external id; "" for a row that names signals only.
    Column("identity", IdentityText, nullable=False),
    Column("external_id", String, nullable=False),
    Column("source", String, nullable=False),
    # "" for a row that names an external id only.
    Column("algorithm", AlgorithmName, nullable=False),
    Column("algorithm_version", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
    # Whether an earlier row of the file is of such an entry.
    Column("cancels", Boolean, nullable=False, server_default=false()),
    prefixes=["TEMPORARY"],
)
# Entries of earlier rows that a withdrawn row of the file names, and the last such row.
cancelled_identities = Table(
    "cancelled_identities",
    _temporary,
    Column("identity", IdentityText, primary_key=True),
    Column("row", Key, nullable=False),
    prefixes=["TEMPORARY"],
)
# The versions that withdrawn rows name.
withdrawal_hits = Table(
    "withdrawal_hits",
    _temporary,
    Column("version", Key, primary_key=True, autoincrement=False),
    Column("row", Key, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
    sqlite_with_rowid=False,
)
row_number = type_coerce(import_rows.c.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)
row_ordinal = type_coerce(import_rows.c.row.op("%")(literal_column(str(ROW_ORDINALS))), BigInteger)

# What a change is about to do: the versions that it removes, and those that it copies. The copy of
# `old` gets the change's first version plus `number`, and replaces `replaced`, if it is not NULL.
planned_removals = Table(
    "planned_removals",
    _temporary,
    Column("version", Key, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)
planned_copies = Table(
    "planned_copies",
    _temporary,
    Column("number", Key, primary_key=True, autoincrement=False),
    Column("old", BigInteger, nullable=False),
    Column("replaced", BigInteger, nullable=True),
    prefixes=["TEMPORARY"],
)
# Identities that others have changed since a change was planned.
touched_identities = Table(
    "touched_identities",
    _temporary,
    Column("identity", IdentityText, primary_key=True),
    prefixes=["TEMPORARY"],
)
