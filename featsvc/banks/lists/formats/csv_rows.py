"""Tables of text: our CSV, and those of others. The header names the columns, in any order.

    algorithm,signal,external_id,labels,source,opinion,note,expire_time,variant,quality,withdrawn
    external_id;md5;sha1;pdq

`columns` says which names are known, `dialect` which delimiters. `signal` is hex, the text of an
algorithm that is only stored, or for `raw_text` the text to be hashed. Labels are separated by `;`.
`opinion` is positive, negative, disputed or empty; `expire_time` is ISO 8601 (UTC if it has no
offset); `withdrawn` is true, false or empty. Quoting is that of RFC 4180; a quoted field may span
lines, and a row has the number of the line it begins on. `spreadsheet` says how a cell is written
that a spreadsheet would run.

Lines that begin with `#` are comments, before the header and after it, except for rows whose first
cell may begin so: that of a column of free text.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, TypeVar

from featsvc.banks.lists.formats.bare_hashes import AmbiguousHash, algorithm_of_digits
from featsvc.banks.lists.formats.columns import (
    COLUMNS,
    REQUIRED,
    UNNAMED,
    UNREAD,
    Columns,
    columns_of,
    looks_like_header,
)
from featsvc.banks.lists.formats.dialect import (
    COMMENT,
    choose_delimiter,
    declared_delimiter,
    has_header,
)
from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.reading import Reading
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
from featsvc.signals.algorithms import ALGORITHMS, Kind

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


HEADER = (",".join(Cells._fields) + "\n").encode()
_FLAGS = {"": False, "false": False, "0": False, "no": False, "true": True, "1": True, "yes": True}
_CACHED_CELLS = 10_000
_SHORT_CHARS = MAX_EXTERNAL_ID_BYTES // 4
"""An external id of so many characters is good: `Lines` has no NUL."""
_QUALITY_DIGITS = len(str(MAX_QUALITY))
MAX_OPEN_BYTES = 64 * 1024
"""Limit of a row that spans lines: an open quote must not swallow the list."""


_OF_PICTURES = frozenset(a.name for a in ALGORITHMS.values() if a.kind is Kind.PICTURE)
"""Algorithms that have a quality."""
_FREE_TEXT = frozenset({"external_id", "labels", "source", "note", UNREAD})
"""Columns whose cells may begin with `#`."""


def is_header(lines: Sequence[str], reading: Reading) -> bool:
    """Return whether the first of these lines that is no comment names columns of signals.

    If the sender told which columns are which, it must: the reader says what is missing.
    """
    told = {"column_map", "ignored_columns"}.intersection(reading.options)
    return bool(told) or has_header(lines, lambda cells: looks_like_header(cells, reading))


def read(chunks: Iterable[bytes], reading: Reading | None = None) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput for an unknown header: no row could be trusted."""
    told = reading or Reading()
    return table_rows(
        chunks,
        lambda line, fields, delimiter: _parser(fields, told, line, delimiter).parse,
        lambda cells: looks_like_header(cells, told),
    )


def table_rows(
    chunks: Iterable[bytes],
    parser_of: Callable[[int, list[str], str], Callable[[int, list[str]], T | None]],
    has_meaning: Callable[[Sequence[str]], bool],
) -> Iterator[T | BadRow]:
    """Parse the rows of a table by what `parser_of` makes of its header.

    It gets the line, the fields and the delimiter, which divides the header into cells that
    `has_meaning` knows. Rows that are parsed to None are left out. Raises InvalidInput for a header
    that is not CSV.
    """
    lines = Lines(chunks)
    header = _read_header(lines, has_meaning)
    yield from lines.take_bad()
    if header is None:
        return
    parse, delimiter = parser_of(*header), header[-1]
    for text in lines:
        line, fields, error = lines.number, text.split(delimiter), ""
        if '"' in text:
            fields, error = _quoted(text, lines, delimiter)
        if error:
            yield bad_row(line, "", error, "")
        elif fields[0] or "".join(fields).strip():
            row = parse(line, fields)
            if row is not None:
                yield row
        if lines.bad:
            yield from lines.take_bad()
    yield from lines.take_bad()


def _read_header(
    lines: Lines, has_meaning: Callable[[Sequence[str]], bool]
) -> tuple[int, list[str], str] | None:
    """Return line, fields and delimiter of the header, None for a list without one."""
    declared = ""
    for text in lines:
        if not text or text.isspace() or text.startswith(COMMENT):
            continue
        if not declared and (declared := declared_delimiter(text)):
            continue
        delimiter = declared or choose_delimiter(text, has_meaning)
        line, fields, error = lines.number, text.split(delimiter), ""
        if '"' in text:
            fields, error = _quoted(text, lines, delimiter)
        if error:
            raise InvalidInput(f"line {line}: {error}", field="header")
        if any(map(str.strip, fields)):
            return line, fields, delimiter
    return None


def _parser(fields: Sequence[str], reading: Reading, line: int, delimiter: str) -> "_Parser":
    """Raises InvalidInput for an unknown header."""
    columns = columns_of(fields, reading, line)
    kind = _WideParser if columns.wide else _Parser
    return kind(columns, reading, delimiter)


def _quoted(text: str, lines: Lines, delimiter: str) -> tuple[list[str], str]:
    """Return the fields of a row with quotes, which may span lines, or [] and the error."""
    rows = csv.reader(
        _capped(text, lines),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=f'{delimiter} "' in text,
    )
    try:
        return next(rows), ""
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


