"""Records of a JSON document of any size: the objects of one of its arrays, one at a time."""

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from featsvc.banks.lists.formats.lines import without_bom
from featsvc.errors import InvalidInput

T = TypeVar("T")

MAX_RECORD_BYTES = 2**20
_MAX_DEPTH = 64
_RECORD_DEPTH = 2
"""Records are in an array, the array is in an object."""
# A lone quote begins a string whose end has not arrived yet. The possessive quantifiers keep no
# positions to backtrack to, which would take a hundred times the memory of the data.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[{}\[\]]', re.DOTALL)


def records(chunks: Iterable[bytes], key: str) -> Iterator[tuple[int, bytes]]:
    """Yield each object of the array under `key` of the document, and the line it begins on.

    Raises InvalidInput if the document is truncated, has no such array, or holds a value of more
    than 1 MiB.
    """
    scanner = _Scanner(key.encode())
    for chunk in without_bom(chunks):
        yield from scanner.feed(chunk)
    scanner.finish()


def decode_record(decoder: msgspec.json.Decoder[T], record: bytes | str) -> T:
    """Raises InvalidInput, its `field` naming the column."""
    try:
        return decoder.decode(record)
    except msgspec.DecodeError as exc:
        _, _, column = str(exc).partition("`$.")
        raise InvalidInput(f"not a record: {exc}", field=column.rstrip("`")) from None
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"not a record: 0x{exc.object[exc.start]:02x} in one of its texts is not UTF-8"
        ) from None


class _Scanner:
    """Tracks the nesting of brackets; data before `_used` is no longer needed."""

    def __init__(self, key: bytes) -> None:
        self._key = b'"' + key + b'"'
        self._data = b""
        self._used = 0
        self._begin = -1  # of the record that is open
        self._line = 1
        self._depth = 0
        self._last_string = b""
        self._in_array = self._found = self._ended = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        self._data += chunk
        for token in _TOKEN.finditer(self._data):
            kind = token.group()
            if kind == b'"':
                break
            if kind in b"{[":
                self._open(kind, token.start())
            elif kind in b"}]":
                if self._close():
                    self._use(self._begin)
                    yield self._line, self._data[self._begin : token.end()]
                    self._begin = -1
            elif self._depth == 1:
                self._last_string = kind
            if self._begin < 0:
                self._use(token.end())
        if self._begin >= 0:
            # The record is scanned again from its start when more data has arrived.
            self._use(self._begin)
            self._begin, self._depth = -1, _RECORD_DEPTH
        self._data, self._used = self._data[self._used :], 0
        if len(self._data) > MAX_RECORD_BYTES:
            raise InvalidInput(
                f"line {self._line}: a value is longer than {MAX_RECORD_BYTES} bytes",
                field="file",
            )

    def _open(self, kind: bytes, start: int) -> None:
        if self._is_records(kind):
            self._in_array = self._found = True
        elif self._in_array and self._depth == _RECORD_DEPTH:
            self._begin = start
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidInput.at("file", f"values are nested deeper than {_MAX_DEPTH}")

    def _close(self) -> bool:
        """Return whether a record ended."""
        self._depth -= 1
        if self._depth == 1:
            self._in_array = False
        self._ended = self._depth == 0
        return self._begin >= 0 and self._depth == _RECORD_DEPTH

    def _use(self, until: int) -> None:
        self._line += self._data.count(b"\n", self._used, until)
        self._used = until

    def _is_records(self, kind: bytes) -> bool:
        return (
            kind == b"["
            and self._depth == 1
            and self._last_string == self._key
            and not self._in_array
        )

    def finish(self) -> None:
        name = self._key.decode()
        if not self._ended:
            raise InvalidInput(f"line {self._line}: the JSON document is truncated", field="file")
        if not self._found:
            raise InvalidInput.at(
                "file", f"the document has no array {name}; is this the right format?"
            )
