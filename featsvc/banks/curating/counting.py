"""Match counts of entries, per mode and day: curators judge a list in SHADOW by them."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import median

from sqlalchemy import and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from featsvc.banks.records import BankMode
from featsvc.banks.results import BankMatches, MatchCount, MatchKey
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import banks, entries, is_live_bank, live_entries, match_counts
from featsvc.banks.sql.view import StoreView
from featsvc.errors import InvalidInput

MAX_DAYS = 366
_DAY_S = 24 * 3600


def add(database: Database, counts: Mapping[MatchKey, int]) -> None:
    """See `BankStore.add_match_counts`."""
    with database.write() as connection:
        live_banks = connection.execute(select(banks.c.id, banks.c.key).where(is_live_bank))
        keys = {row.id: row.key for row in live_banks}
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


def read(view: StoreView, bank_id: str, *, days: int, limit: int) -> BankMatches:
    """See `BankStore.match_counts`."""
    if not 1 <= days <= MAX_DAYS:
        raise InvalidInput.at("days", f"must be 1 to {MAX_DAYS}, not {days}")
    bank_key = view.bank_key(bank_id)
    table = match_counts.c
    first_day = int(time.time()) // _DAY_S - days + 1
    rows = view.connection.execute(
        select(table.entry_id, table.mode, func.sum(table.matches).label("matches"))
        .where(table.bank_key == bank_key, table.day >= first_day)
        .group_by(table.entry_id, table.mode)
    )
    per_mode: Counter[BankMode] = Counter()
    per_entry: dict[int, Counter[BankMode]] = defaultdict(Counter)
    for row in rows:
        mode = BankMode(row.mode)
        per_mode[mode] += int(row.matches)
        per_entry[row.entry_id][mode] += int(row.matches)
    totals = {entry: counts.total() for entry, counts in per_entry.items()}
    most = sorted(totals, key=lambda entry: (-totals[entry], entry))[:limit]
    live = view.entries_where(and_(live_entries(bank_key), entries.c.id.in_(most)))
    by_id = {entry.id: entry for entry in live}
    return BankMatches(
        dict(per_mode),
        len(totals),
        float(median(totals.values())) if totals else 0.0,
        tuple(MatchCount(by_id[i], dict(per_entry[i])) for i in most if i in by_id),
    )
