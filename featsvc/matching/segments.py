"""Segments: parts of an index on disk, which every worker maps.

A segment is a folder `segment-<revision, 20 digits>-<8 hex>` of

    manifest.json    {"checksum": <CRC-32 of the canonical text of "segment">, "segment": {
                        "format": 3, "revision": r, "commit_time_us": t, "store_id": i,
                        "entries": n,
                        "files": {<name>: {"dtype": d, "shape": [..], "crc32": c}},
                        "algorithms": {<name>: {"engine": e, "signals": k, "version": v}}}}
    tables.json      {"banks": [..], "sources": [..], "labels": [[..]], "variants": [..],
                        "causes": [[<algorithm>, <reason>]]}
    entries.<column>, set_aside.<column>
    <algorithm>.entry, <algorithm>.variant, <algorithm>.<array of its engine>

where every file but the two JSON files is one array: little-endian items in C order and nothing
else, so that item i begins at byte `i * itemsize`. An array without items is an empty file. The
columns are those of `featsvc.matching.parts` and `featsvc.matching.set_aside`, the arrays those of
`featsvc.matching.engines`. They include the values, one row for each signal, in one of these forms:

    values |u1 (n, bytes)        byte hashes
    words <u8 (n, words)         hashes by Hamming distance, padded with zero bytes
    vectors <f4 (n, dimensions)  vectors
    values |u1 (bytes of all), ends <i8 (n,)
                                 values of any length: value i ends at ends[i]

Checksums are eight hex digits. `canonical text` is JSON without blanks, with sorted keys.

A segment is written as `building-...`, synced, and published by one rename, so that it exists
completely or not at all. It never changes afterwards. A process that maps a segment holds a shared
lock on its `manifest.json`; the collector deletes older segments that it can lock exclusively. A
segment that fails its checks is renamed to `corrupt-...` and logged. A segment of another format is
left to the collector, and a new one is built; so is one of another store, or of a history that the
store no longer has since a backup was restored. Older builds wrote no `store_id`, and read segments
that have one. No content of a segment is executed or unpickled.

Format 2 added vectors and values of any length to format 1. Format 3 has 32-bit numbers of banks
and variants, and the signals that are set aside.
"""

import fcntl
import logging
import mmap
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import StoreHead, initial_version
from featsvc.banks.sql.times import from_us, to_us
from featsvc.errors import DataCorrupt, UnknownAlgorithm
from featsvc.matching.engines import open_engine
from featsvc.matching.parts import EntryColumns, Part, SharedStrings, SignalIndex
from featsvc.matching.set_aside import SetAsideColumns
from featsvc.matching.values import RaggedArray, Values
from featsvc.signals.algorithms import Algorithm, find_algorithm, get_algorithm

FORMAT = 3
MANIFEST, STRINGS = "manifest.json", "tables.json"
_PUBLISHED, _BUILDING, _CORRUPT = "segment-", "building-", "corrupt-"
_ROWS_NDIM = 2
_FORMS = ("values", "words", "vectors")
_DTYPES = frozenset({"<i8", "<u8", "<u4", "<u2", "|u1", "|i1", "<f4"})

_log = logging.getLogger(__name__)


class OtherFormatError(Exception):
    """A valid segment that another version of featsvc wrote."""


