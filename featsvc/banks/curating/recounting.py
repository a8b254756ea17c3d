"""Counts again what banks count: their live entries, and the signals of each algorithm.

Every change keeps the counts, and nothing is served that differs from them
(`featsvc.matching.agreement`). If they are wrong themselves, only this mends them.
"""

import json
from collections import defaultdict

from sqlalchemy import Connection, func, select, update

from featsvc.banks.results import Recount
from featsvc.banks.sql import postgresql
from featsvc.banks.sql.consistency import check_tables
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.schema import banks, entries, entry_signals, is_live, is_live_bank


def recount(database: Database, *, dry_run: bool) -> tuple[Recount, ...]:
    """See `BankStore.recount`."""
    with database.write() as connection:
        if not database.is_sqlite:
            # It reads the whole store.
            postgresql.begin(connection, postgresql.TURN)
        check_tables(connection)
        found = _differences(connection)
        if not dry_run:
            for key, difference in found.items():
                _store(connection, key, difference)
    return tuple(found.values())


def _differences(connection: Connection) -> dict[int, Recount]:
    key, algorithm = entries.c.bank_key, entry_signals.c.algorithm
    counted = select(key, func.count()).where(is_live).group_by(key)
    live = {row[0]: row[1] for row in connection.execute(counted)}
    signals: dict[int, dict[str, int]] = defaultdict(dict)
    by_algorithm = (
        select(key, algorithm, func.count())
        .join_from(entries, entry_signals)
        .where(is_live)
        .group_by(key, algorithm)
        .order_by(algorithm)
    )
    for bank_key, name, count in connection.execute(by_algorithm):
        signals[bank_key][name] = count
    found = {}
    for bank in connection.execute(select(banks).where(is_live_bank).order_by(banks.c.id)):
        before = bank.entry_count, json.loads(bank.signal_counts)
        now = live.get(bank.key, 0), signals[bank.key]
        if before != now:
            found[bank.key] = Recount(bank.id, *before, *now)
    return found


def _store(connection: Connection, key: int, difference: Recount) -> None:
    connection.execute(
        update(banks)
        .where(banks.c.key == key)
        .values(
            entry_count=difference.entries_now, signal_counts=json.dumps(difference.signals_now)
        )
    )
