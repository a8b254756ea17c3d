"""One change of the store: its revision, its line in the log, and the answer to a retry."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from featsvc.banks.records import Bank, ChangeContext
from featsvc.banks.sql.schema import banks, entries, entry_signals, head, requests, revisions
from featsvc.banks.sql.stored import bank_of, no_bank
from featsvc.banks.sql.times import now_us
from featsvc.errors import Conflict, InvalidInput

T = TypeVar("T")

REQUESTS_KEPT_US = 7 * 24 * 3600 * 1_000_000
"""How long a request id is remembered."""


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """What a change did to the entries of its bank. `versions` is how many numbers it used up."""

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    versions: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.new or self.changed or self.withdrawn)


NO_EFFECT = ChangeEffect()


@dataclass(frozen=True, slots=True)
class Change:
    """The revision that a writer is about to commit; begin it under the writers' lock."""

    revision: int
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
    ) -> "Change":
        row = connection.execute(select(head)).one()
        # Never backwards, whatever the clock does: readers order by it.
        now = max(now_us(), row.commit_time)
        return cls(row.revision + 1, now, row.next_version, bank_id, action, context)

    def log(self, connection: Connection, effect: ChangeEffect = NO_EFFECT) -> None:
        """Write log, counts and head: the last thing a writer does."""
        connection.execute(
            insert(revisions).values(
                revision=self.revision,
                commit_time=self.now_us,
                bank_id=self.bank_id,
                action=self.action,
                actor=self.context.actor,
                reason=self.context.reason,
                request_id=self.context.request_id,
                file_name=self.file_name,
                file_sha256=self.file_sha256,
                added_entries=effect.new,
                withdrawn_entries=effect.withdrawn,
                changed_entries=effect.changed,
                first_version=self.first_version,
            )
        )
        if not effect.nothing:
            self._count(connection, effect)
        connection.execute(
            update(head).values(
                revision=self.revision,
                commit_time=self.now_us,
                next_version=self.first_version + effect.versions,
            )
        )

    def _count(self, connection: Connection, effect: ChangeEffect) -> None:
        bank = bank_row(connection, self.bank_id)
        counts = Counter(json.loads(bank.signal_counts))
        if effect.versions:
            counts.update(self._signals_added(connection))
        if effect.changed or effect.withdrawn:
            counts.subtract(signals_removed(connection, bank.key, self.revision))
        connection.execute(
            update(banks)
            .where(banks.c.key == bank.key)
            .values(
                entry_count=bank.entry_count + effect.new - effect.withdrawn,
                signal_counts=json.dumps({k: n for k, n in sorted(counts.items()) if n}),
                revision=self.revision,
                update_time=self.now_us,
            )
        )

    def _signals_added(self, connection: Connection) -> dict[str, int]:
        rows = connection.execute(
            select(entry_signals.c.algorithm, func.count().label("signals"))
            .where(entry_signals.c.version >= self.first_version)
            .group_by(entry_signals.c.algorithm)
        )
        return {row.algorithm: row.signals for row in rows}


def signals_removed(connection: Connection, bank_key: int, revision: int) -> dict[str, int]:
    """Algorithm -> signals of the versions that `revision` removed."""
    rows = connection.execute(
        select(entry_signals.c.algorithm, func.count().label("signals"))
        .select_from(entry_signals)
        .join(entries, entries.c.version == entry_signals.c.version)
        .where(entries.c.removed_revision == revision, entries.c.bank_key == bank_key)
        .group_by(entry_signals.c.algorithm)
    )
    return {row.algorithm: row.signals for row in rows}


def bank_row(connection: Connection, bank_id: str) -> Row[tuple[object, ...]]:
    """The bank that is not deleted. Raises NotFound."""
    live = banks.c.removed_revision.is_(None)
    row = connection.execute(select(banks).where(banks.c.id == bank_id, live)).first()
    if row is None:
        raise no_bank(bank_id)
    return row


def check_etag(bank: Row[tuple[object, ...]], etag: str, *, settings_only: bool = False) -> None:
    """Raises Conflict where the bank is not any more what its reader saw.

    An empty etag asks for no check. An etag names settings and entries; a change of the settings
    alone does not mind what happened to the entries.
    """
    seen, now = etag, bank_of(bank).etag
    if settings_only:
        seen, now = seen.partition("-")[0], now.partition("-")[0]
    if etag and seen != now:
        raise Conflict(
            f"etag: bank {bank.id!r} was changed since it was read, last by revision "
            f"{bank.revision}; read it again, then decide again"
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A call that a client may retry. `arguments` tell it from another call with the same id."""

    context: ChangeContext
    method: str
    target: str
    arguments: object = ()

    @property
    def _told(self) -> str:
        # A thousand entries with their notes would be megabytes.
        arguments = hashlib.blake2b(repr(self.arguments).encode(), digest_size=16)
        return f"{self.target} {arguments.hexdigest()}"


def find_answer(connection: Connection, request: Request, kind: type[T]) -> T | None:
    """The answer to the first call with this request id.

    Raises InvalidInput where that was another call.
    """
    if not request.context.request_id:
        return None
    row = connection.execute(
        select(requests).where(requests.c.id == request.context.request_id)
    ).first()
    if row is None:
        return None
    if (row.method, row.target) != (request.method, request._told):
        raise InvalidInput(
            f"context.request_id: {request.context.request_id!r} was used for another call "
            f"({row.method}); every call needs an id of its own",
            field="context.request_id",
        )
    return msgspec.json.decode(row.answer, type=kind)


def keep_answer(connection: Connection, request: Request, answer: object) -> None:
    """Remember it in the transaction of the change; forget what nobody will retry."""
    if not request.context.request_id:
        return
    now = now_us()
    connection.execute(delete(requests).where(requests.c.time < now - REQUESTS_KEPT_US))
    connection.execute(
        insert(requests).values(
            id=request.context.request_id,
            method=request.method,
            target=request._told,
            answer=msgspec.json.encode(answer, enc_hook=_plain).decode(),
            time=now,
        )
    )


def once(connection: Connection, request: Request, kind: type[T], change: Callable[[], T]) -> T:
    """What `change` returns; for a retry, what it returned the first time."""
    answer = find_answer(connection, request, kind)
    if answer is None:
        answer = change()
        keep_answer(connection, request, answer)
    return answer


def _plain(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(type(value).__name__)


def read_bank(connection: Connection, bank_id: str) -> Bank:
    """Raises NotFound."""
    return bank_of(bank_row(connection, bank_id))
