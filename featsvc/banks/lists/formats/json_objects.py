"""Objects of a JSON document of any size: those in the arrays under some keys, at any depth.

Unlike `json_records`, whose one array is at the top of a document.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from featsvc.banks.lists.formats.lines import without_bom
from featsvc.errors import InvalidInput

MAX_OBJECT_BYTES = 8 * 2**20
"""An attribute of MISP may hold a file."""
_MAX_DEPTH = 64
# As in `json_records`: a lone quote begins a string whose end has not arrived yet.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[{}\[\]]', re.DOTALL)
_PAIRS = {ord("}"): ord("{"), ord("]"): ord("[")}


class Found(NamedTuple):
    """An object, the key of its array, and the line that it begins on."""

    line: int
    key: str
    data: bytes


def objects(chunks: Iterable[bytes], keys: Collection[str]) -> Iterator[Found]:
    """Yield each object of the arrays under these keys. Such arrays inside of one are part of it.

    Raises InvalidInput if the document is truncated, its brackets do not match, none of the keys
    has an array, or one object is larger than 8 MiB.
    """
    scanner = _Scanner(keys)
    for chunk in without_bom(chunks):
        yield from scanner.feed(chunk)
    scanner.finish()


class _Scanner:
    """Tracks the nesting of brackets; data before `_used` is no longer needed."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = {b'"%s"' % key.encode(): key for key in keys}
        self._data = b""
        self._used = 0
        self._line = 1
        self._open = bytearray()
        self._arrays: list[tuple[int, str]] = []
        """Depth and key of each array of objects that is open; the innermost is last."""
        self._begin = -1  # of the object that is open
        self._string = b""  # the last token, if it was a string
        self._found = self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Found]:
        self._data += chunk
        for token in _TOKEN.finditer(self._data):
            kind = token.group()
            if kind == b'"':
                break
            if kind in b"{[":
                self._push(kind, token.start())
                self._string = b""
            elif kind in b"}]":
                if self._pop(kind):
                    self._use(self._begin)
                    yield Found(
                        self._line, self._arrays[-1][1], self._data[self._begin : token.end()]
                    )
                    self._begin = -1
                self._string = b""
            else:
                self._string = kind
            if self._begin < 0:
                self._use(token.end())
        if self._begin >= 0:
            # It is scanned again from its start when more data has arrived.
            self._use(self._begin)
            self._begin = -1
            del self._open[self._arrays[-1][0] :]
        self._data, self._used = self._data[self._used :], 0
        if len(self._data) > MAX_OBJECT_BYTES:
            raise InvalidInput(
                f"line {self._line}: a value is longer than {MAX_OBJECT_BYTES} bytes; export the "
                "list without attachments",
                field="file",
            )

    def _push(self, kind: bytes, start: int) -> None:
        depth = len(self._open)
        if self._begin < 0:
            if kind == b"{" and self._arrays and self._arrays[-1][0] == depth:
                self._begin = start
            elif kind == b"[" and self._string in self._keys and self._open[-1:] == b"{":
                self._arrays.append((depth + 1, self._keys[self._string]))
                self._found = True
        self._open += kind
        if len(self._open) > _MAX_DEPTH:
            raise InvalidInput.at("file", f"values are nested deeper than {_MAX_DEPTH}")

    def _pop(self, kind: bytes) -> bool:
        """Return whether an object ended."""
        if not self._open or self._open.pop() != _PAIRS[kind[0]]:
            raise InvalidInput(
                f"line {self._line}: not JSON: {kind.decode()!r} closes nothing", field="file"
            )
        self._ended = not self._open
        if self._begin < 0 and self._arrays and len(self._open) < self._arrays[-1][0]:
            self._arrays.pop()
        return self._begin >= 0 and len(self._open) == self._arrays[-1][0]

    def _use(self, until: int) -> None:
        self._line += self._data.count(b"\n", self._used, until)
        self._used = until

    def finish(self) -> None:
        names = ", ".join(sorted(self._keys.values()))
        if not self._ended:
            raise InvalidInput(f"line {self._line}: the JSON document is truncated", field="file")
        if not self._found:
            raise InvalidInput.at(
                "file", f"the document has no array {names}; is this the right format?"
            )
