"""Whether the tables of a store are of one state.

`pg_restore` loads each table in a transaction of its own, in any order; one that fails leaves some
tables as they were. What is read meanwhile lacks entries, and what is written is lost or breaks the
restore. The check is one statement that reads a few rows, whatever the size of the store.
"""

from sqlalchemy import Connection

from featsvc.banks.sql.failures import unavailable
from featsvc.banks.sql.stored import StoredRow
from featsvc.errors import Unavailable

# As the driver takes it: every writer asks under the lock.
_STATE = """
SELECT head.*, logged.revision AS logged_revision, logged.commit_time AS logged_time{change},
  EXISTS (SELECT 1 FROM banks) AS any_banks,
  NOT EXISTS (SELECT 1 FROM banks WHERE entry_count > 0)
    OR (EXISTS (SELECT 1 FROM entries) AND EXISTS (SELECT 1 FROM entry_signals))
    AS any_entries{later}
FROM head LEFT JOIN (SELECT * FROM revisions ORDER BY revision DESC LIMIT 1) AS logged ON true
"""
_OLDER = _STATE.format(change="", later="")
_CURRENT = _STATE.format(
    change=", logged.change AS logged_change",
    # The largest, not any: without statistics PostgreSQL would look for one in the whole table.
    later=""",
  (SELECT max(version) FROM entries) >= head.next_version
    AND NOT EXISTS (SELECT 1 FROM pending_change) AS any_later""",
)


def check_tables(connection: Connection) -> StoredRow:
    """Return the row of `head`. Raises Unavailable where the tables are not of one state.

    It looks for whole tables that are missing or of another state, not for single rows.
    """
    row = connection.exec_driver_sql(_CURRENT).first()
    if row is None:
        raise _inconsistent("head is empty")
    _check_log(row)
    if row.revision and row.change != row.logged_change:
        raise _inconsistent(f"revision {row.revision} is another change in head than in revisions")
    if row.any_later:
        raise _inconsistent(f"entries has later versions than revision {row.revision}")
    return row


def check_older_tables(connection: Connection) -> None:
    """The same for the schema of any earlier featsvc, before it is upgraded."""
    row = connection.exec_driver_sql(_OLDER).first()
    if row is None:
        raise _inconsistent("head is empty")
    _check_log(row)


def _check_log(row: StoredRow) -> None:
    logged = row.logged_revision or 0
    if logged != row.revision:
        raise _inconsistent(f"head is at revision {row.revision}, revisions at {logged}")
    if not row.revision:
        return
    if row.commit_time != row.logged_time:
        raise _inconsistent(f"revision {row.revision} has another time in head than in revisions")
    if not row.any_banks:
        raise _inconsistent("banks is empty")
    if not row.any_entries:
        raise _inconsistent("banks count entries, but entries or entry_signals is empty")


def _inconsistent(finding: str) -> Unavailable:
    return unavailable(f"half restored: {finding}; finish restoring, or restore it again")
