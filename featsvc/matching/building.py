"""Builds parts of an index from the rows of a store.

Rows come in batches. A batch of good rows is added column by column; one that holds anything else
is added row by row, which takes three times as long. A signal that cannot be searched is set aside
(`featsvc.matching.set_aside`), and the rest is built: no row raises anything.
"""

import logging
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from operator import attrgetter
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Opinion
from featsvc.banks.sql.stored import SignalRow, split_stored_labels
from featsvc.matching import set_aside
from featsvc.matching.engines import build_engine
from featsvc.matching.hits import Engine
from featsvc.matching.parts import (
    NEGATIVE,
    NEVER_US,
    QUARANTINED,
    EntryColumns,
    Part,
    SharedStrings,
    SignalIndex,
)
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.matching.values import RaggedArray, Values, take
from featsvc.signals.algorithms import Algorithm, find_algorithm

_log = logging.getLogger(__name__)

_BATCH_ROWS = 5_000
_DAMAGED = (TypeError, ValueError, AttributeError, LookupError, OverflowError)
"""What a column raises that holds something of another type; SQLite stores any type anywhere."""
_FLAG = (0, QUARANTINED)
_NEGATIVE = Opinion.NEGATIVE.value
MAX_NAME_CHARS = 80
"""Of an algorithm that this build does not know, whose name may be anything."""

_Columns: TypeAlias = Any
"""A SignalRow with a sequence in each field: the columns of several rows."""
BuildEngine = Callable[[Algorithm, Values], Engine]


class _StringNumbers(dict[str, int]):
    """Numbers strings in the order in which they first appear. Raises one of _DAMAGED."""

    def __missing__(self, text: str) -> int:
        text.encode()
        number = self[text] = len(self)
        return number


class _EntryBuilder:
    """The columns of EntryColumns, and the strings, while they grow."""

    def __init__(self) -> None:
        self.version, self.id = array("q"), array("q")
        self.expire_us, self.name_ends = array("q"), array("q")
        self.source, self.labels, self.bank = array("I"), array("I"), array("I")
        self.flags = array("B")
        self.names = bytearray()
        self.banks, self.sources, self.label_sets = (_StringNumbers() for _ in range(3))

    def add(self, row: SignalRow) -> bool:
        """Add an entry; return whether its row is whole. A damaged one adds nothing."""
        count, end = len(self.version), len(self.names)
        try:
            self.names += row.external_id.encode()
            self.name_ends.append(len(self.names))
            self.id.append(row.id)
            self.expire_us.append(NEVER_US if row.expire_time is None else row.expire_time)
            self.source.append(self.sources[row.source])
            self.labels.append(self.label_sets[row.labels])
            self.bank.append(self.banks[row.bank_id])
            negative = NEGATIVE if row.opinion == _NEGATIVE else 0
            self.flags.append(negative | _FLAG[row.quarantined])
        except _DAMAGED:
            for column in (
                self.name_ends,
                self.id,
                self.expire_us,
                self.source,
                self.labels,
                self.bank,
                self.flags,
            ):
                del column[count:]
            del self.names[end:]
            return False
        self.version.append(row.version)
        return True

    def add_columns(self, columns: _Columns) -> None:
        """Add all entries of these columns, or none. Raises one of _DAMAGED."""
        names = [name.encode() for name in columns.external_id]
        ends = np.cumsum(np.fromiter(map(len, names), np.int64, len(names))) + len(self.names)
        number, version = array("q", columns.id), array("q", columns.version)
        expire_us = array("q", [NEVER_US if at is None else at for at in columns.expire_time])
        source = array("I", map(self.sources.__getitem__, columns.source))
        labels = array("I", map(self.label_sets.__getitem__, columns.labels))
        bank = array("I", map(self.banks.__getitem__, columns.bank_id))
        quarantined = array("B", map(_FLAG.__getitem__, columns.quarantined))
        negative = bytes(NEGATIVE * (opinion == _NEGATIVE) for opinion in columns.opinion)
        self.names += b"".join(names)
        self.name_ends.frombytes(ends.tobytes())
        self.id += number
        self.version += version
        self.expire_us += expire_us
        self.source += source
        self.labels += labels
        self.bank += bank
        flags = np.frombuffer(quarantined, np.uint8) | np.frombuffer(negative, np.uint8)
        self.flags.frombytes(flags.tobytes())

    def columns(self) -> EntryColumns:
        return EntryColumns(
            version=np.array(self.version, np.int64),
            id=np.array(self.id, np.int64),
            expire_us=np.array(self.expire_us, np.int64),
            name_ends=np.array(self.name_ends, np.int64),
            source=np.array(self.source, np.uint32),
            labels=np.array(self.labels, np.uint32),
            bank=np.array(self.bank, np.uint32),
            flags=np.array(self.flags, np.uint8),
            names=np.frombuffer(bytes(self.names), np.uint8),
        )


def part_name(algorithm: object) -> str:
    """Return the name of an algorithm in parts: any name fits."""
    return str(algorithm)[:MAX_NAME_CHARS].encode(errors="replace").decode()


