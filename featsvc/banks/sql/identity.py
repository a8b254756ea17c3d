"""Identities: what makes two rows the same entry of a bank, and queries by external id."""

import hashlib
from collections.abc import Iterable, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    column,
    literal,
    or_,
    select,
    values,
)

from featsvc.banks.records import EntrySignal
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import entries, listed_in, live_in

_MAX_WHOLE_BYTES = 64
"""Longer values are identified by their digest."""
_BEFORE_SOURCE = "\x1f"
_PAST_SOURCES = "\x20"
"""`_BEFORE_SOURCE` plus one: sorts after every identity of an external id, for all sources."""


def identity_of(external_id: str, source: str, signals: Sequence[EntrySignal]) -> str:
    """Return the `identity` of an entry; `schema` describes its form."""
    if external_id:
        return external_identity(external_id, source)
    return signals_identity([(s.algorithm, s.value) for s in signals], source)


def signals_identity(signals: Iterable[tuple[str, bytes]], source: str) -> str:
    """Return the identity of an entry without an external id: that of its set of signals.

    `signals` are algorithms and values, in any order. A value of another variant is no other
    signal.
    """
    names = sorted({_signal_name(algorithm, value) for algorithm, value in signals})
    if len(names) == 1:
        identity = f"s{names[0]}"
    else:
        identity = f"s+{hashlib.blake2b(' '.join(names).encode(), digest_size=32).hexdigest()}"
    return f"{identity}{_BEFORE_SOURCE}{source}" if source else identity


def _signal_name(algorithm: str, value: bytes) -> str:
    if len(value) > _MAX_WHOLE_BYTES:
        return f"{algorithm}:{hashlib.blake2b(value, digest_size=32).hexdigest()}"
    return f"{algorithm}:{value.hex()}"


def external_identity(external_id: str, source: str) -> str:
    """Return the identity of an entry with an external id; `source` may be empty."""
    # This check is fast, and nearly no id holds a control character.
    if not external_id.isprintable():
        external_id = external_id.replace("\x1e", "\x1e0").replace("\x1f", "\x1e1")
    return f"x{external_id}{_BEFORE_SOURCE}{source}" if source else f"x{external_id}"


def has_external_id(external_id: str, source: str | None = None) -> ColumnElement[bool]:
    """Select entries by external id and source: "" for entries without a source, None for all.

    This is one range of the index `entries_identity`.
    """
    if source is not None:
        return entries.c.identity == external_identity(external_id, source)
    return _between(*map(literal, _range(external_id)))


def live_of_external_ids(
    connection: Connection, bank_key: int, external_ids: Sequence[str], source: str | None
) -> Select[tuple[str, int]]:
    """Select external id and version of live entries; `source` as in `has_external_id`."""
    if source is not None:
        identities = [external_identity(external_id, source) for external_id in external_ids]
        query = select(entries.c.external_id, entries.c.version)
        return query.where(live_in(bank_key), entries.c.identity.in_(identities))
    # A join: for a condition of many ranges SQLite would rather read the whole bank.
    columns = [column(name, String) for name in ("first", "sources", "past")]
    bounds = [_range(external_id) for external_id in external_ids]
    ranges = values(*columns, name="ranges").data(bounds).cte()
    found, entry = look_up(connection, ranges, entries, _between(*ranges.c), listed_in(bank_key))
    # Not as an equality, for which SQLite would make an index of the whole table.
    is_live = case((entry.withheld, 0), else_=1) > 0
    return select(entry.external_id, entry.version).select_from(found).where(is_live)


def _range(external_id: str) -> tuple[str, str, str]:
    """Return the identity without a source, the prefix of those with one, and an upper bound."""
    first = external_identity(external_id, "")
    return first, first + _BEFORE_SOURCE, first + _PAST_SOURCES


def _between(
    first: ColumnElement[str], sources: ColumnElement[str], past: ColumnElement[str]
) -> ColumnElement[bool]:
    identity = entries.c.identity
    # The range also holds longer ids that go on with a control character below the separator.
    return and_(identity >= first, identity < past, or_(identity == first, identity >= sources))
