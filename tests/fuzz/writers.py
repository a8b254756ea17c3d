"""Curators of a shared store: changes through services, and through a store in this process."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import banks_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import Bank, ChangeContext, EntrySignal
from featsvc.banks.sql.schema import LABEL_SEPARATOR
from featsvc.errors import FeatsvcError, TimedOut, Unavailable
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS
from featsvc.signals.vectors import vector_of
from tests.fuzz.banks import BANKS, FIRST_BANKS, VECTOR, Banks
from tests.fuzz.expected import State
from tests.fuzz.history import History
from tests.fuzz.journal import Change, Check, Content, Journal, Outcome, Step, contents
from tests.fuzz.questions import as_sent
from tests.fuzz.tally import Tally
from tests.integration.running import own_connection
from tests.patience import PATIENCE_S

LARGE_ROWS = 5_100
"""Versions that are written in pieces."""
_TRIES = 3
_REFUSED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
_UNKNOWN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
Addresses = Callable[[], Sequence[str]]
"""Returns the addresses of the services that run."""
Stub = banks_pb2_grpc.BankServiceStub


class SharedBanks(Banks):
    """Banks whose past others write, too; changes in this process are noted in the journal."""

    def __init__(
        self, rng: random.Random, url: str, seeds: int, history: History, journal: Journal
    ) -> None:
        super().__init__(rng, url, random.Random(seeds))
        self._shared = history
        self._journal = journal
        self._change: Change | None = None

    @property
    def newest(self) -> State:
        return self._shared.newest

    @property
    def context(self) -> ChangeContext:  # type: ignore[override]
        assert self._change is not None, "only while a change is made"
        return self._change.context

    def named(self, bank: str) -> str:
        if self._change is not None:
            self._change.bank = bank
        return bank

    def begin(self) -> None:
        """Create the first banks."""
        for bank, settings in FIRST_BANKS.items():
            change = self._journal.ask("begin", bank)
            change.acknowledge(self.store.create_bank(bank, settings, change.context).revision)

    def record(self) -> None:
        """The history reads it from the database."""

    def make(self, change: Callable[[], int]) -> None:
        self._change = noted = self._journal.ask("store", "")
        try:
            noted.acknowledge(change())
        except (Unavailable, TimedOut):
            raise
        except FeatsvcError:
            noted.outcome = Outcome.REFUSED
            raise
        finally:
            self._change = None


class Curator:
    """Changes the banks through any of the services."""

    def __init__(
        self, banks: SharedBanks, journal: Journal, addresses: Addresses, tally: Tally, place: str
    ) -> None:
        self._banks = banks
        self._rng = banks.rng
        self._journal = journal
        self._addresses = addresses
        self._tally = tally
        self._place = place

    def change(self) -> str:
        """Make one random change; return its name."""
        weights = {
            self._add: 8,
            self._import: 4,
            self._import_large: 0.15,
            self._withdraw: 3,
            self._quarantine: 2,
            self._update: 2,
            self._create: 1,
            self._delete: 0.3,
            self._roll_back: 1.5,
        }
        (kind,) = self._rng.choices(list(weights), list(weights.values()))
        return f"{kind.__name__.strip('_')} over gRPC {kind()}"

    def _make(self, change: Change, call: Callable[[Stub], int]) -> str:
        """Ask one service after another, as a client that repeats a call does."""
        for attempt in range(_TRIES):
            address = self._rng.choice(self._addresses() or [""])
            if not address:
                time.sleep(0.1)
                continue
            try:
                with own_connection(address) as channel:
                    change.acknowledge(call(Stub(channel)))
            except grpc.RpcError as exc:
                code = exc.code()
                # The first attempt may be committed yet, after the next one has looked.
                if code in _REFUSED and not attempt:
                    change.outcome = Outcome.REFUSED
                if code is grpc.StatusCode.DEADLINE_EXCEEDED or code not in _REFUSED | _UNKNOWN:
                    self._tally.wrong.append(
                        f"{self._place}: {change.reason}: {code.name} {exc.details()}"
                    )
                if code not in _UNKNOWN:
                    return f"refused ({code.name})"
            else:
                return ""
        return "without an answer"

    def _rows(self, change: Change, count: int) -> list[ImportRow]:
        """Return entries that nobody else has."""
        rows = (self._banks.row() for _ in range(count))
        return [row._replace(external_id=f"{change.reason}/{i}") for i, row in enumerate(rows)]

    def _add(self) -> str:
        change = self._journal.ask("add", self._banks.bank())
        rows = self._rows(change, self._rng.choice((1, 1, 2, 5, 30)))
        change.check = holds_new(rows)
        request = pb.AddEntriesRequest(
            parent=f"banks/{change.bank}",
            entries=[_entry_message(row) for row in rows],
            context=_context(change),
        )
        return self._make(
            change, lambda stub: stub.AddEntries(request, timeout=PATIENCE_S).revision
        )

    def _import(self) -> str:
        change = self._journal.ask("import", self._banks.bank())
        rows = [
            row._replace(signals=tuple(s for s in row.signals if s.algorithm != VECTOR))
            for row in self._rows(change, self._rng.choice((1, 5, 40)))
        ]
        return self._import_rows(change, [row for row in rows if row.signals])

    def _import_large(self) -> str:
        change = self._journal.ask("large import", self._banks.bank())
        md5 = [EntrySignal("md5", self._rng.randbytes(16)) for _ in range(LARGE_ROWS)]
        rows = [ImportRow(1, (s,), f"{change.reason}/{i}") for i, s in enumerate(md5)]
        return self._import_rows(change, rows)

    def _import_rows(self, change: Change, rows: Sequence[ImportRow]) -> str:
        change.check = holds_new(rows)
        options = pb.ImportOptions(
            parent=f"banks/{change.bank}", file_name="list.jsonl", context=_context(change)
        )
        content = b"".join(map(_line, rows))

        def call(stub: Stub) -> int:
            requests = [
                pb.ImportEntriesRequest(options=options),
                pb.ImportEntriesRequest(chunk=content),
            ]
            *_, last = stub.ImportEntries(iter(requests), timeout=PATIENCE_S)
            return int(last.revision)

        return self._make(change, call)

    def _withdraw(self) -> str:
        bank, entries = self._banks.some_entries()
        if not entries:
            return "not made"
        gone = set(entries)

        def check(step: Step) -> bool:
            kept = {entry: row for entry, row in step.before.items() if entry not in gone}
            return gone <= step.before.keys() and step.after == kept

        change = self._journal.ask("withdraw", bank, check)
        request = pb.WithdrawEntriesRequest(
            parent=f"banks/{bank}", names=_names(bank, entries), context=_context(change)
        )
        return self._make(
            change, lambda stub: stub.WithdrawEntries(request, timeout=PATIENCE_S).revision
        )

    def _quarantine(self) -> str:
        bank, entries = self._banks.some_entries()
        if not entries:
            return "not made"

        def check(step: Step) -> bool:
            put = {entry: step.before[entry]._replace(quarantined=True) for entry in entries}
            return step.after == {**step.before, **put}

        change = self._journal.ask("quarantine", bank, check)
        request = pb.QuarantineEntriesRequest(
            parent=f"banks/{bank}", names=_names(bank, entries), context=_context(change)
        )
        return self._make(
            change, lambda stub: stub.QuarantineEntries(request, timeout=PATIENCE_S).revision
        )

    def _update(self) -> str:
        bank, settings = self._banks.bank(), self._banks.settings()

        def check(step: Step) -> bool:
            found = step.new.banks[bank]
            return step.before == step.after and has_settings(found, settings)

        change = self._journal.ask("update", bank, check)
        message = _bank_message(change, settings)
        message.name = f"banks/{bank}"
        request = pb.UpdateBankRequest(
            bank=message,
            # The name is another one each time: every update is a revision.
            update_mask=FieldMask(paths=["display_name", *settings]),
            context=_context(change),
        )
        return self._make(
            change, lambda stub: stub.UpdateBank(request, timeout=PATIENCE_S).revision
        )

    def _create(self) -> str:
        bank, settings = self._rng.choice(BANKS), self._banks.settings()

        def check(step: Step) -> bool:
            is_new = bank not in step.old.banks and not step.after
            # A new bank that names no variants has the default ones.
            settings["query_variants"] = settings["query_variants"] or DEFAULT_QUERY_VARIANTS
            return is_new and has_settings(step.new.banks[bank], settings)

        change = self._journal.ask("create", bank, check)
        request = pb.CreateBankRequest(
            bank_id=bank, bank=_bank_message(change, settings), context=_context(change)
        )
        return self._make(
            change, lambda stub: stub.CreateBank(request, timeout=PATIENCE_S).revision
        )

    def _delete(self) -> str:
        if len(self._banks.newest.banks) == 1:
            return "not made"
        bank = self._banks.bank()
        change = self._journal.ask(
            "delete", bank, lambda step: bank not in step.new.banks and not step.after
        )
        request = pb.DeleteBankRequest(name=f"banks/{bank}", force=True, context=_context(change))
        return self._make(
            change, lambda stub: stub.DeleteBank(request, timeout=PATIENCE_S).revision
        )

    def _roll_back(self) -> str:
        bank = self._banks.bank()
        revision = self._rng.randint(1, self._banks.newest.head.revision)

        def check(step: Step) -> bool:
            past, found = step.past[revision], step.new.banks[bank]
            then = past.banks.get(bank)
            if then is None or then.create_time != found.create_time:
                return True  # It was another bank, or none.
            wanted = Counter(contents(past).get(bank, {}).values())
            return Counter(step.after.values()) == wanted and then == found

        change = self._journal.ask("rollback", bank, check)
        request = pb.RollbackBankRequest(
            name=f"banks/{bank}", revision=revision, context=_context(change)
        )
        return self._make(
            change, lambda stub: stub.RollbackBank(request, timeout=PATIENCE_S).revision
        )


def holds_new(rows: Sequence[ImportRow]) -> Check:
    """Check that exactly these entries are new."""

    def check(step: Step) -> bool:
        new = Counter(row for entry, row in step.after.items() if entry not in step.before)
        kept = {entry: row for entry, row in step.after.items() if entry in step.before}
        return new == Counter(map(_content, rows)) and kept == step.before

    return check


def has_settings(bank: Bank, settings: Mapping[str, Any]) -> bool:
    """Return whether a bank has these settings; the order of variants is the store's."""
    made = {name: getattr(bank, name) for name in settings}
    variants = made.pop("query_variants"), settings["query_variants"]
    others = {name: value for name, value in settings.items() if name in made}
    return made == others and sorted(variants[0]) == sorted(variants[1])


