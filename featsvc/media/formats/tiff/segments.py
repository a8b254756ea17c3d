"""The strips or tiles of a page: where they lie in the content, and their bytes, decoded whole."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from featsvc.media.codecs.libtiff import DecodeFailed, Shape, StripDecoder
from featsvc.media.formats.tiff import layout as kinds
from featsvc.media.formats.tiff.deflate import inflate, undo_predictor
from featsvc.media.formats.tiff.directory import Directory, Tag, damaged
from featsvc.media.formats.tiff.layout import Layout, Segment
from featsvc.media.task import Task

_MAX_JPEG_TABLES = 2**16
_PHOTOMETRICS = {kinds.YCBCR: 6}
_SAMPLE_FORMATS = {"unsigned": 1, "signed": 2, "float": 3}
_REVERSED = np.packbits(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1
)[:, 0]
_PIXEL_SCANS_PER_MS = 500_000
"""A scan of a JPEG takes about 2 ns a pixel."""
_START_OF_SCAN = b"\xff\xda"

_DEFLATED = frozenset({kinds.DEFLATE, kinds.OLD_DEFLATE})
_OURS = _DEFLATED | {kinds.NONE}
"""What needs no codec of libtiff."""
_MOST_EXPANDED = {
    # A string of the full table for a code of 12 bits; a run of 258 for 2 bits; a run of 128 for 2
    # bytes; a run of 63 half bytes for one.
    kinds.LZW: 2_560,
    kinds.DEFLATE: 1_032,
    kinds.OLD_DEFLATE: 1_032,
    kinds.PACKBITS: 64,
    kinds.THUNDERSCAN: 32,
}
"""Decoded bytes for each stored one, at most: less is damage that needs no memory to find."""

# Bytes that codecs decode in a millisecond, at least: about half of what was measured on pictures
# of noise, on one core of a 2-core AMD EPYC VM.
_BYTES_PER_MS = 60_000
_SLOW_BYTES_PER_MS = {kinds.LZMA: 12_000, **dict.fromkeys(kinds.FAX, 5_000)}


class Segments:
    """Reads the segments of one page; use it in a `with` block.

    `read` returns decoded rows (rows, row_bytes) uint8 of one plane: a view of the content, or of
    a buffer that the next call overwrites.
    """

    def __init__(self, task: Task, layout: Layout, page: str) -> None:
        self._task, self._layout, self._page = task, layout, page
        self._content = np.frombuffer(task.content, np.uint8)
        self._offsets, self._sizes = self._read_tables(layout.directory)
        self._decoders: dict[int, StripDecoder] = {}
        self._buffer = np.empty(0, np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for decoder in self._decoders.values():
            decoder.close()
        self._decoders.clear()

    def __iter__(self) -> Iterator[Segment]:
        for index in range(self._layout.segments_per_plane):
            self._task.budget.check()
            yield self._layout.segment(index)

    def read(
        self, segment: Segment, plane: int, into: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the decoded rows, in `into` where that is given (only for a codec)."""
        layout = self._layout
        number = segment.index + plane * layout.segments_per_plane
        size = layout.segment_bytes(segment.stored_rows)
        raw = self._raw(number, size)
        if layout.compression == kinds.NONE:
            return raw.reshape(-1, layout.row_bytes)
        if into is None:
            if self._buffer.size < size:
                self._buffer = np.empty(size, np.uint8)
            into = self._buffer[:size]
        if layout.compression in _DEFLATED:
            self._inflate(raw, into, number)
            return into.reshape(-1, layout.row_bytes)
        self._check_cost(raw, segment, size)
        try:
            self._decoder(segment.stored_rows, raw, size).decode(raw, into)
        except DecodeFailed as failed:
            raise damaged(f"{self._name(number)}: {failed}") from None
        return into.reshape(-1, layout.row_bytes)

    def _inflate(self, raw: NDArray[np.uint8], into: NDArray[np.uint8], number: int) -> None:
        layout, directory = self._layout, self._layout.directory
        raw = _REVERSED[raw] if layout.reversed_bits else raw
        inflate(raw, into, self._task.budget, self._name(number))
        predictor = directory.number(Tag.PREDICTOR) if Tag.PREDICTOR in directory else 1
        together = 1 if layout.kind.separate_planes else layout.samples
        rows = into.reshape(-1, layout.row_bytes)
        undo_predictor(rows, predictor, layout.kind.bits, together, directory.order)

    def chunks(self, rows: NDArray[np.uint8], segment: Segment) -> Iterator[tuple[int, int, int]]:
        """Yield (first row, last row, first row of `rows`) of parts that convert quickly."""
        v = self._layout.subsampling[1]
        step = self._layout.rows_per_chunk
        for y in range(0, segment.rows, step):
            self._task.budget.check()
            yield y, min(y + step, segment.rows), y // v

    def unreversed(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn the bits of bytes round where the file says so; libtiff has done it for codecs."""
        if self._layout.reversed_bits and self._layout.compression == kinds.NONE:
            return _REVERSED[rows]
        return rows

    def _name(self, number: int) -> str:
        what = "tile" if self._layout.tiled else "strip"
        return f"{self._page}, {what} {number + 1:,} of {self._count:,}"

    @property
    def _count(self) -> int:
        layout = self._layout
        return layout.segments_per_plane * (layout.samples if layout.kind.separate_planes else 1)

    def _read_tables(
        self, directory: Directory
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
        """Return offsets and sizes; sizes are empty where the file has none."""
        tags = (Tag.TILE_OFFSETS, Tag.TILE_BYTES), (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
        # Some writers of tiles use the tags of strips.
        tags = tags if self._layout.tiled and Tag.TILE_OFFSETS in directory else tags[::-1]
        offsets, sizes = (directory.numbers(tag, self._count) for tag in tags[0])
        for name, table in (("offsets", offsets), ("sizes", sizes)):
            if table.size < self._count and (name == "offsets" or table.size):
                of = f"{name} of strips or tiles"
                raise damaged(f"{self._page} has {table.size:,} {of}, not {self._count:,}")
        return offsets, sizes

    def _raw(self, number: int, size: int) -> NDArray[np.uint8]:
        """Return the stored bytes of a segment: `size` of them where nothing is compressed."""
        offset, end = int(self._offsets[number]), self._content.size
        stored = int(self._sizes[number]) if self._sizes.size else 0
        if self._layout.compression == kinds.NONE:
            # libtiff, too, corrects the size of a single strip, and one that is missing.
            if 0 < stored < size and self._count > 1:
                raise damaged(f"{self._name(number)} has {stored:,} bytes, not {size:,}")
            stored = size
        elif not self._sizes.size:
            later = self._offsets[self._offsets > offset]
            stored = max((int(later.min()) if later.size else end) - offset, 0)
        if not offset or not stored or offset + stored > end:
            raise damaged(
                f"{self._name(number)} has {stored:,} bytes at {offset:,} of a file of {end:,}"
            )
        most = _MOST_EXPANDED.get(self._layout.compression)
        if most and stored * most < size:
            raise damaged(f"{self._name(number)} has {stored:,} bytes, too few for {size:,}")
        raw = self._content[offset : offset + stored]
        # libtiff reverses bits in place.
        alters = self._layout.reversed_bits and self._layout.compression not in _OURS
        return raw.copy() if alters else raw

    def _check_cost(self, raw: NDArray[np.uint8], segment: Segment, size: int) -> None:
        """Raise TimedOut or MediaTooLarge before a call that would take too long."""
        rate = _SLOW_BYTES_PER_MS.get(self._layout.compression, _BYTES_PER_MS)
        self._task.budget.check(ahead_ms=size / rate)
        if self._layout.compression == kinds.JPEG:
            scans = raw.tobytes().count(_START_OF_SCAN)
            pixels = self._layout.segment_width * segment.stored_rows
            self._task.budget.check(ahead_ms=scans * pixels / _PIXEL_SCANS_PER_MS)

    def _decoder(self, rows: int, first: NDArray[np.uint8], size: int) -> StripDecoder:
        if rows not in self._decoders:
            self._decoders[rows] = StripDecoder(self._shape(rows), first, size)
        return self._decoders[rows]

    def _shape(self, rows: int) -> Shape:
        layout, directory = self._layout, self._layout.directory
        together = 1 if layout.kind.separate_planes else layout.samples
        tags: dict[int, int | tuple[int, ...] | bytes] = {
            Tag.COMPRESSION: layout.compression,
            Tag.PHOTOMETRIC: _PHOTOMETRICS.get(layout.kind.colour, 1) if together > 1 else 1,
            Tag.FILL_ORDER: 2 if layout.reversed_bits else 1,
            Tag.PLANES: 1,
            Tag.SAMPLE_FORMAT: (_SAMPLE_FORMATS[layout.kind.sample_format],) * together,
        }
        if Tag.PREDICTOR in directory:
            tags[Tag.PREDICTOR] = directory.number(Tag.PREDICTOR) % 2**16
        for tag in (Tag.FAX3_OPTIONS, Tag.FAX4_OPTIONS):
            if tag in directory and layout.compression in kinds.FAX:
                tags[tag] = directory.number(tag) % 2**32
        if Tag.JPEG_TABLES in directory and layout.compression == kinds.JPEG:
            tags[Tag.JPEG_TABLES] = directory.data(Tag.JPEG_TABLES, _MAX_JPEG_TABLES)
        if layout.kind.colour == kinds.YCBCR and together > 1:
            tags[Tag.SUBSAMPLING] = layout.subsampling
        extra = together - (3 if together > 3 and layout.kind.colour == kinds.RGB else 1)
        if extra > 0 and tags[Tag.PHOTOMETRIC] == 1:
            tags[Tag.EXTRA_SAMPLES] = (0,) * (together - 1)
        return Shape(
            layout.segment_width,
            rows,
            together,
            layout.kind.bits,
            directory.order,
            tags,
            layout.jpeg_as_rgb,
        )
