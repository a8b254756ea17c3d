"""Rows of a list in, rows of the temporary tables out: what identifies, what differs, what is
shared."""

import hashlib
from array import array
from typing import NamedTuple

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal, first_version, stored_version
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql.identity import identity_of
from featsvc.banks.sql.schema import LABEL_SEPARATOR, ROW_ORDINALS, WITHDRAWN
from featsvc.banks.sql.times import to_us

_DETAILS_KEPT = 4_096
MAX_HASHES = 2**23
"""64 MiB; larger files are searched for duplicates by the database."""

StagedRow = tuple[int, str, bytes, str, int, bytes]
STAGED_COLUMNS = ("row", "identity", "digest", "external_id", "details", "value")
"""Of a `StagedRow`. A plain tuple, since the driver takes nothing else and a list has millions."""


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
    """What most rows of a list have in common, prepared once. `key` is that of its row."""

    digest: hashlib.blake2b
    key: int


class Stager:
    """Rows of a list in, rows of the temporary tables out.

    `identities` and `signals` collect 64-bit hashes, which show a file without duplicates
    without sorting its rows; past `MAX_HASHES` they are given up.
    """

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._known: dict[object, _Details] = {}
        self._last: object = None
        self._last_details = _Details(hashlib.blake2b(), WITHDRAWN)
        self._next_key = WITHDRAWN + 1
        self.details: list[DetailsRow] = []
        """Those that are not written yet."""
        self.identities = array("q")
        self.signals = array("q")
        self.any_withdrawn = False

    def rows(self, number: int, row: ImportRow) -> list[StagedRow]:
        signals, external_id = row.signals, row.external_id
        source = row.source or self._options.source
        identity = identity_of(external_id, source, signals)
        self.identities.append(hash(identity))
        key = number * ROW_ORDINALS
        if row.withdrawn:
            self.any_withdrawn = True
            return [(key, identity, b"", external_id, WITHDRAWN, b"")]
        if len(signals) > 1:
            return self._several(key, identity, row)
        value = signals[0].value
        self.signals.append(hash(value))
        details = self._details_of(row, signals[0])
        digest = details.digest.copy()
        digest.update(external_id.encode() + value)
        return [(key, identity, digest.digest(), external_id, details.key, value)]

    def _several(self, key: int, identity: str, row: ImportRow) -> list[StagedRow]:
        found = []
        digests = []
        for signal in row.signals:
            self.signals.append(hash(signal.value))
            details = self._details_of(row, signal)
            found.append((details.key, signal.value))
            digest = details.digest.copy()
            digest.update(row.external_id.encode() + signal.value)
            digests.append(digest.digest())
        # The order of signals is no difference.
        whole = hashlib.blake2b(b"".join(sorted(digests)), digest_size=16).digest()
        return [
            (key + ordinal, identity, whole, row.external_id, details_key, value)
            for ordinal, (details_key, value) in enumerate(found)
        ]

    def _details_of(self, row: ImportRow, signal: EntrySignal) -> _Details:
        shared = (
            row.labels, row.source, row.opinion, row.note, row.expire_time,
            signal.algorithm, signal.variant, signal.quality, signal.version,
        )  # fmt: skip
        # Comparing with the row before is faster than hashing nine fields.
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
        # A first version is left out: entries stored before versions have the same digest.
        versioned = algorithm if version == first_version(algorithm) else f"{algorithm}\1{version}"
        parts = (
            "\1".join(sorted(labels)), source, row.opinion.value, row.note, str(expire_us),
            versioned, signal.variant, str(signal.quality), "",
        )  # fmt: skip
        if len(self._known) >= _DETAILS_KEPT:
            self._known.clear()
        digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16)
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

    def trim(self) -> None:
        """Keep the hashes within their cap; one that is full is of no use any more."""
        for hashes in (self.identities, self.signals):
            del hashes[MAX_HASHES + 1 :]