def _content(row: ImportRow) -> Content:
    signals = frozenset(
        (s.algorithm, _stored(s), s.variant, get_algorithm(s.algorithm).version)
        for s in row.signals
    )
    labels, expires = LABEL_SEPARATOR.join(row.labels), row.expire_time
    expire_us = None if expires is None else round(expires.timestamp() * 1_000_000)
    opinion = row.opinion.value
    return Content(row.external_id, row.source, labels, opinion, False, expire_us, signals)


def _stored(signal: EntrySignal) -> bytes:
    return as_sent(Signal(get_algorithm(signal.algorithm), signal.value)).value


def _entry_message(row: ImportRow) -> pb.Entry:
    message = pb.Entry(
        external_id=row.external_id,
        labels=row.labels,
        source=row.source,
        opinion=f"OPINION_{row.opinion.name}",
    )
    if row.expire_time is not None:
        message.expire_time.FromDatetime(row.expire_time)
    for signal in row.signals:
        if signal.algorithm == VECTOR:
            values = vector_of(signal.value).tolist()
            message.vectors.add(model=VECTOR, values=values, variant=signal.variant)
        else:
            message.signals.add(
                algorithm=signal.algorithm, value=signal.text, variant=signal.variant
            )
    return message


def _line(row: ImportRow) -> bytes:
    signals = [
        {"algorithm": s.algorithm, "signal": s.text, "variant": s.variant} for s in row.signals
    ]
    made: dict[str, object] = {"external_id": row.external_id, "signals": signals}
    made |= {"labels": row.labels, "source": row.source, "opinion": row.opinion.value}
    if row.expire_time is not None:
        made["expire_time"] = row.expire_time.isoformat()
    return json.dumps(made).encode() + b"\n"


def _bank_message(change: Change, settings: Mapping[str, Any]) -> pb.Bank:
    rest = {name: value for name, value in settings.items() if name != "mode"}
    return pb.Bank(display_name=change.reason, mode=f"BANK_MODE_{settings['mode'].name}", **rest)


def _names(bank: str, entries: Sequence[int]) -> list[str]:
    return [f"banks/{bank}/entries/{entry}" for entry in entries]


def _context(change: Change) -> pb.ChangeContext:
    context = change.context
    return pb.ChangeContext(reason=context.reason, request_id=context.request_id)
