"""Entries, banks and snapshots for the tests of matching."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from featsvc.banks.records import (
    Bank,
    BankSettings,
    Entry,
    EntrySignal,
    Opinion,
    StoreHead,
)
from featsvc.banks.sql.schema import LABEL_SEPARATOR
from featsvc.banks.sql.stored import SignalRow
from featsvc.banks.sql.times import to_us
from featsvc.matching.layers import Layers
from featsvc.matching.matches import Match, MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.matching.rows import row

PDQ = get_algorithm("pdq")
PHASH_16 = get_algorithm("phash-16")
PHASH = get_algorithm("phash")
MD5 = get_algorithm("md5")
SHA256 = get_algorithm("sha256")
SSCD = get_algorithm("sscd@3")

NOW = datetime.now(UTC)
ZERO = b"\x80" + bytes(31)
"""The centre of the values of these tests. 32 zeros are the hash of a plain picture."""


def bits(*positions: int) -> bytes:
    """Return ZERO with these bits set."""
    return int(sum(1 << p for p in {255, *positions})).to_bytes(32, "big")


def far(distance: int) -> bytes:
    """Return a PDQ value at that distance from ZERO."""
    return bits(*range(distance))


def bank(bank_id: str = "b", **options: Any) -> Bank:
    settings = BankSettings(**options)
    return Bank(
        **{name: getattr(settings, name) for name in BankSettings.__dataclass_fields__},
        id=bank_id,
        etag="1",
        revision=1,
        create_time=NOW,
        update_time=NOW,
        entry_count=0,
        signal_counts={},
    )


def entry(entry_id: int, *signals: EntrySignal | bytes, bank_id: str = "b", **fields: Any) -> Entry:
    return Entry(
        id=entry_id,
        bank_id=bank_id,
        external_id=f"x{entry_id}",
        signals=tuple(EntrySignal("pdq", s) if isinstance(s, bytes) else s for s in signals),
        labels=fields.get("labels", ()),
        source=fields.get("source", ""),
        opinion=fields.get("opinion", Opinion.UNSPECIFIED),
        note="",
        expire_time=fields.get("expire_time"),
        added_revision=1,
        removed_revision=None,
        quarantined=fields.get("quarantined", False),
        create_time=NOW,
    )


def rows_of(entries: Sequence[Entry]) -> list[SignalRow]:
    return [
        row(
            e.id,
            bank=e.bank_id,
            labels=LABEL_SEPARATOR.join(e.labels),
            source=e.source,
            opinion=e.opinion.value,
            quarantined=e.quarantined,
            expire_time=None if e.expire_time is None else to_us(e.expire_time),
            algorithm=s.algorithm,
            value=s.value,
            variant=s.variant,
        )
        for e in entries
        for s in e.signals
    ]


def snapshot(entries: Sequence[Entry], *banks: Bank) -> Snapshot:
    """Make a snapshot with half of the entries in the base and the others in layers above it."""
    banks = banks or (bank(),)
    ordered = sorted(entries, key=lambda e: e.id)
    half = len(ordered) // 2
    layers = Layers.on_rows(rows_of(ordered[:half]))
    layers = layers.advance(rows_of(ordered[half:-1]), ()).advance(rows_of(ordered[-1:]), ())
    return Snapshot(StoreHead(1, NOW), banks, layers.views(banks), layers.status())


def match(served: Snapshot, *signals: Signal, **options: Any) -> tuple[Match, ...]:
    return served.match(signals or (Signal(PDQ, ZERO),), MatchOptions(**options)).matches


def ids(matches: Sequence[Match]) -> list[int]:
    return [m.entry_id for m in matches]
