"""All states that a store on PostgreSQL had, read by plain SQL, and what each change did to it.

The tables keep every version of every entry, so the state at each revision can be read once nobody
writes. That is right only if changes do what they say and leave the past alone. So each revision is
compared with the one before it and with what was asked for (`tests.fuzz.journal`), and at the end
of each history all of it is read again.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from featsvc.banks.records import Bank, BankMode, StoreHead
from featsvc.banks.sql.stored import SignalRow
from tests.fuzz.banks import Key
from tests.fuzz.expected import State
from tests.fuzz.journal import Journal

# As a database may not set them for us: what is read must not depend on it.
_PINNED = (
    "-c standard_conforming_strings=on -c bytea_output=hex -c search_path=public "
    "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0 "
    "-c TimeZone=UTC -c default_transaction_read_only=off"
)
_VERSIONS = """
    SELECT e.version, e.id, b.id AS bank_id, e.external_id, e.labels, e.source, e.opinion,
           e.quarantined, e.expire_time, s.algorithm, s.value, s.variant, s.algorithm_version
    FROM entries e JOIN banks b ON b.key = e.bank_key JOIN entry_signals s USING (version)
    WHERE e.version > %s AND NOT e.withheld ORDER BY e.version, s.ordinal
"""
_SPANS = "SELECT version, added_change, removed_change FROM entries WHERE NOT withheld"


def from_us(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect to the database of an SQLAlchemy URL, whatever settings it imposes on others."""
    uri = url.replace("+psycopg", "", 1)
    with psycopg.connect(
        uri, options=_PINNED, client_encoding="utf8", row_factory=namedtuple_row
    ) as connection:
        yield connection


def read_head(connection: psycopg.Connection[Any]) -> StoreHead:
    row = connection.execute("SELECT revision, commit_time, store_id FROM head").fetchone()
    assert row is not None, "no head"
    return StoreHead(row.revision, from_us(row.commit_time), row.store_id)


class History:
    """States by revision and commit time, of all histories that the store ever had."""

    def __init__(self, url: str, journal: Journal) -> None:
        self._url = url
        self._journal = journal
        self.states: dict[Key, State] = {}
        self._present: list[State] = []
        """The states of the present history; the place is the revision."""
        self._versions: dict[int, tuple[SignalRow, ...]] = {}

    @property
    def newest(self) -> State:
        return self._present[-1]

    def catch_up(self) -> None:
        """Read the new revisions, and compare each with what was asked for."""
        with self._snapshot() as connection:
            states, reasons = self._read(connection, since=len(self._present))
        for state, reason in zip(states, reasons, strict=True):
            if self._present:
                self._journal.check(self._present, state, reason)
            self._present.append(state)
            self.states[state.head.revision, state.head.commit_time] = state

    def audit(self) -> None:
        """Read all of the present history again: no later change may have touched it."""
        self._versions = {}
        with self._snapshot() as connection:
            states, reasons = self._read(connection, since=0)
            counts = connection.execute(
                "SELECT id, entry_count, signal_counts FROM banks WHERE removed_revision IS NULL"
            ).fetchall()
        self._journal.require("the past", states, self._present)
        self._journal.check_kept(reasons)
        for row in counts:
            signals = [
                signal
                for rows in self.newest.rows.values()
                for signal in rows
                if signal.bank_id == row.id
            ]
            by_algorithm = Counter(signal.algorithm for signal in signals)
            right = len({signal.version for signal in signals}), by_algorithm
            counted = row.entry_count, Counter(json.loads(row.signal_counts))
            self._journal.require(f"counts of {row.id}", counted, right)

    def restored(self, floor: StoreHead) -> None:
        """Begin again with the past of a backup, which was begun when `floor` was the newest.

        What was changed while it was restored is new.
        """
        self._versions = {}
        with self._snapshot() as connection:
            states, reasons = self._read(connection, since=0)
        keys = [(state.head.revision, state.head.commit_time) for state in states]
        known = list(takewhile(lambda key: key in self.states, keys))
        self._journal.require("a backup's floor", floor in (s.head for s in states), True)
        self._present = [self.states[key] for key in known]
        self._journal.require("a restored history", states[: len(known)], self._present)
        self._journal.restored(reasons[: len(known)])
        self._versions = {}
        self.catch_up()

    @contextmanager
    def _snapshot(self) -> Iterator[psycopg.Connection[Any]]:
        with connected(self._url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield connection

    def _read(
        self, connection: psycopg.Connection[Any], since: int
    ) -> tuple[list[State], list[str]]:
        """Return the states from revision `since` on, and the reasons of their changes."""
        head = read_head(connection)
        log = connection.execute(
            "SELECT revision, commit_time, change, reason FROM revisions WHERE revision >= %s "
            "ORDER BY revision",
            [since],
        ).fetchall()
        self._journal.require(
            "numbers of revisions",
            [line.revision for line in log],
            [*range(max(since, 1), head.revision + 1)],
        )
        newest_change = log[-1].change if log else -1
        read: dict[int, list[SignalRow]] = defaultdict(list)
        for row in connection.execute(_VERSIONS, [max(self._versions, default=0)]):
            read[row.version].append(SignalRow(*row))
        spans = [span for span in connection.execute(_SPANS) if span.added_change <= newest_change]
        for span in spans:
            self._versions.setdefault(span.version, tuple(read.get(span.version, ())))
        banks = _BankHistory(connection)
        states, reasons = [], []
        if not since:
            states.append(State(StoreHead(0, None, head.store_id), {}, {}))
            reasons.append("")
        for line in log:
            live = sorted(
                span.version
                for span in spans
                if span.added_change <= line.change
                and (span.removed_change is None or span.removed_change > line.change)
            )
            rows: dict[str, list[SignalRow]] = defaultdict(list)
            for version in live:
                for signal in self._versions[version]:
                    rows[signal.algorithm].append(signal)
            at = StoreHead(line.revision, from_us(line.commit_time), head.store_id)
            states.append(State(at, banks.at(line.revision), dict(rows)))
            reasons.append(line.reason)
        return states, reasons


class _BankHistory:
    """The settings of all banks that a store ever had."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._banks = connection.execute(
            "SELECT key, id, create_time, removed_revision FROM banks ORDER BY id"
        ).fetchall()
        self._settings: dict[int, list[Any]] = defaultdict(list)
        for row in connection.execute("SELECT * FROM bank_settings ORDER BY revision"):
            self._settings[row.bank_key].append(row)

    def at(self, revision: int) -> dict[str, Bank]:
        """Return the banks at a revision, by id; what searches do not heed is left out."""
        made = {}
        for bank in self._banks:
            known = [row for row in self._settings[bank.key] if row.revision <= revision]
            removed = bank.removed_revision
            if not known or (removed is not None and removed <= revision):
                continue
            row, created = known[-1], from_us(bank.create_time)
            made[bank.id] = Bank(
                id=bank.id,
                mode=BankMode(row.mode),
                safe=row.safe,
                thresholds=json.loads(row.thresholds),
                query_variants=tuple(json.loads(row.query_variants)),
                engine=row.engine,
                etag="",
                revision=0,
                create_time=created,
                update_time=created,
                entry_count=0,
                signal_counts={},
            )
        return made
