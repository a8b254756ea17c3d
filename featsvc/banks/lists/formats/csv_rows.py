"""Our CSV. The header names the columns, in any order.

    algorithm,signal,external_id,labels,source,opinion,note,expire_time,variant,quality,withdrawn

`algorithm` and `signal` are required. `signal` is hex, the text of an algorithm that is only
stored, or for `raw_text` the text to be hashed. Labels are separated by `;`. `opinion` is positive,
negative, disputed or empty; `expire_time` is ISO 8601 (UTC if it has no offset); `withdrawn` is
true, false or empty. Quoting is that of RFC 4180; a quoted field may span lines, and a row has the
number of the line it begins on. `spreadsheet` says how a cell is written that a spreadsheet would
run.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, TypeVar

from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    bad_row,
    check_row,
    clean_labels,
    listed_algorithm,
    parse_listed_signals,
    parse_time,
)
from featsvc.banks.lists.formats.spreadsheet import format_cell, parse_cell
from featsvc.banks.records import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_QUALITY,
    Entry,
    Opinion,
    check_text,
    check_variant,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

T = TypeVar("T")


class Cells(NamedTuple):
    """The cells of a written row, in the order of the columns."""

    algorithm: str
    signal: str
    external_id: str = ""
    labels: str = ""
    source: str = ""
    opinion: str = ""
    note: str = ""
    expire_time: str = ""
    variant: str = ""
    quality: str = ""
    withdrawn: str = ""


REQUIRED = ("algorithm", "signal")
COLUMNS = Cells._fields
HEADER = (",".join(COLUMNS) + "\n").encode()
_FLAGS = {"": False, "false": False, "0": False, "no": False, "true": True, "1": True, "yes": True}
_CACHED_CELLS = 10_000
_QUALITY_DIGITS = len(str(MAX_QUALITY))
MAX_OPEN_BYTES = 64 * 1024
"""Limit of a row that spans lines: an open quote must not swallow the list."""


def is_header(line: str) -> bool:
    return set(REQUIRED) <= set(header_names(line))


def header_names(line: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in line.split(",")]


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput for an unknown header: no row could be trusted."""
    return table_rows(chunks, lambda line, fields: _Parser(_columns(line, fields)).parse)


def table_rows(
    chunks: Iterable[bytes], parser_of: Callable[[int, list[str]], Callable[[int, list[str]], T]]
) -> Iterator[T | BadRow]:
    """Parse the rows of a table by what `parser_of` makes of the number and fields of its header.

    Raises InvalidInput for a header that is not CSV.
    """
    lines = Lines(chunks)
    parse = None
    for text in lines:
        line, fields, error = lines.number, text.split(","), ""
        if '"' in text:
            fields, error = _quoted(text, lines)
        if error and parse is None:
            raise InvalidInput(f"line {line}: {error}", field="header")
        if error:
            yield bad_row(line, "", error, "")
        elif not fields[0] and not "".join(fields).strip():
            pass
        elif parse is None:
            parse = parser_of(line, fields)
        else:
            yield parse(line, fields)
        if lines.bad:
            yield from lines.take_bad()
    yield from lines.take_bad()


def _quoted(text: str, lines: Lines) -> tuple[list[str], str]:
    """Return the fields of a row with quotes, which may span lines, or [] and the error."""
    try:
        return next(csv.reader(_capped(text, lines), strict=True)), ""
    except (csv.Error, _RowTooLong) as exc:
        # The lines that an open quote swallowed are lost; the next line is a new row.
        return [], f"not CSV: {exc}"


def _capped(first: str, lines: Lines) -> Iterator[str]:
    yield first + "\n"
    taken = len(first)
    for text in lines:
        taken += len(text) + 1
        if taken > MAX_OPEN_BYTES:
            raise _RowTooLong
        yield text + "\n"


class _RowTooLong(Exception):
    def __init__(self) -> None:
        super().__init__(
            f"the row spans lines and is longer than {MAX_OPEN_BYTES} bytes; is a quote left open?"
        )


def _columns(line: int, header: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in header)
    for name in names:
        if name not in COLUMNS:
            raise InvalidInput(
                f"line {line}: unknown column {shown(name)!r}; known are {', '.join(COLUMNS)}",
                field="header",
            )
    for name in (*REQUIRED, *names):
        if names.count(name) != 1:
            raise InvalidInput(
                f"line {line}: the column {name} must occur once, not {names.count(name)} times",
                field="header",
            )
    return names


