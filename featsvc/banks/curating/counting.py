"""Match counts of entries, per mode and day: curators judge a list in SHADOW by them."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from statistics import median
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from featsvc.banks.records import BankMode, Entry
from featsvc.banks.results import BankMatches, MatchCount, MatchKey
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.lookups import look_up
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
    counted = _Counted(view, bank_id, days)
    per_mode: Counter[BankMode] = Counter()
    per_entry: dict[int, Counter[BankMode]] = defaultdict(Counter)
    for row in counted.rows():
        per_mode[row.mode] += row.matches
        per_entry[row.entry_id][row.mode] += row.matches
    totals = {entry: counts.total() for entry, counts in per_entry.items()}
    most = iter(sorted(totals, key=lambda entry: (-totals[entry], entry)))
    found: list[Entry] = []
    # Entries that are no longer live take no place among the first.
    while len(found) < limit and (ids := list(islice(most, limit - len(found)))):
        found += counted.live(ids)
    return BankMatches(
        dict(per_mode),
        len(totals),
        float(median(totals.values())) if totals else 0.0,
        tuple(MatchCount(entry, dict(per_entry[entry.id])) for entry in found),
    )


def read_page(
    view: StoreView, bank_id: str, *, days: int, after: int, limit: int
) -> tuple[MatchCount, ...]:
    """Return the counts of at most `limit` live entries with an id above `after`, by id."""
    counted = _Counted(view, bank_id, days)
    live = entries.c.id == match_counts.c.entry_id, live_entries(counted.bank_key)
    source, _ = look_up(view.connection, match_counts, entries, *live)
    matched = (
        select(match_counts.c.entry_id)
        .select_from(source)
        .where(counted.condition, match_counts.c.entry_id > after)
        .distinct()
        .order_by(match_counts.c.entry_id)
        .limit(limit)
    )
    ids = list(view.connection.scalars(matched))
    per_entry: dict[int, Counter[BankMode]] = defaultdict(Counter)
    for row in counted.rows(match_counts.c.entry_id.in_(ids)):
        per_entry[row.entry_id][row.mode] += row.matches
    return tuple(MatchCount(entry, dict(per_entry[entry.id])) for entry in counted.live(ids))


class _ModeCount(NamedTuple):
    entry_id: int
    mode: BankMode
    matches: int


class _Counted:
    """The counts of one bank in the last days."""

    def __init__(self, view: StoreView, bank_id: str, days: int) -> None:
        """Raises NotFound, or InvalidInput for `days`."""
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput.at("days", f"must be 1 to {MAX_DAYS}, not {days}")
        self._view = view
        self.bank_key = view.bank_key(bank_id)
        first_day = int(time.time()) // _DAY_S - days + 1
        table = match_counts.c
        self.condition = and_(table.bank_key == self.bank_key, table.day >= first_day)

    def rows(self, *conditions: ColumnElement[bool]) -> Iterator[_ModeCount]:
        """Yield the matches of each entry and mode."""
        table = match_counts.c
        query = (
            select(table.entry_id, table.mode, func.sum(table.matches).label("matches"))
            .where(self.condition, *conditions)
            .group_by(table.entry_id, table.mode)
        )
        for row in self._view.connection.execute(query):
            yield _ModeCount(row.entry_id, BankMode(row.mode), int(row.matches))

    def live(self, ids: Sequence[int]) -> list[Entry]:
        """Return the live entries among `ids`, in the same order."""
        live = self._view.entries_where(and_(live_entries(self.bank_key), entries.c.id.in_(ids)))
        by_id = {entry.id: entry for entry in live}
        return [by_id[i] for i in ids if i in by_id]
