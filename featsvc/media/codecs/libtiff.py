"""libtiff by its own interface: one strip or tile at a time, from memory to memory.

libtiff never sees the file. It opens a small TIFF that this module writes, of one strip with the
checked values of the caller, and then decodes any number of raw strips of that shape
(TIFFReadFromUserBuffer). So no directory, offset or count of a hostile file reaches it, and no
codec but the one that was asked for runs.

Messages come through handlers of that one TIFF; nothing is printed. Only their constant format
strings are kept, which hold no content. libtiff reports lost pixels partly as warnings (fax,
PackBits, JPEG), so every message is a failure but for those that `_HARMLESS` names.
"""

import ctypes
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featsvc.media.codecs.libraries import open_library

_READ = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)
_SEEK = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int)
_CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_SIZE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
_MAP = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_UNMAP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
# TIFF*, user data, module, format, va_list.
_HANDLER = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_void_p,
)
_NEEDED = (
    "TIFFOpenOptionsAlloc",
    "TIFFClientOpenExt",
    "TIFFReadFromUserBuffer",
    "TIFFIsCODECConfigured",
)
_JPEG_COLOUR_MODE, _JPEG_AS_RGB = 65538, 1
_INLINE_BYTES = 4
"""Of a tag's value; a longer one lies elsewhere."""
_SPARE_BYTES = 2**26
"""What a codec may allocate beside the strip: tables, windows, coefficients of a JPEG."""

# The subsampling of a JPEG is taken from the JPEG itself; a last strip may be stored in full;
# a progressive JPEG is decoded.
_HARMLESS = re.compile(
    rb"Auto-corrected former TIFF subsampling|JPEG strip size exceeds expected|"
    rb"The JPEG strip/tile is encoded with progressive mode"
)


class DecodeFailed(Exception):
    """A strip or tile does not decode whole; the text is libtiff's, without its values."""


class _File(ctypes.Structure):
    """What the callbacks of one TIFF share: a file in two parts, and the first message."""

    _fields_ = (
        ("parts", ctypes.c_void_p * 2),
        ("sizes", ctypes.c_uint64 * 2),
        ("at", ctypes.c_uint64),
        ("messages", ctypes.c_uint64),
        ("text", ctypes.c_char * 200),
    )


def _read(handle: int, target: int, size: int) -> int:
    file = _File.from_address(handle)
    done = 0
    for start, part, length in ((0, 0, file.sizes[0]), (file.sizes[0], 1, file.sizes[1])):
        inside = file.at - start
        if done < size and 0 <= inside < length:
            count = min(size - done, length - inside)
            ctypes.memmove(target + done, file.parts[part] + inside, count)
            done += count
            file.at += count
    return done


def _seek(handle: int, offset: int, whence: int) -> int:
    file = _File.from_address(handle)
    base = (0, file.at, file.sizes[0] + file.sizes[1])[whence] if whence in range(3) else 0
    file.at = (base + offset) % 2**64
    return int(file.at)


def _write(_handle: int, _source: int, _size: int) -> int:
    return 0


def _close(_handle: int) -> int:
    return 0


def _size(handle: int) -> int:
    file = _File.from_address(handle)
    return int(file.sizes[0] + file.sizes[1])


def _map(_handle: int, _base: int, _length: int) -> int:
    return 0


def _unmap(_handle: int, _base: int, _length: int) -> None:
    return None


def _note(_tiff: int, data: int, module: bytes | None, text: bytes | None, _values: int) -> int:
    """Keep the first message that is not harmless."""
    if text is None or not _HARMLESS.match(text):
        file = _File.from_address(data)
        if not file.messages:
            file.text = b": ".join(filter(None, (module, text)))[:199]
        file.messages += 1
    # Not 0: that would call the handlers of the process, which print.
    return 1


# libtiff keeps these for as long as the process runs.
_CALLBACKS = (
    *(_READ(_read), _READ(_write), _SEEK(_seek), _CLOSE(_close)),
    *(_SIZE(_size), _MAP(_map), _UNMAP(_unmap)),
)
_NOTE = _HANDLER(_note)


@cache
def _library() -> Any | None:
    """libtiff with the types of the functions used here; None where it lacks one (before 4.5)."""
    library: Any = open_library("libtiff")
    if library is None or not all(hasattr(library, name) for name in _NEEDED):
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_ssize_t
    library.TIFFOpenOptionsAlloc.restype = pointer
    library.TIFFOpenOptionsAlloc.argtypes = ()
    library.TIFFOpenOptionsFree.argtypes = (pointer,)
    library.TIFFOpenOptionsSetMaxSingleMemAlloc.argtypes = (pointer, size)
    for name in ("Error", "Warning"):
        setter = getattr(library, f"TIFFOpenOptionsSet{name}HandlerExtR")
        setter.argtypes = (pointer, _HANDLER, pointer)
    library.TIFFClientOpenExt.restype = pointer
    library.TIFFClientOpenExt.argtypes = (
        *(ctypes.c_char_p, ctypes.c_char_p, pointer),
        *(_READ, _READ, _SEEK, _CLOSE, _SIZE, _MAP, _UNMAP, pointer),
    )
    library.TIFFSetField.argtypes = (pointer, ctypes.c_uint32)  # and variable ones
    library.TIFFReadFromUserBuffer.argtypes = (
        *(pointer, ctypes.c_uint32),
        *(pointer, size, pointer, size),
    )
    library.TIFFClose.argtypes = (pointer,)
    library.TIFFIsCODECConfigured.argtypes = (ctypes.c_uint16,)
    return library


@cache
def decodes(compression: int) -> bool:
    """Return whether this installation has a libtiff with the codec."""
    library = _library()
    return library is not None and bool(library.TIFFIsCODECConfigured(compression))


