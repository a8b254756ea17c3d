"""How often entries match, per mode and day: what a list in SHADOW is judged by."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from featsvc.banks.records import BankMode
from featsvc.banks.results import BankMatches, MatchCount, MatchKey
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import banks, entries, match_counts
from featsvc.banks.sql.view import StoreView
from featsvc.errors import InvalidInput

MAX_DAYS = 366
_DAY_S = 24 * 3600


def add(database: Database, counts: Mapping[MatchKey, int]) -> None:
    """See `BankStore.add_match_counts`."""
    with database.session() as connection, database.exclusive(connection):
        keys = _bank_keys(connection)
        rows = [
            {
                "bank_key": keys[key.bank_id],
                "entry_id": key.entry_id,
                "mode": key.mode.value,
                "day": int(time.time()) // _DAY_S,
                "matches": number,
            }
            for key, number in counts.items()
            if key.bank_id in keys
        ]
        if not rows:
            return
        dialect = sqlite if database.is_sqlite else postgresql
        insertion = dialect.insert(match_counts)
        connection.execute(
            insertion.on_conflict_do_update(
                index_elements=[c.name for c in match_counts.primary_key],
                set_={"matches": match_counts.c.matches + insertion.excluded.matches},
            ),
            rows,
        )


def _bank_keys(connection: Connection) -> dict[str, int]:
    live = banks.c.removed_revision.is_(None)
    return {row.id: row.key for row in connection.execute(select(banks).where(live))}


def read(view: StoreView, bank_id: str, *, days: int, limit: int) -> BankMatches:
    """See `BankStore.match_counts`."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput(f"days: {days} is not within 1 to {MAX_DAYS}", field="days")
    key = view.bank_key(bank_id)
    table = match_counts.c
    since = int(time.time()) // _DAY_S - days + 1
    wanted = and_(table.bank_key == key, table.day >= since)
    per_mode: Counter[BankMode] = Counter()
    per_entry: dict[int, Counter[BankMode]] = defaultdict(Counter)
    last: dict[int, int] = {}
    rows = view.connection.execute(
        select(
            table.entry_id,
            table.mode,
            func.sum(table.matches).label("matches"),
            func.max(table.day).label("day"),
        )
        .where(wanted)
        .group_by(table.entry_id, table.mode)
    )
    for row in rows:
        mode = BankMode(row.mode)
        per_mode[mode] += int(row.matches)
        per_entry[row.entry_id][mode] += int(row.matches)
        last[row.entry_id] = max(row.day, last.get(row.entry_id, 0))
    totals = {entry: counts.total() for entry, counts in per_entry.items()}
    most = sorted(totals, key=lambda entry: (-totals[entry], entry))[:limit]
    live = and_(
        entries.c.bank_key == key, entries.c.id.in_(most), entries.c.removed_revision.is_(None)
    )
    found = {entry.id: entry for entry in view.entries_where(live)}
    return BankMatches(
        dict(per_mode),
        len(totals),
        float(median(totals.values())) if totals else 0.0,
        tuple(
            MatchCount(found[entry], dict(per_entry[entry]), _day(last[entry]))
            for entry in most
            if entry in found
        ),
    )


def _day(number: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(days=number)
