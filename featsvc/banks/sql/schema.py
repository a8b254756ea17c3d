"""The tables, the same on SQLite and PostgreSQL.

    head            one row: newest revision, its commit time and change, next free version number,
                    and the store's identity, a random number made with the tables. Every writer
                    locks it first, so revisions are gapless and commit in order.
    pending_change  at most one row: the large change that is being written in pieces
    banks           settings and live counts; a deleted bank stays, with a removed_revision
    entries         one row per VERSION of an entry: live after change c where
                    added_change <= c < removed_change (NULL: still live)
    bank_settings   the settings of a bank from a revision on; the newest are those of `banks`
    entry_signals   the signals of each version, each with the version of its algorithm: values of
                    different ones do not compare
    decisions       what curators decided about single entries, one row per VERSION, live as
                    those of `entries`; it outlives that the list withdraws the entry
    vector_models   the length of the vectors of each model
    revisions       the log: who, when, why, from which file; and its change
    requests        the answer to each request id, which a retry gets again
    match_counts    how often an entry matched, per mode and day

Each revision is one change. Change numbers ascend with revisions, with gaps: a large change takes
its number and its version numbers ahead of others, writes its rows in pieces, and becomes a
revision when `head.change` reaches its number. Until then its rows are of the future: nobody sees
what it adds, and what it removes is live (`sql/large_changes.py`, ADR 23).

Version numbers grow with revisions: the versions added after revision r start at `first_version`
of revision r + 1. `migrations/` upgrades older databases to this schema; a test compares both.

Times are microseconds since 1970 UTC, labels are one string joined by U+001F, thresholds and other
small structures are JSON text: both databases compare and index these alike.

`entries.identity` decides whether two imported rows are the same entry of a bank: `x` + external
id, else `s` + `algorithm:hex` of its one signal, or `s+` + a digest of its set of signals; followed
by U+001F + source if there is a source. In the external id U+001E is escaped as U+001E `0` and
U+001F as U+001E `1`, so the sources of an id are one range. `entries.digest` covers all that a
list can say of an entry: one comparison shows whether it is unchanged.

The other columns of `entries` have the effective values: what the list says, and over it what a
curator decided (`sql/decisions.py`). `listed` keeps, as JSON, what the list says of the decided
ones, NULL if there are none. A version whose entry a curator withdrew is `withheld`: lists find and
change it like any other, nobody else sees it. So versions are *listed* after a change, and *live*
if they are not withheld either.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    and_,
    false,
    func,
    literal_column,
    or_,
    select,
    text,
)

LABEL_SEPARATOR = "\x1f"

# SQLite makes a column the row id only if its type is spelled INTEGER.
Key = BigInteger().with_variant(Integer(), "sqlite")

# Longer for the ids of models. SQLite ignores lengths, and would copy the table to change one.
AlgorithmName = String(32).with_variant(String(80), "postgresql")


def _key_text(length: int | None = None) -> String:
    """Return the type of text that is a key.

    Ordered by bytes, as on SQLite: PostgreSQL's other collations have no ranges by prefix, and
    change with its operating system, which leaves indexes in another order.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


IdentityText = _key_text()


def _partial(condition: str) -> dict[str, Any]:
    """Return the arguments of an index over the rows that meet a condition."""
    clause = text(condition)
    return {"sqlite_where": clause, "postgresql_where": clause}


metadata = MetaData()

head = Table(
    "head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("next_version", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False, server_default=text("0")),
    Column("store_id", String(32), nullable=False, server_default=text("''")),
)

pending_change = Table(
    "pending_change",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("change", BigInteger, nullable=False),
    Column("first_version", BigInteger, nullable=False),
)

banks = Table(
    "banks",
    metadata,
    Column("key", Key, primary_key=True, autoincrement=True),
    Column("id", _key_text(64), nullable=False),
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
    Column("import_map", String, nullable=False, server_default=text("'{}'")),
    Index("banks_live", "id", unique=True, **_partial("removed_revision IS NULL")),
)

