"""A part of an index: entries as columns, and per algorithm their signals and an engine.

A segment is a part on disk, the delta is parts in memory; a snapshot searches them all. A part
never changes. Entries that are withdrawn later are listed beside it (`Tombstones`).

Strings that many entries share (sources, label sets, variants, bank ids) are kept once; an
entry's row costs 41 bytes and its external id, a signal's row 6 bytes, beside the engine's arrays.
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
from featsvc.matching.values import Ragged, Values, take
from featsvc.signals.algorithms import Algorithm, get_algorithm

_log = logging.getLogger(__name__)

NEVER_US = np.iinfo(np.int64).max
QUARANTINED = 1
NEGATIVE = 2


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """One row an entry, by `version`. `bank`, `source` and `labels` are places in the tables of
    the part; external id i is `names[name_ends[i - 1]:name_ends[i]]` (0 for the first), UTF-8."""

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
class Tables:
    """The strings that rows share."""

    banks: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignalIndex:
    """Signals of one algorithm: row of `values` -> row of the entry, place of the variant.

    `values` are uint8 (n, bytes), of a vector its float32 values; `Ragged` where they have any
    length.
    """

    kind: Algorithm
    values: Values
    entry: NDArray[np.uint32]
    variant: NDArray[np.uint16]
    engine: Engine


@dataclass(frozen=True, slots=True)
class Part:
    entries: EntryColumns
    tables: Tables
    indexes: Mapping[str, SignalIndex]
    subsets: dict[tuple[str, str, tuple[str, ...]], tuple[NDArray[np.int64], Engine]] = field(
        default_factory=dict
    )
    """Engines that banks chose for themselves, made on first use."""

    def __len__(self) -> int:
        return len(self.entries.version)

    def rows_of(self, versions: Sequence[int]) -> NDArray[np.int64]:
        """Rows of those versions that are here."""
        wanted = np.array(sorted(versions), np.int64)
        at = np.searchsorted(self.entries.version, wanted)
        inside = at < len(self)
        rows = at[inside].astype(np.int64)
        found: NDArray[np.int64] = rows[self.entries.version[rows] == wanted[inside]]
        return found

    def subset(
        self, algorithm: str, choice: str, banks: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], Engine]:
        """The rows of these banks' signals, and the engine `choice` over them."""
        key = algorithm, choice, banks
        if key not in self.subsets:
            index = self.indexes[algorithm]
            places = [i for i, bank in enumerate(self.tables.banks) if bank in banks]
            rows = np.flatnonzero(np.isin(self.entries.bank[index.entry], places))
            engine = build_engine(index.kind, take(index.values, rows), choice=choice)
            self.subsets[key] = rows, engine
        return self.subsets[key]


class _Places:
    """Strings numbered in the order they come."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        found = self.place.get(text)
        if found is None:
            found = self.place[text] = len(self.place)
        return found


class _SignalRows:
    """`ends` are told apart only where the algorithm does not say how long a value is."""

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
    """From signals by version.

    Those of kinds that are never matched leave no trace but their entry's row; nor do those of
    another version of their algorithm than this build's, which do not compare with what it
    computes: the log says how many. Raises UnknownAlgorithm for one that this featsvc does not
    know: to leave it out would read as "no match".
    """
    version, entry_id, expire, ends = array("q"), array("q"), array("q"), array("q")
    source, labels, bank, flags = array("I"), array("I"), array("H"), array("B")
    names = bytearray()
    banks, sources, label_sets, variants = _Places(), _Places(), _Places(), _Places()
    signals: dict[str, _SignalRows] = {}
    others: Counter[tuple[str, int]] = Counter()
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
        mine = signals.get(algorithm)
        if mine is None:
            mine = signals[algorithm] = _SignalRows(get_algorithm(algorithm))
        if row.algorithm_version != mine.version:
            others[algorithm, row.algorithm_version] += 1
            continue
        mine.values += row.value
        if mine.any_length:
            mine.ends.append(len(mine.values))
        mine.entry.append(len(version) - 1)
        mine.variant.append(variants[row.variant])
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
    tables = Tables(
        tuple(banks.place),
        tuple(sources.place),
        tuple(split_stored_labels(stored) for stored in label_sets.place),
        tuple(variants.place),
    )
    _warn(others)
    indexes = {}
    for name, mine in sorted(signals.items()):
        if mine.kind.matched and mine.entry:
            indexes[name] = _index(mine, build)
    return Part(entries, tables, indexes)


def _warn(others: Mapping[tuple[str, int], int]) -> None:
    """Log the signals that are not compared."""
    for (algorithm, version), count in sorted(others.items()):
        kind = get_algorithm(algorithm)
        if kind.matched:
            _log.warning(
                "%d signals of %s version %d are not compared: this build has version %d",
                count, algorithm, version, kind.version,
            )  # fmt: skip


def _values(rows: _SignalRows) -> Values:
    """Raises DataCorrupt where values that are rows of one width differ in it."""
    # No copy is made: those of a million vectors are a gigabyte.
    data = np.frombuffer(rows.values, np.uint8)
    data.flags.writeable = False
    if not rows.kind.distance.rows:
        return Ragged(data, np.array(rows.ends, np.int64))
    count = len(rows.entry)
    width = rows.kind.bytes or rows.ends[0]
    evenly = not rows.any_length or rows.ends == array("q", range(width, len(data) + 1, width))
    if len(data) != count * width or not evenly:
        raise DataCorrupt(
            f"{rows.kind.name}: the store holds values of other lengths than {width} bytes"
        )
    return data.reshape(count, width)


def _index(rows: _SignalRows, build: BuildEngine) -> SignalIndex:
    values = _values(rows)
    engine = build(rows.kind, values)
    entry = np.array(rows.entry, np.uint32)
    return SignalIndex(rows.kind, values, entry, np.array(rows.variant, np.uint16), engine)