class _Parser:
    """Parses the fields of rows. Cells that many rows share are parsed once."""

    def __init__(self, columns: Columns, reading: Reading, delimiter: str) -> None:
        self._columns = columns.names
        self._delimiter = delimiter
        self._given = listed_algorithm(reading.algorithm) if reading.algorithm else ""
        self._algorithm, self._signal = columns.index("algorithm"), columns.index("signal")
        if self._algorithm >= 0 and self._given:
            raise InvalidInput.at(
                "algorithm", "the list has a column that names it; leave the option out"
            )
        self._external_id = columns.index("external_id")
        self._unnamed = tuple(i for i, n in enumerate(columns.names) if n == UNNAMED)
        shared = [i for i, n in enumerate(columns.names) if n in COLUMNS[len(REQUIRED) + 1 :]]
        # The key of `_known`: a text or a tuple of texts; nothing if no column is shared.
        self._key = itemgetter(*shared) if shared else _no_key
        self._known: dict[object, _SharedCells] = {}
        self._algorithms: dict[str, str] = {}

    def parse(self, line: int, fields: list[str]) -> ImportRow | BadRow | None:
        """Return None for a comment."""
        try:
            if len(fields) != len(self._columns) or self._unnamed:
                fields = self._repaired(fields)
            if self._algorithm >= 0:
                name = fields[self._algorithm]
                algorithm = self._algorithms.get(name)
                if algorithm is None:
                    algorithm = self._algorithms[name] = listed_algorithm(name)
            else:
                algorithm = self._given or algorithm_of_digits(fields[self._signal])
            key = self._key(fields)
            shared = self._known.get(key) or self._remember(key, fields)
            value = fields[self._signal]
            if value[:1] == "'":  # rare: this saves a call for each row
                value = parse_cell(value)
            signals = parse_listed_signals(
                algorithm, value, variant=shared.variant, quality=shared.quality
            )
            external_id = parse_cell(fields[self._external_id]) if self._external_id >= 0 else ""
            if len(external_id) > _SHORT_CHARS:
                check_text("external_id", external_id, MAX_EXTERNAL_ID_BYTES)
        except AmbiguousHash:
            raise
        except InvalidInput as exc:
            return self._bad(line, fields, exc)
        return ImportRow(line, signals, external_id, *shared.fields)

    def _bad(self, line: int, fields: Sequence[str], exc: InvalidInput) -> BadRow | None:
        if fields[0].startswith(COMMENT) and self._columns[0] not in _FREE_TEXT:
            return None
        return bad_row(line, exc.field, str(exc), self._delimiter.join(fields))

    def _repaired(self, fields: list[str]) -> list[str]:
        """Return as many fields as there are columns. Raises InvalidInput.

        Fields beyond them, and those of columns without a name, must be blank.
        """
        columns = len(self._columns)
        named = max(i for i, name in enumerate(self._columns) if name != UNNAMED) + 1
        if len(fields) < named or any(field.strip() for field in fields[columns:]):
            raise InvalidInput(_odd(fields, columns))
        fields = fields[:columns] + [""] * (columns - len(fields))
        for i in self._unnamed:
            if fields[i].strip():
                raise InvalidInput(
                    f"field {i + 1} has a value, but its column has no name in the header"
                )
        return fields

    def _remember(self, key: object, fields: Sequence[str]) -> "_SharedCells":
        if len(self._known) >= _CACHED_CELLS:
            self._known.clear()
        cells = dict(zip(self._columns, fields, strict=True))
        shared = self._known[key] = _parse_shared(cells)
        return shared


def _no_key(_: object) -> object:
    return None


class _WideParser(_Parser):
    """Parses rows with a column for each algorithm."""

    def __init__(self, columns: Columns, reading: Reading, delimiter: str) -> None:
        super().__init__(columns, reading, delimiter)
        if self._given:
            raise InvalidInput.at(
                "algorithm", "the columns of the list are named for it; leave the option out"
            )
        self._signals = [
            (i, name)
            for i, name in enumerate(columns.names)
            if name not in (*COLUMNS, UNREAD, UNNAMED)
        ]

    def parse(self, line: int, fields: list[str]) -> ImportRow | BadRow | None:
        try:
            if len(fields) != len(self._columns) or self._unnamed:
                fields = self._repaired(fields)
            key = self._key(fields)
            shared = self._known.get(key) or self._remember(key, fields)
            signals = tuple(
                signal
                for i, name in self._signals
                if fields[i].strip()
                for signal in parse_listed_signals(
                    name,
                    parse_cell(fields[i]),
                    field=name,
                    variant=shared.variant,
                    quality=shared.quality if name in _OF_PICTURES else None,
                )
            )
            external_id = parse_cell(fields[self._external_id]) if self._external_id >= 0 else ""
            withdrawal = shared.fields[-2] and external_id
            if not signals and not withdrawal:
                raise InvalidInput("the row has no signal: all of these columns are empty")
            check_text("external_id", external_id, MAX_EXTERNAL_ID_BYTES)
        except AmbiguousHash:
            raise
        except InvalidInput as exc:
            return self._bad(line, fields, exc)
        return ImportRow(line, signals, external_id, *shared.fields)


class _SharedCells(NamedTuple):
    """The parsed cells besides algorithm, signal and external id."""

    variant: str
    quality: int | None
    fields: tuple[tuple[str, ...], str, Opinion, str, datetime | None, bool, int]
    """The fields of an `ImportRow` from `labels` on."""


def odd_row(line: int, fields: Sequence[str], columns: int, delimiter: str) -> BadRow:
    return bad_row(line, "", _odd(fields, columns), delimiter.join(fields))


def _odd(fields: Sequence[str], columns: int) -> str:
    return f"the row has {len(fields)} fields, the header has {columns}"


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
