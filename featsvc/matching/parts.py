"""Parts of an index: entries as columns, and for each algorithm their signals and an engine.

A segment is a part on disk, the delta is parts in memory; a snapshot searches all of them. A part
never changes: a list beside it has the rows of entries that were withdrawn later
(`part_search.PartView`).

Strings that many entries share (sources, label sets, variants, bank ids) are stored once. The row
of an entry takes 41 bytes and its external id, the row of a signal 6 bytes, without the engine's
arrays.
"""

import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import Opinion
from featsvc.banks.sql.stored import SignalRow, split_stored_labels
from featsvc.errors import DataCorrupt
from featsvc.matching.engines import build_engine
from featsvc.matching.hits import Engine
from featsvc.matching.values import RaggedArray, Values, take
from featsvc.signals.algorithms import Algorithm, get_algorithm

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
    bank: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    names: NDArray[np.uint8]

    def external_id(self, row: int) -> str:
        begin = int(self.name_ends[row - 1]) if row else 0
        return self.names[begin : int(self.name_ends[row])].tobytes().decode()


@dataclass(frozen=True, slots=True)
class SharedStrings:
    """The strings that rows refer to by index."""

    banks: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Signals of one algorithm, with the row of the entry and the index of the variant of each.

    `values` are uint8 (n, bytes), for vectors the bytes of float32 numbers; a RaggedArray where
    values may have any length.
    """

    kind: Algorithm
    values: Values
    entry: NDArray[np.uint32]
    variant: NDArray[np.uint16]
    engine: Engine


@dataclass(frozen=True, slots=True)
class Part:
    """Entries, the strings that they share, and a signal index for each algorithm by name."""

    entries: EntryColumns
    strings: SharedStrings
    indexes: Mapping[str, SignalIndex]
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


class _StringNumbers(dict[str, int]):
    """Numbers strings in the order in which they first appear."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


class _SignalColumns:
    """The columns of a SignalIndex while they grow.

    `ends` is filled only where the algorithm does not fix the length of a value.
    """

    def __init__(self, kind: Algorithm) -> None:
        self.kind = kind
        self.any_length = not kind.bytes
        self.version = kind.version
        self.values = bytearray()
        self.ends = array("q")
        self.entry = array("I")
        self.variant = array("H")


BuildEngine = Callable[[Algorithm, Values], Engine]


def build_part(rows: Iterable[SignalRow], build: BuildEngine = build_engine) -> Part:
    """Build a part from signals, ascending by version.

    Signals of algorithms that are never matched are left out; only the rows of their entries are
    kept. So are signals of a version of an algorithm that is not this build's, because they do not
    compare; the log has their number. Raises UnknownAlgorithm for an algorithm that this build does
    not know: to leave it out would look like "no match".
    """
    version, entry_id, expire, ends = array("q"), array("q"), array("q"), array("q")
    source, labels, bank, flags = array("I"), array("I"), array("H"), array("B")
    names = bytearray()
    banks, sources, label_sets, variants = (_StringNumbers() for _ in range(4))
    signals: dict[str, _SignalColumns] = {}
    skipped: Counter[tuple[str, int]] = Counter()
    last = -1
    for row in rows:
        if row.version != last:
            last = row.version
            version.append(last)
            entry_id.append(row.id)
            expire.append(NEVER_US if row.expire_time is None else row.expire_time)
            names += row.external_id.encode()
            ends.append(len(names))
            source.append(sources[row.source])
            labels.append(label_sets[row.labels])
            bank.append(banks[row.bank_id])
            negative = NEGATIVE if row.opinion == Opinion.NEGATIVE.value else 0
            flags.append(negative | (QUARANTINED if row.quarantined else 0))
        algorithm = row.algorithm
        columns = signals.get(algorithm)
        if columns is None:
            columns = signals[algorithm] = _SignalColumns(get_algorithm(algorithm))
        if row.algorithm_version != columns.version:
            skipped[algorithm, row.algorithm_version] += 1
            continue
        columns.values += row.value
        if columns.any_length:
            columns.ends.append(len(columns.values))
        columns.entry.append(len(version) - 1)
        columns.variant.append(variants[row.variant])
    entries = EntryColumns(
        version=np.array(version, np.int64),
        id=np.array(entry_id, np.int64),
        expire_us=np.array(expire, np.int64),
        name_ends=np.array(ends, np.int64),
        source=np.array(source, np.uint32),
        labels=np.array(labels, np.uint32),
        bank=np.array(bank, np.uint16),
        flags=np.array(flags, np.uint8),
        names=np.frombuffer(bytes(names), np.uint8),
    )
    label_tuples = tuple(split_stored_labels(stored) for stored in label_sets)
    strings = SharedStrings(tuple(banks), tuple(sources), label_tuples, tuple(variants))
    _log_skipped(skipped)
    indexes = {}
    for name, columns in sorted(signals.items()):
        if columns.kind.matched and columns.entry:
            indexes[name] = _index(columns, build)
    return Part(entries, strings, indexes)


def _log_skipped(skipped: Mapping[tuple[str, int], int]) -> None:
    """Log the number of signals that are not compared because of their version."""
    message = "%d signals of %s version %d are not compared: this build has version %d"
    for (algorithm, version), count in sorted(skipped.items()):
        kind = get_algorithm(algorithm)
        if kind.matched:
            _log.warning(message, count, algorithm, version, kind.version)


def _values(columns: _SignalColumns) -> Values:
    """Return the values. Raises DataCorrupt where rows differ in their width."""
    # Not a copy: the values of a million vectors are a gigabyte.
    data = np.frombuffer(columns.values, np.uint8)
    data.flags.writeable = False
    kind, ends = columns.kind, columns.ends
    if not kind.distance.rows:
        return RaggedArray(data, np.array(ends, np.int64))
    count = len(columns.entry)
    width = kind.bytes or ends[0]
    even = not columns.any_length or ends == array("q", range(width, len(data) + 1, width))
    if len(data) != count * width or not even:
        raise DataCorrupt(f"{kind.name}: the store has values that are not {width} bytes long")
    return data.reshape(count, width)


def _index(columns: _SignalColumns, build: BuildEngine) -> SignalIndex:
    kind, values = columns.kind, _values(columns)
    engine = build(kind, values)
    entry, variant = np.array(columns.entry, np.uint32), np.array(columns.variant, np.uint16)
    return SignalIndex(kind, values, entry, variant, engine)
