"""A bank as a list again, in the formats that `formats` reads; streamed, by entry id."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from featsvc.banks.lists.formats import Writer, get_written_format
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import entries, entry_signals
from featsvc.banks.sql.view import StoreView, check_revision, live_at
from featsvc.signals.algorithms import get_algorithm

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Export:
    """`dropped_fields`: what some entry has and the format cannot carry."""

    dropped_fields: tuple[str, ...]
    chunks: Iterator[bytes]


def export(database: Database, bank_id: str, format_name: str, revision: int) -> Export:
    """See `BankStore.export_entries`."""
    chosen, write = get_written_format(format_name)
    with database.read() as connection:
        view = StoreView(connection)
        revision = check_revision(revision, view.head.revision, "revision")
        live = and_(entries.c.bank_key == view.bank_key(bank_id), live_at(revision))
        dropped = tuple(name for name in chosen.drops if _present(connection, live, name))
    return Export(dropped, _chunks(database, live, chosen.header, write))


def _chunks(
    database: Database, live: ColumnElement[bool], header: bytes, write: Writer
) -> Iterator[bytes]:
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
    """Whether any signal is of another version of its algorithm than this build's."""
    signals = entry_signals.c
    found = connection.execute(
        select(signals.algorithm, signals.algorithm_version).where(condition).distinct()
    )
    return any(get_algorithm(row.algorithm).version != row.algorithm_version for row in found)


def _present(connection: Connection, live: ColumnElement[bool], name: str) -> bool:
    """Whether any entry has it. Signals are grouped where an entry has several and no id."""
    mine = and_(live, entry_signals.c.version == entries.c.version)
    if name == "version":
        return _other_versions(connection, mine)
    several = select(func.count()).where(entry_signals.c.version == entries.c.version)
    conditions = {
        "other algorithms": and_(mine, entry_signals.c.algorithm != "pdq"),
        "variant": and_(mine, entry_signals.c.variant != "original"),
        "quality": and_(mine, entry_signals.c.quality.is_not(None)),
        "quarantined": and_(live, entries.c.quarantined),
        "labels with ;": and_(live, entries.c.labels.contains(";", autoescape=True)),
        "expire_time": and_(live, entries.c.expire_time.is_not(None)),
        "grouped signals": and_(live, entries.c.external_id == "", several.scalar_subquery() > 1),
    }
    condition = conditions[name] if name in conditions else and_(live, entries.c[name] != "")
    return bool(connection.scalar(select(exists().where(condition))))