class _File(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    crc32: str


class _Index(msgspec.Struct, frozen=True):
    """`version` is that of the algorithm, 0 where featsvc did not write versions yet."""

    engine: str
    signals: int
    version: int = 0


class _Manifest(msgspec.Struct, frozen=True):
    """`store_id` is "" where featsvc did not write it yet."""

    format: int
    revision: int
    commit_time_us: int
    entries: int
    files: dict[str, _File]
    algorithms: dict[str, _Index]
    store_id: str = ""

    @property
    def head(self) -> StoreHead:
        committed = from_us(self.commit_time_us) if self.revision else None
        return StoreHead(self.revision, committed, self.store_id)


class _Envelope(msgspec.Struct, frozen=True):
    checksum: str
    segment: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Segment:
    """An open segment. Its files stay mapped and its lock held until nothing refers to it.

    `head` is that of the store when it was built.
    `bytes_mapped` has the mapped bytes of each algorithm and, under "", of the entries.
    """

    path: Path
    head: StoreHead
    part: Part
    bytes_mapped: Mapping[str, int]
    lock: "_SharedLock"

    @property
    def revision(self) -> int:
        return self.head.revision


def write_segment(folder: Path, part: Part, head: StoreHead) -> Path:
    """Write and publish the `part` of a store at `head`; return the segment. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{head.revision:020d}-{uuid.uuid4().hex[:8]}"
    building = folder / f"{_BUILDING}{os.getpid()}-{name}"
    building.mkdir()
    files = {file: _write_array(building / file, values) for file, values in _arrays(part)}
    strings = msgspec.json.encode(part.strings)
    _write(building / STRINGS, strings)
    files[STRINGS] = _File("|u1", (len(strings),), _crc(strings))
    indexes = {
        name: _Index(index.engine.name, len(index.entry), index.kind.version)
        for name, index in part.indexes.items()
    }
    committed_us = to_us(head.commit_time) if head.commit_time else 0
    manifest = _Manifest(
        FORMAT, head.revision, committed_us, len(part), files, indexes, head.store_id
    )
    text = msgspec.json.encode(manifest, order="sorted")
    _write(building / MANIFEST, b'{"checksum":"%s","segment":%s}' % (_crc(text).encode(), text))
    _sync_folder(building)
    published = folder / f"{_PUBLISHED}{name}"
    building.rename(published)
    _sync_folder(folder)
    return published


def open_segment(path: Path) -> Segment:
    """Map a published segment and check every byte of it.

    Raises FileNotFoundError where it was collected, DataCorrupt where a check fails, and
    OtherFormatError where its format is not FORMAT or an algorithm has another version.
    """
    lock = _SharedLock(path / MANIFEST)
    try:
        return _open(path, lock)
    except BaseException:
        # Release the lock now, not when the exception is garbage.
        lock.close()
        raise


def _open(path: Path, lock: "_SharedLock") -> Segment:
    manifest = _read_manifest(path)
    arrays = {name: _map(path, name, file) for name, file in manifest.files.items()}
    try:
        part = _part(manifest, arrays)
    except (KeyError, TypeError, ValueError, UnknownAlgorithm, msgspec.MsgspecError) as exc:
        raise DataCorrupt(
            f"segment {path.name}: contents do not fit ({exc!r}); rebuild it"
        ) from exc
    mapped = dict.fromkeys(("", *manifest.algorithms), 0)
    for name, values in arrays.items():
        owner = name.partition(".")[0]
        mapped[owner if owner in manifest.algorithms else ""] += values.nbytes
    return Segment(path, manifest.head, part, mapped, lock)


def newer_segments(folder: Path, *, above: int, up_to: int, refused: Collection[str]) -> list[Path]:
    """Return the published segments of revisions after `above` up to `up_to`, oldest first.

    `refused` names folders to leave out.
    """
    return [
        path
        for path in published(folder)
        if above < revision_of(path) <= up_to and path.name not in refused
    ]


def newest_segment(segments: Sequence[Path]) -> Segment | None:
    """Open the newest of published segments, given oldest first, that passes its checks.

    A segment that fails is set aside and logged, one of another format is left to the collector;
    then the next older one is tried.
    """
    for path in reversed(segments):
        with _withdrawing(path):
            return open_segment(path)
    return None


def withdraw_other_histories(folder: Path, is_ours: Callable[[StoreHead], bool]) -> None:
    """Leave to the collector the published segments that are not of the store's history.

    Those who mapped such a segment keep it until they map another one. Only the indexer of the
    folder may call it, and not while the store is half restored: all would be of another history.
    """
    for path in reversed(published(folder)):
        with _withdrawing(path):
            if is_ours(_read_manifest(path).head):
                return
            _log.warning("segment %s is of another history; withdrawn", path.name)
            _rename(path, _BUILDING)


@contextmanager
def _withdrawing(path: Path) -> Iterator[None]:
    """Withdraw a segment that is damaged or of another format, instead of raising that."""
    try:
        yield
    except FileNotFoundError:
        _log.info("segment %s was deleted already", path.name)
    except OtherFormatError as exc:
        _log.warning("%s; a new one will be built", exc)
        _rename(path, _BUILDING)
    except DataCorrupt as exc:
        _log.error("set aside: %s", exc)
        _rename(path, _CORRUPT)


def published(folder: Path) -> list[Path]:
    """Return the published segments, oldest first."""
    return sorted(folder.glob(f"{_PUBLISHED}*"))


def revision_of(path: Path) -> int:
    """Return the revision in the name of a published segment."""
    digits = path.name.removeprefix(_PUBLISHED).partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _rename(path: Path, prefix: str) -> None:
    try:
        path.rename(path.with_name(prefix + path.name))
    except FileNotFoundError:
        _log.info("segment %s was deleted already", path.name)


def collect(folder: Path) -> int:
    """Delete segments that are not the newest and not mapped, and what dead builders left.

    Returns the number of deleted segments. Only the indexer of the folder may call it.
    """
    stale = [*published(folder)[:-1], *folder.glob(f"{_BUILDING}*")]
    return sum(_delete(path) for path in stale)


def _delete(path: Path) -> bool:
    try:
        with (path / MANIFEST).open("rb") as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A partly deleted segment must not look like a published one.
            shutil.rmtree(path.rename(path.with_name(_BUILDING + path.name)))
    except BlockingIOError:
        return False
    except FileNotFoundError:
        shutil.rmtree(path, ignore_errors=True)
    return True


class _SharedLock:
    """A lock that is held until it is garbage, or until the process ends in any way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        fcntl.flock(self._file, fcntl.LOCK_SH)
        if not path.exists():
            # Collected between opening and locking.
            self.close()
            raise FileNotFoundError(path)

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


def _arrays(part: Part) -> Iterator[tuple[str, NDArray[Any]]]:
    for column in fields(EntryColumns):
        yield f"entries.{column.name}", getattr(part.entries, column.name)
    for column in fields(SetAsideColumns):
        yield f"set_aside.{column.name}", getattr(part.set_aside, column.name)
    for name, index in part.indexes.items():
        yield f"{name}.entry", index.entry
        yield f"{name}.variant", index.variant
        for array, values in index.engine.arrays.items():
            yield f"{name}.{array}", values


def _part(manifest: _Manifest, arrays: Mapping[str, NDArray[Any]]) -> Part:
    columns = {f.name: arrays[f"entries.{f.name}"] for f in fields(EntryColumns)}
    if any(len(v) != manifest.entries for k, v in columns.items() if k != "names"):
        raise ValueError("a column of another length")
    aside = {f.name: arrays[f"set_aside.{f.name}"] for f in fields(SetAsideColumns)}
    if len({len(v) for v in aside.values()}) != 1:
        raise ValueError("a column of another length")
    strings = msgspec.json.decode(arrays[STRINGS].tobytes(), type=SharedStrings)
    indexes = {}
    for name, described in manifest.algorithms.items():
        kind = get_algorithm(name)
        of_index = {
            file.partition(".")[2]: values
            for file, values in arrays.items()
            if file.startswith(f"{name}.")
        }
        values, entry, variant = _values(kind, of_index), of_index["entry"], of_index["variant"]
        if not len(values) == len(entry) == len(variant) == described.signals:
            raise ValueError(f"{name} values of another length")
        engine = open_engine(described.engine, kind, of_index)
        indexes[name] = SignalIndex(kind, values, entry, variant, engine)
    return Part(EntryColumns(**columns), strings, indexes, SetAsideColumns(**aside))


def _values(kind: Algorithm, arrays: Mapping[str, NDArray[Any]]) -> Values:
    """Return the values. Raises KeyError where they are missing, ValueError for a wrong shape."""
    if not kind.distance.rows:
        return RaggedArray(arrays["values"], arrays["ends"])
    form = next((name for name in _FORMS if name in arrays), _FORMS[0])
    values = arrays[form].view(np.uint8)
    if values.ndim != _ROWS_NDIM or values.shape[1] < kind.bytes:
        raise ValueError(f"{kind.name} values of another shape")
    return values[:, : kind.bytes or None]


def _read_manifest(path: Path) -> _Manifest:
    try:
        envelope = msgspec.json.decode((path / MANIFEST).read_bytes(), type=_Envelope)
        if _crc(bytes(envelope.segment)) != envelope.checksum:
            raise DataCorrupt(f"segment {path.name}: {MANIFEST} fails its checksum; rebuild it")
        manifest = msgspec.json.decode(envelope.segment, type=_Manifest)
    except msgspec.MsgspecError as exc:
        raise DataCorrupt(f"segment {path.name}: {MANIFEST}: {exc}; rebuild it") from exc
    if manifest.format != FORMAT:
        raise OtherFormatError(f"segment {path.name} has format {manifest.format}, not {FORMAT}")
    for name, index in manifest.algorithms.items():
        kind = find_algorithm(name)
        version = index.version or initial_version(name)
        if kind is not None and kind.version != version:
            raise OtherFormatError(
                f"segment {path.name} holds {name} version {version}, this build has {kind.version}"
            )
    return manifest


def _map(path: Path, name: str, file: _File) -> NDArray[Any]:
    if file.dtype not in _DTYPES or "/" in name or any(n < 0 for n in file.shape):
        raise DataCorrupt(f"segment {path.name}: bad manifest entry {name!r}; rebuild it")
    dtype = np.dtype(file.dtype)
    expected = prod(file.shape) * dtype.itemsize
    try:
        with (path / name).open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size != expected:
                raise DataCorrupt(
                    f"segment {path.name}: {name} has {size} bytes, not {expected}; rebuild it"
                )
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except FileNotFoundError as exc:
        raise DataCorrupt(f"segment {path.name}: {name} is missing; rebuild it") from exc
    if _crc(data) != file.crc32:
        raise DataCorrupt(f"segment {path.name}: {name} fails its checksum; rebuild it")
    return np.frombuffer(data, dtype).reshape(file.shape)


def _write_array(path: Path, values: NDArray[Any]) -> _File:
    values = np.ascontiguousarray(values)
    dtype = values.dtype.newbyteorder("<").str
    if dtype not in _DTYPES:
        raise TypeError(f"{path.name}: no segment holds {dtype}")
    flat = values.reshape(-1).view(np.uint8)
    _write(path, flat.data)
    return _File(dtype, values.shape, _crc(flat.data))


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _crc(data: bytes | memoryview | mmap.mmap) -> str:
    return f"{zlib.crc32(data):08x}"
