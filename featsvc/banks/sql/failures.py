"""Errors of the database's driver, as the errors that callers of the store get."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc as sa

from featsvc.errors import DataCorrupt, FeatsvcError, Unavailable

EMPTIED = (
    "its tables are gone; finish restoring the database, or restart the service to begin with none"
)
POOLER = (
    "transactions of one connection ran in several sessions: a pooler in transaction mode is "
    "between featsvc and PostgreSQL, and mixes what its clients do. Connect to PostgreSQL itself, "
    "or set the pooler to session mode (pgbouncer: pool_mode = session)"
)
_LOCKED = (
    "another session of the database holds a lock that this call waited for as long as it may; "
    "try again, or find that session in pg_stat_activity and end it"
)
_SLOW = "a statement took longer than it may; try again when the database has less to do"
_CHANGED = "its tables were changed meanwhile; try again"
_READ_ONLY = "the database takes reads only; name its primary server in the URL"
# By the code of PostgreSQL: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE = {
    "0A000": _CHANGED,  # the plan of a prepared statement is of the old tables
    "25006": _READ_ONLY,
    "26000": POOLER,  # another session prepared the statement
    "42P01": EMPTIED,
    "42P05": POOLER,
    "55P03": _LOCKED,
    "57014": _SLOW,
}
_NOT_PERMITTED = "42501"
# The classes of PEP 249: errors of the database's operation, not of what featsvc does with it.
_OPERATION = frozenset({"OperationalError", "InterfaceError", "InternalError"})


@contextmanager
def guarded() -> Iterator[None]:
    """Translate errors of the driver into `Unavailable` and `DataCorrupt`."""
    try:
        yield
    except Exception as exc:
        translated = _translated(exc)
        if translated is None:
            raise
        raise translated from exc


def unavailable(message: str) -> Unavailable:
    """Make the error of a store that cannot be used now."""
    return Unavailable(f"bank store: {message}", reason="BANK_STORE_UNAVAILABLE")


def _translated(exc: Exception) -> FeatsvcError | None:
    """Return the error for one of SQLAlchemy, or of the driver itself; None for any other."""
    original = getattr(exc, "orig", None) or exc
    names = {kind.__name__ for kind in type(original).__mro__}
    if cause := _unavailable_cause(exc, original, names):
        return unavailable(cause)
    if type(original).__name__ == "DatabaseError":
        return DataCorrupt(f"bank store: {_cause(original)}; restore the file from a backup")
    return None


def _unavailable_cause(exc: Exception, original: Exception, names: set[str]) -> str:
    """Return why the store cannot be used, "" for other errors."""
    state = getattr(original, "sqlstate", None) or ""
    if state in _BY_STATE:
        return _BY_STATE[state]
    if state == _NOT_PERMITTED:
        return f"{_cause(original)}; grant that to the role of the URL"
    if str(original).startswith("no such table"):
        return EMPTIED
    if isinstance(exc, sa.TimeoutError) or names & _OPERATION:
        return f"the database did not answer ({_cause(original)}); try again"
    if getattr(exc, "connection_invalidated", False):
        return "the connection was lost; try again"
    return ""


def _cause(original: BaseException) -> str:
    """Return the first line of the driver's message, without statement and parameters."""
    return str(original).strip().partition("\n")[0][:200]
