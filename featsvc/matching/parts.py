"""Parts of an index: entries as columns, and for each algorithm their signals and an engine.

A segment is a part on disk, the delta is parts in memory; a snapshot searches all of them. A part
never changes: a list beside it has the rows of entries that were withdrawn later
(`part_search.PartView`).

Strings that many entries share (sources, label sets, variants, bank ids) are stored once. The row
of an entry takes 43 bytes and its external id, the row of a signal 8 bytes, without the engine's
arrays. A signal that cannot be searched is set aside (`featsvc.matching.set_aside`).
"""

import logging
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Opinion
from featsvc.banks.sql.stored import SignalRow, split_stored_labels
from featsvc.matching import set_aside
from featsvc.matching.engines import build_engine
from featsvc.matching.hits import Engine
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.matching.values import RaggedArray, Values, take
from featsvc.signals.algorithms import Algorithm, find_algorithm

_log = logging.getLogger(__name__)

NEVER_US = np.iinfo(np.int64).max
QUARANTINED = 1
NEGATIVE = 2


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """One row for each entry, ascending by `version`.

    `bank`, `source` and `labels` are indexes into the SharedStrings of the part. External id i is
    `names[name_ends[i - 1]:name_ends[i]]` (from 0 for the first), in UTF-8.
    """

    version: NDArray[np.int64]
    id: NDArray[np.int64]
    expire_us: NDArray[np.int64]
    name_ends: NDArray[np.int64]
    source: NDArray[np.uint32]
    labels: NDArray[np.uint32]
    bank: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    names: NDArray[np.uint8]

    def external_id(self, row: int) -> str:
        begin = int(self.name_ends[row - 1]) if row else 0
        return self.names[begin : int(self.name_ends[row])].tobytes().decode()


@dataclass(frozen=True, slots=True)
class SharedStrings:
    """The strings that rows refer to by index.

    `causes` are the algorithms, and the reasons, of signals that are set aside.
    """

    banks: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    variants: tuple[str, ...]
    causes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Signals of one algorithm, with the row of the entry and the index of the variant of each.

    `values` are uint8 (n, bytes), for vectors the bytes of float32 numbers; a RaggedArray where
    values may have any length.
    """

    kind: Algorithm
    values: Values
    entry: NDArray[np.uint32]
    variant: NDArray[np.uint32]
    engine: Engine


@dataclass(frozen=True, slots=True)
class Part:
    """Entries, the strings that they share, and a signal index for each algorithm by name.

    `set_aside` are the signals of its entries that no index holds.
    """

    entries: EntryColumns
    strings: SharedStrings
    indexes: Mapping[str, SignalIndex]
    set_aside: SetAsideColumns
    subsets: dict[tuple[str, str, tuple[str, ...]], tuple[NDArray[np.int64], Engine]] = field(
        default_factory=dict
    )
    """Engines that banks chose, built on first use."""

    def __len__(self) -> int:
        return len(self.entries.version)

    def rows_of(self, versions: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of those of `versions` that the part has."""
        ascending = np.array(sorted(versions), np.int64)
        at = np.searchsorted(self.entries.version, ascending)
        inside = at < len(self)
        rows = at[inside].astype(np.int64)
        found: NDArray[np.int64] = rows[self.entries.version[rows] == ascending[inside]]
        return found

    def subset(
        self, algorithm: str, choice: str, banks: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], Engine]:
        """Return the rows of the signals of these banks, and an engine `choice` over them."""
        key = algorithm, choice, banks
        if key not in self.subsets:
            index = self.indexes[algorithm]
            numbers = [i for i, bank in enumerate(self.strings.banks) if bank in banks]
            rows = np.flatnonzero(np.isin(self.entries.bank[index.entry], numbers))
            engine = build_engine(index.kind, take(index.values, rows), choice=choice)
            self.subsets[key] = rows, engine
        return self.subsets[key]


_DAMAGED = (TypeError, ValueError, AttributeError, LookupError, OverflowError)
"""What a column raises that holds something of another type; SQLite stores any type anywhere."""
_FLAG = (0, QUARANTINED)
MAX_NAME_CHARS = 80
"""Of an algorithm that this build does not know, whose name may be anything."""

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
            negative = NEGATIVE if row.opinion == Opinion.NEGATIVE.value else 0
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


class _SignalColumns:
    """The columns of a SignalIndex while they grow.

    `width`: the length of a value in bytes; 0 before the first one, and where values may have any
    length. `ends` is filled only for those. `version` is -1, which no row has, for an algorithm
    that this build does not know; such signals, and those of other versions, are `unlike`.
    """

    def __init__(self, name: object, dimensions: Mapping[str, int]) -> None:
        self.kind = find_algorithm(name) if isinstance(name, str) else None
        self.name = str(name)[:MAX_NAME_CHARS].encode(errors="replace").decode()
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


def build_part(
    rows: Iterable[SignalRow],
    build: BuildEngine = build_engine,
    *,
    dimensions: Mapping[str, int] | None = None,
) -> Part:
    """Build a part from signals, ascending by version.

    `dimensions` are those of the vectors of each model in the store; without them the first vector
    of a model decides. Signals of algorithms that are never matched are left out; only the rows of
    their entries are kept. A signal that cannot be compared is set aside, and the rest is built: no
    row raises anything.
    """
    entries, variants = _EntryBuilder(), _StringNumbers()
    aside = _AsideBuilder(entries.banks)
    signals: dict[str, _SignalColumns] = {}
    last, whole = -1, False
    for row in rows:
        if row.version != last:
            last = row.version
            whole = entries.add(row)
        columns = signals.get(row.algorithm)
        if columns is None:
            columns = signals[row.algorithm] = _SignalColumns(row.algorithm, dimensions or {})
        if not columns.matched:
            continue
        if not whole:
            reason = set_aside.DAMAGED_ROW
        elif row.algorithm_version != columns.version:
            reason = columns.unlike
        else:
            try:
                variant = variants[row.variant]
                if columns.add(row.value, len(entries.version) - 1, variant):
                    continue
                reason = set_aside.WRONG_LENGTH
            except _DAMAGED:
                reason = set_aside.DAMAGED_ROW
        aside.add(row, columns.name, reason)
    entry_columns = entries.columns()
    indexes = dict(_indexes(signals.values(), build, entry_columns, aside))
    strings = SharedStrings(
        banks=tuple(entries.banks),
        sources=tuple(entries.sources),
        labels=tuple(split_stored_labels(stored) for stored in entries.label_sets),
        variants=tuple(variants),
        causes=tuple(aside.causes),
    )
    return Part(entry_columns, strings, indexes, aside.columns())


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
