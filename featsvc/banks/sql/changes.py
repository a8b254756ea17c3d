"""Changes of the store: their revision, their line in the log, and answers kept for retries."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from featsvc.banks.records import ChangeContext
from featsvc.banks.sql.consistency import check_tables
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import (
    banks,
    entries,
    entry_signals,
    head,
    in_bank,
    is_listed,
    pending_change,
    requests,
    revisions,
)
from featsvc.banks.sql.stored import StoredRow, bank_of, bank_row
from featsvc.banks.sql.times import now_us
from featsvc.errors import Conflict, InvalidInput, Unavailable

T = TypeVar("T")

REQUESTS_KEPT_US = 7 * 24 * 3600 * 1_000_000
"""How long the answer to a request id is kept."""


@dataclass(frozen=True, slots=True)
class EntryCounts:
    """Entries that a change added, changed and withdrew, and the version numbers it used up.

    `unseen` counts what else it changed: withheld versions and decisions.
    """

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    versions: int = 0
    unseen: int = 0

    @property
    def total(self) -> int:
        """Number of entries that the change touched, seen and unseen."""
        return self.new + self.changed + self.withdrawn + self.unseen


NO_ENTRIES = EntryCounts()


@dataclass(frozen=True, slots=True)
class PendingRevision:
    """The revision that a writer is about to commit; `begin` it under the writers' lock.

    Its rows carry `change`. They are nobody's until `record` makes that the newest change.
    """

    number: int
    change: int
    now_us: int
    first_version: int
    bank_id: str
    action: str
    context: ChangeContext
    file_name: str = ""
    file_sha256: str = ""

    @classmethod
    def begin(
        cls, connection: Connection, bank_id: str, action: str, context: ChangeContext
    ) -> "PendingRevision":
        """Raises Unavailable for a store that is half restored."""
        row = check_tables(connection)
        # Never before the last revision, even if the clock was set back: readers order by time.
        now = max(now_us(), row.commit_time)
        return cls(
            row.revision + 1, row.change + 1, now, row.next_version, bank_id, action, context
        )

    def remove(self, connection: Connection, condition: ColumnElement[bool]) -> int:
        """End the listed versions that meet the condition; return their number."""
        return connection.execute(
            update(entries).where(is_listed, condition).values(removed_change=self.change)
        ).rowcount

    def record(
        self,
        connection: Connection,
        counts: EntryCounts = NO_ENTRIES,
        signals: Mapping[str, int] | None = None,
    ) -> None:
        """Write the log, the bank's counts and the head: the last step of a change.

        `signals` is by how many the signals of each algorithm grew; without it they are counted.
        Raises Unavailable if the change does not fit below one that is being written.
        """
        next_version = self.first_version + counts.versions
        self._check_room(connection, next_version)
        connection.execute(
            insert(revisions).values(
                revision=self.number,
                commit_time=self.now_us,
                bank_id=self.bank_id,
                action=self.action,
                actor=self.context.actor,
                reason=self.context.reason,
                request_id=self.context.request_id,
                file_name=self.file_name,
                file_sha256=self.file_sha256,
                added_entries=counts.new,
                withdrawn_entries=counts.withdrawn,
                changed_entries=counts.changed,
                first_version=self.first_version,
                change=self.change,
            )
        )
        if counts.total:
            self._update_bank(connection, counts, signals)
        connection.execute(
            update(head).values(
                revision=self.number,
                commit_time=self.now_us,
                change=self.change,
                next_version=next_version,
            )
        )

    def _check_room(self, connection: Connection, next_version: int) -> None:
        above = connection.execute(
            select(pending_change).where(pending_change.c.change > self.change)
        ).first()
        if above is not None and (
            self.change + 1 >= above.change or next_version > above.first_version
        ):
            raise Unavailable(
                "bank store: a large change is being written, and too much changed meanwhile; "
                "try again when it is done",
                reason="BANK_STORE_UNAVAILABLE",
            )

    def _update_bank(
        self, connection: Connection, counts: EntryCounts, signals: Mapping[str, int] | None
    ) -> None:
        bank = bank_row(connection, self.bank_id)
        total = Counter(json.loads(bank.signal_counts))
        if signals is None:
            if counts.versions:
                total.update(self._signals_added(connection, counts.versions))
            if counts.changed or counts.withdrawn:
                total.subtract(self.signals_removed(connection, bank.key))
        else:
            total.update(signals)
        connection.execute(
            update(banks)
            .where(banks.c.key == bank.key)
            .values(
                entry_count=bank.entry_count + counts.new - counts.withdrawn,
                signal_counts=json.dumps({k: n for k, n in sorted(total.items()) if n}),
                revision=self.number,
                update_time=self.now_us,
            )
        )

    def _signals_added(self, connection: Connection, versions: int) -> dict[str, int]:
        return count_signals_between(connection, self.first_version, self.first_version + versions)

    def signals_removed(self, connection: Connection, bank_key: int) -> dict[str, int]:
        """Count the signals of the versions that this revision removed, by algorithm."""
        table = entries.c
        of_bank = and_(in_bank(bank_key), ~table.withheld)
        return count_signals(connection, and_(table.removed_change == self.change, of_bank))


def count_signals(
    connection: Connection, condition: ColumnElement[bool], versions: FromClause = entries
) -> dict[str, int]:
    """Count the signals of the versions that meet the condition, by algorithm.

    `versions` has them in a column of that name.
    """
    of_version = entry_signals.c.version == versions.c.version
    source, signal = look_up(connection, versions, entry_signals, of_version)
    return _by_algorithm(connection, signal.algorithm, source, condition)


def count_signals_between(connection: Connection, first: int, last: int) -> dict[str, int]:
    """Count the signals of the versions from `first` up to, not including, `last`."""
    signals = entry_signals.c
    between = and_(signals.version >= first, signals.version < last)
    return _by_algorithm(connection, signals.algorithm, entry_signals, between)


def _by_algorithm(
    connection: Connection,
    algorithm: ColumnElement[Any],
    source: FromClause,
    condition: ColumnElement[bool],
) -> dict[str, int]:
    rows = connection.execute(
        select(algorithm, func.count().label("signals"))
        .select_from(source)
        .where(condition)
        .group_by(algorithm)
    )
    return {row.algorithm: row.signals for row in rows}


def check_etag(bank: StoredRow, etag: str, *, settings_only: bool = False) -> None:
    """Raises Conflict if the bank changed since its reader got this etag; "" is not checked.

    An etag names the state of settings and entries. A change of settings only ignores changes of
    entries.
    """
    given, current = etag, bank_of(bank).etag
    if settings_only:
        given, current = given.partition("-")[0], current.partition("-")[0]
    if etag and given != current:
        raise Conflict(
            f"etag: bank {bank.id!r} has changed since it was read, last in revision "
            f"{bank.revision}; read it again, then decide again"
        )


@dataclass(frozen=True, slots=True)
class IdempotentCall:
    """A call that happens once for its request id, even if a client retries it.

    `target` and `arguments` distinguish it from other calls with the same request id.
    """

    context: ChangeContext
    method: str
    target: str
    arguments: object = ()

    @property
    def fingerprint(self) -> str:
        """The target and a digest of the arguments, which may be megabytes."""
        arguments = hashlib.blake2b(repr(self.arguments).encode(), digest_size=16)
        return f"{self.target} {arguments.hexdigest()}"


def find_answer(connection: Connection, call: IdempotentCall, kind: type[T]) -> T | None:
    """Return the answer to the first call with this request id, if there was one.

    Raises InvalidInput if that was a different call.
    """
    if not call.context.request_id:
        return None
    row = connection.execute(
        select(requests).where(requests.c.id == call.context.request_id)
    ).first()
    if row is None:
        return None
    if (row.method, row.target) != (call.method, call.fingerprint):
        raise InvalidInput.at(
            "context.request_id",
            f"{call.context.request_id!r} was used for another call "
            f"({row.method}); give every call its own id",
        )
    return msgspec.json.decode(row.answer, type=kind)


def keep_answer(connection: Connection, call: IdempotentCall, answer: object) -> None:
    """Store the answer in the transaction of the change; delete those too old to be retried."""
    if not call.context.request_id:
        return
    now = now_us()
    connection.execute(delete(requests).where(requests.c.time < now - REQUESTS_KEPT_US))
    connection.execute(
        insert(requests).values(
            id=call.context.request_id,
            method=call.method,
            target=call.fingerprint,
            answer=msgspec.json.encode(answer, enc_hook=_plain).decode(),
            time=now,
        )
    )


def run_once(
    connection: Connection, call: IdempotentCall, kind: type[T], change: Callable[[], T]
) -> T:
    """Make the change and return its answer; for a retry, return the first call's answer."""
    answer = find_answer(connection, call, kind)
    if answer is None:
        answer = change()
        keep_answer(connection, call, answer)
    return answer


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(type(value).__name__)
