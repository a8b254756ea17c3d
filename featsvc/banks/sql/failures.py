"""Errors of the database's driver, as the errors that callers of the store get."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc as sa

from featsvc.errors import DataCorrupt, Unavailable

EMPTIED = (
    "its tables are gone; finish restoring the database, or restart the service to begin with none"
)
_UNDEFINED_TABLE = "42P01"  # PostgreSQL's code


@contextmanager
def guarded() -> Iterator[None]:
    """Translate errors of the driver into `Unavailable` and `DataCorrupt`."""
    try:
        yield
    except (sa.OperationalError, sa.InterfaceError, sa.InternalError, sa.TimeoutError) as exc:
        if _lacks_table(exc):
            raise unavailable(EMPTIED) from exc
        raise unavailable(f"the database did not answer ({_cause(exc)}); try again") from exc
    except sa.DBAPIError as exc:
        if exc.connection_invalidated:
            raise unavailable("the connection was lost; try again") from exc
        if _lacks_table(exc):
            raise unavailable(EMPTIED) from exc
        if type(exc) is sa.DatabaseError:
            raise DataCorrupt(f"bank store: {_cause(exc)}; restore the file from a backup") from exc
        raise


def unavailable(message: str) -> Unavailable:
    """Make the error of a store that cannot be used now."""
    return Unavailable(f"bank store: {message}", reason="BANK_STORE_UNAVAILABLE")


def _cause(exc: sa.SQLAlchemyError) -> str:
    """Return the first line of the driver's message, without statement and parameters."""
    original = exc.orig if isinstance(exc, sa.DBAPIError) else exc
    return str(original).strip().partition("\n")[0][:200]


def _lacks_table(exc: sa.SQLAlchemyError) -> bool:
    original = getattr(exc, "orig", None)
    state = getattr(original, "sqlstate", "")
    return state == _UNDEFINED_TABLE or str(original).startswith("no such table")
