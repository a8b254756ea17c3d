"""The tables, the same on SQLite and PostgreSQL.

    head            one row: newest revision, its commit time, next free version number.
                    Every writer locks it first, so revisions are gapless and commit in order.
    banks           settings and live counts; a deleted bank stays, with a removed_revision
    entries         one row per VERSION of an entry: live at revision r where
                    added_revision <= r < removed_revision (NULL: still live)
    entry_signals   the signals of each version, each with the version of its algorithm: values of
                    different ones do not compare
    vector_models   the length of the vectors of each model
    revisions       the log: who, when, why, from which file
    requests        what a request id was answered with, so that a retry is answered alike
    match_counts    how often an entry matched, per mode and day

Version numbers grow with revisions: what was added after revision r are the versions from
`first_version` of revision r + 1 on. `migrations/` brings an older database here; a test holds
the two together.

Times are microseconds since 1970 UTC, labels one string joined by U+001F, thresholds and other
small structures JSON text: both databases compare and index these alike.

`entries.identity` says what makes two imported rows the same entry of a bank: `x` + the external
id where there is one, and U+001F + the source where the entry has one, else `s` + `algorithm:hex`
of the first signal. In the external id U+001E is written U+001E `0`, and U+001F U+001E `1`: the
sources of an id are one range. `entries.digest` covers everything a curator can give an entry, so
that "unchanged" is one comparison.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    false,
    func,
    literal_column,
    text,
    type_coerce,
)

LABEL_SEPARATOR = "\x1f"

# SQLite makes a column the row id only where its type is spelled INTEGER.
_Key = BigInteger().with_variant(Integer(), "sqlite")

# Longer for the ids of models; SQLite heeds no length, and would copy the table to change it.
_Algorithm = String(32).with_variant(String(80), "postgresql")

# Ordered by bytes, as SQLite does: other orders of PostgreSQL have no ranges by prefix.
_Identity = String().with_variant(String(collation="C"), "postgresql")

metadata = MetaData()

head = Table(
    "head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("next_version", BigInteger, nullable=False),
)

banks = Table(
    "banks",
    metadata,
    Column("key", _Key, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False),
    Column("display_name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("safe", Boolean, nullable=False),
    Column("thresholds", String, nullable=False),
    Column("query_variants", String, nullable=False),
    Column("engine", String(16), nullable=False),
    Column("settings_revision", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("signal_counts", String, nullable=False),
    Column("removed_revision", BigInteger, nullable=True),
    Index(
        "banks_live",
        "id",
        unique=True,
        sqlite_where=text("removed_revision IS NULL"),
        postgresql_where=text("removed_revision IS NULL"),
    ),
)

entries = Table(
    "entries",
    metadata,
    Column("version", _Key, primary_key=True, autoincrement=False),
    Column("id", BigInteger, nullable=False),
    Column("bank_key", _Key, ForeignKey("banks.key"), nullable=False),
    Column("identity", _Identity, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("external_id", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("source", String, nullable=False),
    Column("opinion", String(16), nullable=False),
    Column("note", String, nullable=False),
    Column("expire_time", BigInteger, nullable=True),
    Column("quarantined", Boolean, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("added_revision", BigInteger, nullable=False),
    Column("removed_revision", BigInteger, nullable=True),
    Index(
        "entries_live",
        "bank_key",
        "identity",
        unique=True,
        sqlite_where=text("removed_revision IS NULL"),
        postgresql_where=text("removed_revision IS NULL"),
    ),
    Index("entries_bank", "bank_key", "id"),
    Index(
        "entries_removed",
        "removed_revision",
        sqlite_where=text("removed_revision IS NOT NULL"),
        postgresql_where=text("removed_revision IS NOT NULL"),
    ),
)

entry_signals = Table(
    "entry_signals",
    metadata,
    Column("version", _Key, ForeignKey("entries.version"), primary_key=True),
    Column("ordinal", SmallInteger, primary_key=True, autoincrement=False),
    Column("algorithm", _Algorithm, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("variant", String(32), nullable=False),
    Column("quality", SmallInteger, nullable=True),
    # Not small: models' versions are theirs.
    Column("algorithm_version", Integer, nullable=False, server_default=text("1")),
    sqlite_with_rowid=False,
)

VALUE_PREFIX_BYTES = 8


def value_prefix(value: ColumnElement[bytes]) -> ColumnElement[bytes]:
    """What signals are looked up by; a whole value may be too long for an index."""
    return func.substr(value, literal_column("1"), literal_column(str(VALUE_PREFIX_BYTES)))


Index("entry_signals_value", value_prefix(entry_signals.c.value))

# Length of the vectors of each model and version that any entry has, or once had.
vector_models = Table(
    "vector_models",
    metadata,
    Column("model", String(80), primary_key=True),
    Column("dimensions", Integer, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", _Key, primary_key=True, autoincrement=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("bank_id", String(64), nullable=False),
    Column("action", String(16), nullable=False),
    Column("actor", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("file_name", String, nullable=False),
    Column("file_sha256", String(64), nullable=False),
    Column("added_entries", BigInteger, nullable=False),
    Column("withdrawn_entries", BigInteger, nullable=False),
    Column("changed_entries", BigInteger, nullable=False),
    Column("first_version", BigInteger, nullable=False),
    Index("revisions_bank", "bank_id", "revision"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("method", String(32), nullable=False),
    Column("target", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("requests_time", "time"),
)

# `day` counts from 1970-01-01 UTC.
match_counts = Table(
    "match_counts",
    metadata,
    Column("bank_key", _Key, ForeignKey("banks.key"), primary_key=True, autoincrement=False),
    Column("entry_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mode", String(16), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("matches", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row a signal of the file being imported; temporary tables of the importing connection.
# `row` is the entry's number in the file times ROW_ORDINALS plus the signal's ordinal; only an
# entry's first row is read for its fields. Few values a row make the difference in speed, so what
# most rows of a list have in common lies in `import_details`. A withdrawal is one row with the
# details WITHDRAWN, which are not there. The `old_` columns are filled from the live version of
# the same identity, where there is one.
ROW_ORDINALS = 256
WITHDRAWN = 0
_temporary = MetaData()
import_rows = Table(
    "import_rows",
    _temporary,
    Column("row", _Key, primary_key=True, autoincrement=False),
    Column("identity", _Identity, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("external_id", String, nullable=False),
    Column("details", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("old_version", BigInteger, nullable=True),
    Column("old_id", BigInteger, nullable=True),
    Column("old_quarantined", Boolean, nullable=True),
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
    Column("algorithm", _Algorithm, nullable=False),
    Column("variant", String(32), nullable=False),
    Column("quality", SmallInteger, nullable=True),
    Column("algorithm_version", Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
row_number = type_coerce(import_rows.c.row.op("/")(literal_column(str(ROW_ORDINALS))), BigInteger)
row_ordinal = type_coerce(import_rows.c.row.op("%")(literal_column(str(ROW_ORDINALS))), BigInteger)