# A bank from a time before this table has its settings from the last change of that time on.
bank_settings = Table(
    "bank_settings",
    metadata,
    Column("revision", Key, primary_key=True, autoincrement=False),
    Column("bank_key", Key, ForeignKey("banks.key"), nullable=False),
    Column("display_name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("safe", Boolean, nullable=False),
    Column("thresholds", String, nullable=False),
    Column("query_variants", String, nullable=False),
    Column("engine", String(16), nullable=False),
    Index("bank_settings_bank", "bank_key", "revision"),
)

entries = Table(
    "entries",
    metadata,
    Column("version", Key, primary_key=True, autoincrement=False),
    Column("id", BigInteger, nullable=False),
    Column("bank_key", Key, ForeignKey("banks.key"), nullable=False),
    Column("identity", IdentityText, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("external_id", String, nullable=False),
    Column("labels", String, nullable=False),
    Column("source", String, nullable=False),
    Column("opinion", String(16), nullable=False),
    Column("note", String, nullable=False),
    Column("expire_time", BigInteger, nullable=True),
    Column("quarantined", Boolean, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("added_change", BigInteger, nullable=False),
    Column("removed_change", BigInteger, nullable=True),
    Column("withheld", Boolean, nullable=False, server_default=false()),
    Column("listed", String, nullable=True),
    Index("entries_bank", "bank_key", "id"),
    Index("entries_removed", "removed_change", **_partial("removed_change IS NOT NULL")),
    Index("entries_expiring", "bank_key", "expire_time", **_partial("expire_time IS NOT NULL")),
)

is_live_bank = banks.c.removed_revision.is_(None)


def in_bank(bank_key: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select rows of a bank that are found by their identity, version or change.

    Spelled so that an index of the bank does not serve it: where statistics know nothing of a bank,
    PostgreSQL would as soon read all of it.
    """
    return _spelled_bank(table) == bank_key


def _spelled_bank(table: FromClause) -> ColumnElement[int]:
    return table.c.bank_key + literal_column("0")


# Of all versions: at most one of an identity is live after any change.
Index("entries_identity", entries.c.identity, _spelled_bank(entries))

decisions = Table(
    "decisions",
    metadata,
    Column("bank_key", Key, ForeignKey("banks.key"), primary_key=True, autoincrement=False),
    Column("identity", IdentityText, primary_key=True),
    Column("added_change", BigInteger, primary_key=True, autoincrement=False),
    Column("removed_change", BigInteger, nullable=True),
    Column("withdrawn", Boolean, nullable=False),
    # The whole decision, as JSON.
    Column("decided", String, nullable=False),
    Index("decisions_added", "added_change"),
    Index("decisions_removed", "removed_change", **_partial("removed_change IS NOT NULL")),
)


def listed_after(change: ColumnElement[int], table: FromClause = entries) -> ColumnElement[bool]:
    """Select the versions, of entries or decisions, that hold after a change."""
    return and_(
        table.c.added_change <= change,
        or_(table.c.removed_change.is_(None), table.c.removed_change > change),
    )


def live_after(change: ColumnElement[int], table: FromClause = entries) -> ColumnElement[bool]:
    """Select the versions that are live after a change: listed, and not withheld."""
    return and_(listed_after(change, table), ~table.c.withheld)


newest_change = select(head.c.change).scalar_subquery()
"""The change of the newest revision: a writer's own change until it is recorded is a later one."""
next_version = select(head.c.next_version).scalar_subquery()
"""Lies above the versions of all revisions, and below those of a change that is being written."""
is_live = live_after(newest_change)
is_listed = listed_after(newest_change)


def live_entries(bank_key: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select the live entries of a bank, by id."""
    return and_(table.c.bank_key == bank_key, live_after(newest_change, table))


def live_in(bank_key: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select the live ones of some entries of a bank; see `in_bank`."""
    return and_(in_bank(bank_key, table), live_after(newest_change, table))


def has_expired(now_us: int) -> ColumnElement[bool]:
    """Select the entries that have expired at a time: they match nothing."""
    return and_(entries.c.expire_time.is_not(None), entries.c.expire_time <= now_us)


def listed_entries(bank_key: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select the entries that a bank lists, by id: live ones, and those that a curator withdrew."""
    return and_(table.c.bank_key == bank_key, listed_after(newest_change, table))


def listed_in(bank_key: int, table: FromClause = entries) -> ColumnElement[bool]:
    """Select the listed ones of some entries of a bank; see `in_bank`."""
    return and_(in_bank(bank_key, table), listed_after(newest_change, table))


def live_decisions(bank_key: int) -> ColumnElement[bool]:
    """Select the decisions about entries of a bank that hold now."""
    return and_(decisions.c.bank_key == bank_key, listed_after(newest_change, decisions))


entry_signals = Table(
    "entry_signals",
    metadata,
    Column("version", Key, ForeignKey("entries.version"), primary_key=True),
    Column("ordinal", SmallInteger, primary_key=True, autoincrement=False),
    Column("algorithm", AlgorithmName, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("variant", String(32), nullable=False),
    Column("quality", SmallInteger, nullable=True),
    # Not a SmallInteger: the versions of models are chosen by their makers.
    Column("algorithm_version", Integer, nullable=False, server_default=text("1")),
    sqlite_with_rowid=False,
)

VALUE_PREFIX_BYTES = 8


def value_prefix(value: ColumnElement[bytes]) -> ColumnElement[bytes]:
    """Return the part of a value that is indexed; a whole value may be too long for an index."""
    return func.substr(value, literal_column("1"), literal_column(str(VALUE_PREFIX_BYTES)))


def has_signal(
    signals: FromClause,
    algorithm: ColumnElement[str],
    version: ColumnElement[int],
    value: ColumnElement[bytes],
) -> ColumnElement[bool]:
    """Select rows of `entry_signals`, or an alias of it, with exactly this signal."""
    return and_(
        value_prefix(signals.c.value) == value_prefix(value),
        signals.c.value == value,
        signals.c.algorithm == algorithm,
        signals.c.algorithm_version == version,
    )


Index("entry_signals_value", value_prefix(entry_signals.c.value))

# Length of the vectors of each model and version that any entry has or ever had.
vector_models = Table(
    "vector_models",
    metadata,
    Column("model", _key_text(80), primary_key=True),
    Column("dimensions", Integer, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", Key, primary_key=True, autoincrement=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("bank_id", _key_text(64), nullable=False),
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
    Column("change", BigInteger, nullable=False, server_default=text("0")),
    Index("revisions_bank", "bank_id", "revision"),
    Index("revisions_change", "change", unique=True),
)

requests = Table(
    "requests",
    metadata,
    Column("id", _key_text(128), primary_key=True),
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
    Column("bank_key", Key, ForeignKey("banks.key"), primary_key=True, autoincrement=False),
    Column("entry_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mode", _key_text(16), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("matches", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