class _Parser:
    """Parses the fields of rows. Cells that many rows share are parsed once."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        index = {name: i for i, name in enumerate(columns)}
        self._algorithm, self._signal = index["algorithm"], index["signal"]
        self._external_id = index.get("external_id", -1)
        shared = [index[name] for name in columns if name not in (*REQUIRED, "external_id")]
        # The key of `_known`: a text or a tuple of texts; any column serves if there are no others.
        self._key = itemgetter(*(shared or [self._algorithm]))
        self._known: dict[object, _SharedCells] = {}
        self._algorithms: dict[str, str] = {}

    def parse(self, line: int, fields: list[str]) -> ImportRow | BadRow:
        if len(fields) != len(self._columns):
            return odd_row(line, fields, len(self._columns))
        try:
            name = fields[self._algorithm]
            algorithm = self._algorithms.get(name)
            if algorithm is None:
                algorithm = self._algorithms[name] = listed_algorithm(name)
            key = self._key(fields)
            shared = self._known.get(key) or self._remember(key, fields)
            value = fields[self._signal]
            if value[:1] == "'":  # rare: this saves a call for each row
                value = parse_cell(value)
            signals = parse_listed_signals(
                algorithm, value, variant=shared.variant, quality=shared.quality
            )
            external_id = parse_cell(fields[self._external_id]) if self._external_id >= 0 else ""
            check_text("external_id", external_id, MAX_EXTERNAL_ID_BYTES)
        except InvalidInput as exc:
            return bad_row(line, exc.field, str(exc), ",".join(fields))
        return ImportRow(line, signals, external_id, *shared.fields)

    def _remember(self, key: object, fields: Sequence[str]) -> "_SharedCells":
        if len(self._known) >= _CACHED_CELLS:
            self._known.clear()
        cells = dict(zip(self._columns, fields, strict=True))
        shared = self._known[key] = _parse_shared(cells)
        return shared


class _SharedCells(NamedTuple):
    """The parsed cells besides algorithm, signal and external id."""

    variant: str
    quality: int | None
    fields: tuple[tuple[str, ...], str, Opinion, str, datetime | None, bool, int]
    """The fields of an `ImportRow` from `labels` on."""


def odd_row(line: int, fields: Sequence[str], columns: int) -> BadRow:
    reason = f"the row has {len(fields)} fields, the header has {columns}"
    return bad_row(line, "", reason, ",".join(fields))


def _parse_shared(cells: dict[str, str]) -> _SharedCells:
    """Raises InvalidInput."""
    opinion = cells.get("opinion", "").strip().lower()
    labels = parse_cell(cells.get("labels", ""))
    expires = cells.get("expire_time", "").strip()
    flag = cells.get("withdrawn", "").strip().lower()
    if flag not in _FLAGS:
        raise InvalidInput.at("withdrawn", f"must be true or false, not {shown(flag)!r}")
    variant = check_variant(parse_cell(cells.get("variant", "")) or "original")
    quality = parse_quality(cells.get("quality", "").strip())
    row = ImportRow(
        0,
        (),
        labels=clean_labels(labels.split(";")),
        source=parse_cell(cells.get("source", "")),
        opinion=parse_opinion(opinion),
        note=parse_cell(cells.get("note", "")),
        expire_time=parse_time(expires, field="expire_time") if expires else None,
        withdrawn=_FLAGS[flag],
    )
    check_row(row)
    return _SharedCells(variant, quality, row[3:])


def parse_quality(text: str) -> int | None:
    """Parse 0 to 100; None for an empty text. Raises InvalidInput."""
    if not text:
        return None
    if (
        not (text.isascii() and text.isdigit())
        or len(text) > _QUALITY_DIGITS
        or int(text) > MAX_QUALITY
    ):
        raise InvalidInput.at("quality", f"must be 0 to {MAX_QUALITY}, not {shown(text)!r}")
    return int(text)


def parse_opinion(text: str) -> Opinion:
    """Raises InvalidInput."""
    try:
        return Opinion(text.strip().lower())
    except ValueError:
        raise InvalidInput.at(
            "opinion", f"must be positive, negative or disputed, not {shown(text)!r}"
        ) from None


def write(entry: Entry) -> Iterable[bytes]:
    """Write a row for each signal; `HEADER` comes before all rows."""
    text = io.StringIO()
    labels = format_cell(";".join(entry.labels))
    external_id, source, note = map(format_cell, (entry.external_id, entry.source, entry.note))
    expires = "" if entry.expire_time is None else entry.expire_time.isoformat()
    # With these line ends a cell with a carriage return is quoted, too.
    csv.writer(text, lineterminator="\r\n").writerows(
        Cells(
            algorithm=s.algorithm,
            signal=format_cell(s.text),
            external_id=external_id,
            labels=labels,
            source=source,
            opinion=entry.opinion.value,
            note=note,
            expire_time=expires,
            variant="" if s.variant == "original" else format_cell(s.variant),
            quality="" if s.quality is None else str(s.quality),
        )
        for s in entry.signals
    )
    yield text.getvalue().replace("\r\n", "\n").encode()