class _SignalColumns:
    """The columns of a SignalIndex while they grow.

    `width`: the length of a value in bytes; 0 before the first one, and where values may have any
    length. `ends` is filled only for those. `version` is -1, which no row has, for an algorithm
    that this build does not know; such signals, and those of other versions, are `unlike`.
    """

    def __init__(self, name: object, dimensions: Mapping[str, int]) -> None:
        self.kind = find_algorithm(name) if isinstance(name, str) else None
        self.name = part_name(name)
        self.matched = self.kind is None or self.kind.matched
        self.version = -1 if self.kind is None else self.kind.version
        self.unlike = set_aside.UNKNOWN_ALGORITHM if self.kind is None else set_aside.OTHER_VERSION
        self.ragged = self.kind is not None and not self.kind.distance.rows
        known = 0 if self.kind is None else self.kind.bytes or 4 * dimensions.get(self.name, 0)
        self.width = 0 if self.ragged else known
        self.values = bytearray()
        self.ends = array("q")
        self.entry, self.variant = array("I"), array("I")

    def add(self, value: bytes, entry: int, variant: int) -> bool:
        """Add a signal; return whether its length is right. Raises one of _DAMAGED."""
        if len(value) != self.width and not self.ragged:
            if self.width or not value:
                return False
            self.width = len(value)
        self.values += value
        if self.ragged:
            self.ends.append(len(self.values))
        self.entry.append(entry)
        self.variant.append(variant)
        return True

    def takes(self, lengths: NDArray[np.int64]) -> bool:
        """Return whether values of these lengths are all of the right one."""
        return bool((lengths == (self.width or lengths[0])).all() and lengths[0])

    def add_columns(
        self,
        values: bytes,
        lengths: NDArray[np.int64],
        entry: NDArray[np.uint32],
        variant: "array[int]",
    ) -> None:
        """Add signals, of lengths that are right."""
        if self.ragged:
            self.ends.frombytes((np.cumsum(lengths) + len(self.values)).tobytes())
        else:
            self.width = int(lengths[0])
        self.values += values
        self.entry.frombytes(entry.tobytes())
        self.variant += variant

    def as_values(self) -> Values:
        # Not a copy: the values of a million vectors are a gigabyte.
        data = np.frombuffer(self.values, np.uint8)
        data.flags.writeable = False
        if self.ragged:
            return RaggedArray(data, np.array(self.ends, np.int64))
        return data.reshape(len(self.entry), self.width)


class _AsideBuilder:
    """The rows of SetAsideColumns while they grow."""

    def __init__(self, banks: _StringNumbers) -> None:
        self._banks = banks
        self._rows: list[tuple[int, int, int, int]] = []
        self.causes: dict[tuple[str, str], int] = {}

    def add(self, row: SignalRow, algorithm: str, reason: str) -> None:
        number = row.id if isinstance(row.id, int) else 0
        bank = self._banks[row.bank_id if isinstance(row.bank_id, str) else ""]
        self._rows.append((row.version, number, bank, self._cause(algorithm, reason)))

    def add_rows(
        self, entries: EntryColumns, rows: NDArray[np.uint32], algorithm: str, reason: str
    ) -> None:
        """Add a signal of each of these rows of entries."""
        cause = self._cause(algorithm, reason)
        columns = entries.version[rows], entries.id[rows], entries.bank[rows]
        for version, number, bank in zip(*(column.tolist() for column in columns), strict=True):
            self._rows.append((version, number, bank, cause))

    def _cause(self, algorithm: str, reason: str) -> int:
        return self.causes.setdefault((algorithm, reason), len(self.causes))

    def columns(self) -> SetAsideColumns:
        return SetAsideColumns.of(self._rows)


