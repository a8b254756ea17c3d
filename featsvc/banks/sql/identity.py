"""What makes two rows the same entry of a bank, and how entries of an external id are found."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, String, and_, column, literal, or_, select, values

from featsvc.banks.records import EntrySignal
from featsvc.banks.sql.schema import entries

_MAX_WHOLE_BYTES = 64
"""Of a value that stands in an identity as it is; of a longer one its digest does."""
_BEFORE_SOURCE = "\x1f"
_PAST_SOURCES = "\x20"
"""Above every identity of an external id, whatever its source: `_BEFORE_SOURCE` plus one."""


def identity_of(external_id: str, source: str, signals: Sequence[EntrySignal]) -> str:
    """The `identity` of an entry; see `schema`."""
    if external_id:
        return external_identity(external_id, source)
    first = signals[0]
    if len(first.value) > _MAX_WHOLE_BYTES:
        return f"s{first.algorithm}:{hashlib.blake2b(first.value, digest_size=32).hexdigest()}"
    return f"s{first.algorithm}:{first.value.hex()}"


def external_identity(external_id: str, source: str) -> str:
    """That of an entry with an external id, from that source; "" where it has none."""
    # Nearly no id holds a control character; this check is fast.
    if not external_id.isprintable():
        external_id = external_id.replace("\x1e", "\x1e0").replace("\x1f", "\x1e1")
    return f"x{external_id}{_BEFORE_SOURCE}{source}" if source else f"x{external_id}"


def has_external_id(external_id: str, source: str | None = None) -> ColumnElement[bool]:
    """Entries of that external id and source ("": those without one); None: of any source.

    One range of `entries_live`, where the bank and "not removed" are asked for too.
    """
    if source is not None:
        return entries.c.identity == external_identity(external_id, source)
    return _between(*map(literal, _range(external_id)))


def live_of_external_ids(
    bank_key: int, external_ids: Sequence[str], source: str | None
) -> Select[tuple[str, int]]:
    """External id and version of what is live of them; the source as in `has_external_id`."""
    live = and_(entries.c.bank_key == bank_key, entries.c.removed_revision.is_(None))
    found = select(entries.c.external_id, entries.c.version).where(live)
    if source is not None:
        identities = [external_identity(one, source) for one in external_ids]
        return found.where(entries.c.identity.in_(identities))
    # A join: for a condition of many ranges SQLite would rather read the whole bank.
    names = [column(name, String) for name in ("first", "sources", "past")]
    wanted = values(*names, name="wanted").data([_range(one) for one in external_ids]).cte()
    return found.where(_between(*wanted.c))


def _range(external_id: str) -> tuple[str, str, str]:
    """Its identity without a source, where those with one begin, and what is past them."""
    first = external_identity(external_id, "")
    return first, first + _BEFORE_SOURCE, first + _PAST_SOURCES


def _between(
    first: ColumnElement[str], sources: ColumnElement[str], past: ColumnElement[str]
) -> ColumnElement[bool]:
    identity = entries.c.identity
    # The last condition is no part of the range: ids that go on with a control character.
    return and_(identity >= first, identity < past, or_(identity == first, identity >= sources))