def version() -> str | None:
    """Return for example "4.7.2"; None where no libtiff is there to decode with."""
    library = _library()
    if library is None:
        return None
    library.TIFFGetVersion.restype = ctypes.c_char_p
    found = re.search(r"\d[.\d]*", library.TIFFGetVersion().decode("ascii", "replace"))
    return found[0] if found else "unknown"


@dataclass(frozen=True, slots=True)
class Shape:
    """A strip, or a tile as a strip of its size: what libtiff must know to decode it.

    `order` is "<" or ">"; `bits` are of each of `samples`; `tags` are further ones, such as the
    compression, the predictor and JPEG tables, by number. `as_rgb` converts the YCbCr of a JPEG.
    """

    width: int
    rows: int
    samples: int
    bits: int
    order: str
    tags: Mapping[int, int | Sequence[int] | bytes] = field(default_factory=dict)
    as_rgb: bool = False


class StripDecoder:
    """Decodes raw strips of one shape; use it in a `with` block. Raises DecodeFailed.

    `first` is a raw strip: of YCbCr in JPEG, libtiff reads the subsampling there when it opens.
    """

    def __init__(self, shape: Shape, first: NDArray[np.uint8], strip_bytes: int) -> None:
        library = _library()
        if library is None:
            raise DecodeFailed("libtiff is not there")
        self._library = library
        head = _write_head(shape, first.size)
        self._file = _File()
        self._file.parts[0] = ctypes.cast(ctypes.c_char_p(head), ctypes.c_void_p)
        self._file.parts[1] = first.ctypes.data
        self._file.sizes[0], self._file.sizes[1] = len(head), first.size
        self._tiff: int | None = self._open(strip_bytes)
        if self._tiff is not None and shape.as_rgb:
            library.TIFFSetField(self._tiff, _JPEG_COLOUR_MODE, ctypes.c_int(_JPEG_AS_RGB))
        self._file.sizes[0] = self._file.sizes[1] = 0
        if self._tiff is None or self._file.messages:
            text = self._take_message()
            self.close()
            raise DecodeFailed(text)

    def _open(self, strip_bytes: int) -> int | None:
        library, address = self._library, ctypes.addressof(self._file)
        options = library.TIFFOpenOptionsAlloc()
        try:
            library.TIFFOpenOptionsSetErrorHandlerExtR(options, _NOTE, address)
            library.TIFFOpenOptionsSetWarningHandlerExtR(options, _NOTE, address)
            library.TIFFOpenOptionsSetMaxSingleMemAlloc(options, strip_bytes + _SPARE_BYTES)
            tiff: int | None = library.TIFFClientOpenExt(b"", b"rm", address, *_CALLBACKS, options)
            return tiff
        finally:
            library.TIFFOpenOptionsFree(options)

    def decode(self, raw: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Decode a raw strip (bytes,) to all of `out`, C-contiguous; samples in native order.

        libtiff turns the bits of `raw` round and back where the fill order is 2: it must be a
        copy then.
        """
        whole = self._library.TIFFReadFromUserBuffer(
            *(self._tiff, 0),
            *(raw.ctypes.data, raw.size, out.ctypes.data, out.nbytes),
        )
        if not whole or self._file.messages:
            raise DecodeFailed(self._take_message())

    def close(self) -> None:
        if self._tiff is not None:
            self._library.TIFFClose(self._tiff)
            self._tiff = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take_message(self) -> str:
        text = bytes(self._file.text).decode("ascii", "replace")
        self._file.messages, self._file.text = 0, b""
        sentence = re.split(r"\.?\n|\. ", text)[0]
        return re.sub(r"[(\"']?%\S+", "…", sentence).strip(" ;.") or "no reason given"


def _write_head(shape: Shape, strip_bytes: int) -> bytes:
    """Return a classic TIFF up to its only strip, which follows it."""
    fields: dict[int, int | Sequence[int] | bytes] = {
        256: shape.width,
        257: shape.rows,
        258: (shape.bits,) * shape.samples,
        277: shape.samples,
        278: shape.rows,
        279: strip_bytes,
        **shape.tags,
    }
    entries = len(fields) + 1
    beyond_at = 8 + 2 + 12 * entries + 4
    beyond = bytearray()
    rows = {}
    for tag, value in fields.items():
        kind, count, data = _pack(shape.order, value)
        if len(data) > _INLINE_BYTES:
            at = struct.pack(shape.order + "I", beyond_at + len(beyond))
            beyond += data + bytes(len(data) % 2)
            data = at
        rows[tag] = struct.pack(shape.order + "HHI", tag, kind, count) + data.ljust(
            _INLINE_BYTES, b"\0"
        )
    strip_at = struct.pack(shape.order + "HHII", 273, 4, 1, beyond_at + len(beyond))
    rows[273] = strip_at
    magic = (b"II" if shape.order == "<" else b"MM") + struct.pack(shape.order + "HI", 42, 8)
    count_of_entries = struct.pack(shape.order + "H", entries)
    return magic + count_of_entries + b"".join(rows[t] for t in sorted(rows)) + bytes(4) + beyond


def _pack(order: str, value: int | Sequence[int] | bytes) -> tuple[int, int, bytes]:
    """Return TIFF's type, the count and the bytes of a value: UNDEFINED, SHORT or LONG."""
    if isinstance(value, bytes):
        return 7, len(value), value
    if isinstance(value, int):
        kind = (3, "H") if value < 2**16 else (4, "I")
        return kind[0], 1, struct.pack(order + kind[1], value)
    return 3, len(value), struct.pack(f"{order}{len(value)}H", *value)
