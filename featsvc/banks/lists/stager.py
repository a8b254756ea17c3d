"""Turns rows of a list into rows of the temporary tables."""

import hashlib
from array import array
from operator import attrgetter
from typing import NamedTuple

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import (
    MAX_FOREIGN_VARIANTS,
    EntrySignal,
    initial_version,
    stored_version,
)
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql.identity import external_identity, identity_of
from featsvc.banks.sql.schema import LABEL_SEPARATOR
from featsvc.banks.sql.temporary import ROW_ORDINALS
from featsvc.banks.sql.times import to_us
from featsvc.errors import InvalidInput
from featsvc.signals.variants import VARIANTS

_DETAILS_KEPT = 4_096
MAX_HASHES = 2**23
"""64 MiB of hashes; with more the database finds the duplicates."""

StagedRow = tuple[int, str, bytes, str, int, bytes]
STAGED_COLUMNS = ("row", "identity", "digest", "external_id", "details", "value")
"""Columns of a `StagedRow`, a plain tuple: the driver needs one, and a list has millions."""


class WithdrawalRow(NamedTuple):
    """A row of `import_withdrawals`."""

    row: int
    line: int
    identity: str
    external_id: str
    source: str
    algorithm: str
    algorithm_version: int
    value: bytes


_row_fields = attrgetter("labels", "source", "opinion", "note", "expire_time")
_signal_fields = attrgetter("algorithm", "variant", "quality", "version")


class DetailsRow(NamedTuple):
    """A row of `import_details`."""

    key: int
    labels: str
    source: str
    opinion: str
    note: str
    expire_time: int | None
    algorithm: str
    variant: str
    quality: int | None
    algorithm_version: int


class _Details(NamedTuple):
    """Values that most rows of a list share, prepared once; `key` is that of their row."""

    digest: hashlib.blake2b
    key: int


class Stager:
    """Turns rows of a list into rows of the temporary tables.

    `identities` and `signals` collect 64-bit hashes, which show that a file has no duplicates
    without sorting its rows; with more than `MAX_HASHES` they are not used.
    """

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._known: dict[object, _Details] = {}
        self._last: object = None
        self._last_details = _Details(hashlib.blake2b(), 0)
        self._next_key = 1
        self.details: list[DetailsRow] = []
        """Rows that are not written yet."""
        self.withdrawals: list[WithdrawalRow] = []
        """Rows that are not written yet."""
        self.sources: set[str] = set()
        """Of the rows, as far as they are prepared; "" for rows without one."""
        self.withdrawn_sources: set[str] = set()
        """Of the rows that withdraw."""
        self.identities = array("q")
        self.signals = array("q")
        self.any_withdrawn = False
        self._foreign: set[str] = set()

    def rows(self, number: int, row: ImportRow) -> list[StagedRow]:
        """Return the rows of the `number`-th row of the list, one for each signal."""
        signals, external_id = row.signals, row.external_id
        key = number * ROW_ORDINALS
        source = row.source or self._options.source
        if row.withdrawn:
            self._withdraw(key, row, source)
            return []
        identity = identity_of(external_id, source, signals)
        self.identities.append(hash(identity))
        if len(signals) > 1:
            return self._several(key, identity, row)
        value = signals[0].value
        self.signals.append(hash(value))
        details = self._details_of(row, signals[0])
        digest = details.digest.copy()
        digest.update(external_id.encode() + value)
        return [(key, identity, digest.digest(), external_id, details.key, value)]

    def _withdraw(self, key: int, row: ImportRow, source: str) -> None:
        self.any_withdrawn = True
        self.withdrawn_sources.add(source)
        identity = external_identity(row.external_id, source) if row.external_id else ""
        signals = [
            (s.algorithm, stored_version(s.algorithm, s.version, field="signals"), s.value)
            for s in row.signals
        ]
        self.withdrawals += (
            WithdrawalRow(key + ordinal, row.line, identity, row.external_id, source, *signal)
            for ordinal, signal in enumerate(signals or [("", 0, b"")])
        )

    def _several(self, key: int, identity: str, row: ImportRow) -> list[StagedRow]:
        staged = []
        digests = []
        for signal in row.signals:
            self.signals.append(hash(signal.value))
            details = self._details_of(row, signal)
            staged.append((details.key, signal.value))
            digest = details.digest.copy()
            digest.update(row.external_id.encode() + signal.value)
            digests.append(digest.digest())
        # Entries whose signals differ in order only are equal.
        whole = hashlib.blake2b(b"".join(sorted(digests)), digest_size=16).digest()
        return [
            (key + ordinal, identity, whole, row.external_id, details_key, value)
            for ordinal, (details_key, value) in enumerate(staged)
        ]

    def _details_of(self, row: ImportRow, signal: EntrySignal) -> _Details:
        shared = _row_fields(row), _signal_fields(signal)
        # Comparing with the previous row is faster than hashing nine fields.
        if shared != self._last:
            self._last = shared
            self._last_details = self._known.get(shared) or self._prepare(shared, row, signal)
        return self._last_details

    def _prepare(self, shared: object, row: ImportRow, signal: EntrySignal) -> _Details:
        labels = tuple(dict.fromkeys((*row.labels, *self._options.labels)))
        source = row.source or self._options.source
        expire_us = None if row.expire_time is None else to_us(row.expire_time)
        algorithm = signal.algorithm
        version = stored_version(algorithm, signal.version, field="signals")
        self._check_foreign(signal.variant)
        # Without the initial version: entries stored before there were versions keep their digest.
        initial = version == initial_version(algorithm)
        parts = (
            "\1".join(sorted(labels)),
            source,
            row.opinion.value,
            row.note,
            str(expire_us),
            algorithm if initial else f"{algorithm}\1{version}",
            signal.variant,
            str(signal.quality),
            "",
        )
        if len(self._known) >= _DETAILS_KEPT:
            self._known.clear()
        digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
        self.sources.add(source)
        details = self._known[shared] = _Details(digest, self._next_key)
        self.details.append(
            DetailsRow(
                key=self._next_key,
                labels=LABEL_SEPARATOR.join(labels),
                source=source,
                opinion=row.opinion.value,
                note=row.note,
                expire_time=expire_us,
                algorithm=algorithm,
                variant=signal.variant,
                quality=signal.quality,
                algorithm_version=version,
            )
        )
        self._next_key += 1
        return details

    def _check_foreign(self, variant: str) -> None:
        """Raises InvalidInput for one more unknown name of a variant than a list may have."""
        if variant not in VARIANTS and variant not in self._foreign:
            if len(self._foreign) >= MAX_FOREIGN_VARIANTS:
                raise InvalidInput.at(
                    "variant",
                    f"{variant!r} is one more name than the {MAX_FOREIGN_VARIANTS} that a list may "
                    "use beside this build's; is it an id?",
                )
            self._foreign.add(variant)

    def trim(self) -> None:
        """Limit the hashes to one more than `MAX_HASHES`, which says that they are useless."""
        for hashes in (self.identities, self.signals):
            del hashes[MAX_HASHES + 1 :]