class _PartBuilder:
    """The columns of a part while they grow."""

    def __init__(self, dimensions: Mapping[str, int]) -> None:
        self.entries, self.variants = _EntryBuilder(), _StringNumbers()
        self.aside = _AsideBuilder(self.entries.banks)
        self.signals: dict[str, _SignalColumns] = {}
        self._dimensions = dimensions
        self._last, self._whole = -1, False

    def _columns_of(self, algorithm: str) -> _SignalColumns:
        columns = self.signals.get(algorithm)
        if columns is None:
            columns = self.signals[algorithm] = _SignalColumns(algorithm, self._dimensions)
        return columns

    def add(self, row: SignalRow) -> None:
        if row.version != self._last:
            self._last = row.version
            self._whole = self.entries.add(row)
        columns = self._columns_of(row.algorithm)
        if not columns.matched and self._whole:
            return
        if not self._whole:
            reason = set_aside.DAMAGED_ROW
        elif row.algorithm_version != columns.version:
            reason = columns.unlike
        else:
            try:
                variant = self.variants[row.variant]
                if columns.add(row.value, len(self.entries.version) - 1, variant):
                    return
                reason = set_aside.WRONG_LENGTH
            except _DAMAGED:
                reason = set_aside.DAMAGED_ROW
        self.aside.add(row, columns.name, reason)

    def add_batch(self, batch: Sequence[SignalRow]) -> bool:
        """Add rows if all are good; return whether they were added."""
        rows = _columns(zip(*batch, strict=True))
        try:
            versions = np.array(array("q", rows.version))
            is_first = np.diff(versions, prepend=self._last) != 0
            if not (self._whole or is_first[0]):
                return False
            entry = (np.cumsum(is_first) + len(self.entries.version) - 1).astype(np.uint32)
            groups = [
                _Group(name, self._columns_of(name), rows, entry, self.variants)
                for name in dict.fromkeys(rows.algorithm)
            ]
            if not all(group.good for group in groups):
                return False
            firsts = rows if is_first.all() else _chosen(rows, is_first)
            self.entries.add_columns(firsts)
        except _DAMAGED:
            return False
        for group in groups:
            group.add()
        self._last, self._whole = int(versions[-1]), True
        return True

    def build(self, build: BuildEngine) -> Part:
        entries = self.entries.columns()
        indexes = dict(_indexes(self.signals.values(), build, entries, self.aside))
        strings = SharedStrings(
            banks=tuple(self.entries.banks),
            sources=tuple(self.entries.sources),
            labels=tuple(split_stored_labels(stored) for stored in self.entries.label_sets),
            variants=tuple(self.variants),
            causes=tuple(self.aside.causes),
        )
        return Part(entries, strings, indexes, self.aside.columns())


class _Group:
    """The signals of one algorithm in a batch. Raises one of _DAMAGED."""

    def __init__(
        self,
        name: str,
        columns: _SignalColumns,
        rows: _Columns,
        entry: NDArray[np.uint32],
        variants: _StringNumbers,
    ) -> None:
        self._columns = columns
        of_algorithm = np.array([algorithm == name for algorithm in rows.algorithm])
        if not of_algorithm.all():
            rows, entry = _chosen(rows, of_algorithm), entry[of_algorithm]
        self.good = columns.kind is not None
        if not (self.good and columns.matched):
            return
        self._lengths = np.fromiter(map(len, rows.value), np.int64, len(entry))
        self._values, self._entry = b"".join(rows.value), entry
        self._variant = array("I", map(variants.__getitem__, rows.variant))
        same_version = rows.algorithm_version.count(columns.version) == len(entry)
        self.good = same_version and (columns.ragged or columns.takes(self._lengths))

    def add(self) -> None:
        if self._columns.matched:
            self._columns.add_columns(self._values, self._lengths, self._entry, self._variant)


def _columns(columns: Iterable[Sequence[object]]) -> _Columns:
    return cast("_Columns", SignalRow)(*columns)


def _chosen(rows: _Columns, chosen: NDArray[np.bool_]) -> _Columns:
    """Return the columns of some of the rows."""
    return _columns(tuple(compress(column, chosen)) for column in rows)


def build_part(
    rows: Iterable[SignalRow],
    build: BuildEngine = build_engine,
    *,
    dimensions: Mapping[str, int] | None = None,
) -> Part:
    """Build a part from signals, ascending by version.

    `dimensions` are those of the vectors of each model in the store; without them the first vector
    of a model decides. Signals of algorithms that are never matched are left out; only the rows of
    their entries are kept.
    """
    part = _PartBuilder(dimensions or {})
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH_ROWS)):
        if not part.add_batch(batch):
            for row in batch:
                part.add(row)
    return part.build(build)


def _indexes(
    signals: Iterable[_SignalColumns],
    build: BuildEngine,
    entries: EntryColumns,
    aside: _AsideBuilder,
) -> Iterator[tuple[str, SignalIndex]]:
    """Yield the index of each algorithm, by name."""
    for columns in sorted(signals, key=attrgetter("name")):
        if columns.kind is not None and columns.entry:
            index = _index(columns.kind, columns, build, entries, aside)
            if index is not None:
                yield columns.name, index


def _index(
    kind: Algorithm,
    columns: _SignalColumns,
    build: BuildEngine,
    entries: EntryColumns,
    aside: _AsideBuilder,
) -> SignalIndex | None:
    """Build the index of those values that compare, and set the others aside; None for none."""
    values = columns.as_values()
    entry, variant = np.array(columns.entry, np.uint32), np.array(columns.variant, np.uint32)
    bad = kind.distance.damaged(kind, values)
    if bad.any():
        aside.add_rows(entries, entry[bad], kind.name, set_aside.BAD_VALUE)
        good = np.flatnonzero(~bad)
        values, entry, variant = take(values, good), entry[good], variant[good]
    if not len(entry):
        return None
    try:
        engine = build(kind, values)
    except MemoryError:
        raise
    except Exception:
        # A bug must not take all other algorithms along.
        _log.exception("%s: the index of %d signals was not built", kind.name, len(entry))
        aside.add_rows(entries, entry, kind.name, set_aside.NOT_INDEXED)
        return None
    return SignalIndex(kind, values, entry, variant, engine)
