"""Exports of a bank as a list, streamed by entry id."""

from collections.abc import Generator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from featsvc.banks.lists.formats import Writer, get_written_format
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import entries, entry_signals, has_expired
from featsvc.banks.sql.times import now_us
from featsvc.banks.sql.view import StoreView, check_revision, live_at
from featsvc.signals.algorithms import get_algorithm

_CHUNK_BYTES = 256 * 1024
EXPIRED_ENTRIES = "expired entries"


@dataclass(frozen=True, slots=True)
class Export:
    """`dropped_fields`: what some entry has and the format cannot carry, and EXPIRED_ENTRIES."""

    dropped_fields: tuple[str, ...]
    chunks: Generator[bytes, None, None]


def export(database: Database, bank_id: str, format_name: str, revision: int) -> Export:
    """See `BankStore.export_entries`."""
    file_format, write = get_written_format(format_name)
    with database.read() as connection:
        view = StoreView(connection)
        revision = check_revision(revision, view.head.revision, "revision")
        live = and_(entries.c.bank_key == view.bank_key(bank_id), live_at(revision))
        dropped = []
        if "expire_time" in file_format.drops:
            # Imported again they would never expire.
            expired = has_expired(now_us())
            if connection.scalar(select(exists().where(live, expired))):
                dropped.append(EXPIRED_ENTRIES)
            live = and_(live, ~expired)
        dropped += [name for name in file_format.drops if _present(connection, live, name)]
    return Export(tuple(dropped), _chunks(database, live, file_format.header, write))


def _chunks(
    database: Database, live: ColumnElement[bool], header: bytes, write: Writer
) -> Generator[bytes, None, None]:
    buffer = bytearray(header)
    with database.read() as connection:
        for entry in StoreView(connection).entries_where(live, by_id=True):
            for line in write(entry):
                buffer += line
            if len(buffer) >= _CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
    if buffer:
        yield bytes(buffer)


def _other_versions(connection: Connection, condition: ColumnElement[bool]) -> bool:
    """Return whether any signal has another version of its algorithm than this build's."""
    signals = entry_signals.c
    versions = connection.execute(
        select(signals.algorithm, signals.algorithm_version).where(condition).distinct()
    )
    return any(get_algorithm(row.algorithm).version != row.algorithm_version for row in versions)


def _present(connection: Connection, live: ColumnElement[bool], name: str) -> bool:
    """Return whether any entry has the field that a format drops.

    "grouped signals": several signals without an external id, which keeps rows together.
    """
    with_signals = and_(live, entry_signals.c.version == entries.c.version)
    if name == "version":
        return _other_versions(connection, with_signals)
    count = select(func.count()).where(entry_signals.c.version == entries.c.version)
    conditions = {
        "algorithms other than pdq": and_(with_signals, entry_signals.c.algorithm != "pdq"),
        "variant": and_(with_signals, entry_signals.c.variant != "original"),
        "quality": and_(with_signals, entry_signals.c.quality.is_not(None)),
        "quarantined": and_(live, entries.c.quarantined),
        "labels with ;": and_(live, entries.c.labels.contains(";", autoescape=True)),
        "expire_time": and_(live, entries.c.expire_time.is_not(None)),
        "grouped signals": and_(live, entries.c.external_id == "", count.scalar_subquery() > 1),
    }
    condition = conditions[name] if name in conditions else and_(live, entries.c[name] != "")
    return bool(connection.scalar(select(exists().where(condition))))
