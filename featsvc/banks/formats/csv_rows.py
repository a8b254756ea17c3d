"""Our CSV. The header names the columns, in any order; `algorithm` and `signal` must be there.

    algorithm,signal,external_id,labels,source,opinion,note,expire_time,variant,quality

`signal` is hex; labels are separated by `;`; opinion is positive, negative, disputed or empty;
expire_time is ISO 8601 (UTC where it has no offset). RFC 4180 quoting; a quoted field may span
lines, and a row is named by the line it begins on.
"""

import csv
from collections.abc import Iterator, Sequence

from featsvc.banks.formats.lines import MAX_LINE_BYTES, Lines
from featsvc.banks.formats.rows import ImportRow, bad_row, check_row, parse_time
from featsvc.banks.records import BadRow, EntrySignal, Opinion
from featsvc.errors import InvalidInput
from featsvc.hashing.registry import get_algorithm
from featsvc.hashing.signals import parse_value

REQUIRED = ("algorithm", "signal")
COLUMNS = (
    *REQUIRED, "external_id", "labels", "source", "opinion", "note", "expire_time", "variant",
    "quality",
)  # fmt: skip


def is_header(line: str) -> bool:
    names = [name.strip().strip('"').lower() for name in line.split(",")]
    return all(name in names for name in REQUIRED)


def read(lines: Lines) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput where the header is not one of ours: no row could be trusted."""
    reader = _Reader(lines)
    header = reader.next_row()
    while header is not None and not header.error and not any(header.fields):
        header = reader.next_row()
    if header is None:
        yield from lines.take_bad()
        return
    if header.error:
        raise InvalidInput(f"line {header.line}: {header.error}", field="header")
    columns = _columns(header.line, header.fields)
    yield from lines.take_bad()
    while (row := reader.next_row()) is not None:
        yield from lines.take_bad()
        if row.error:
            yield bad_row(row.line, "", row.error, ",".join(row.fields))
        elif any(field.strip() for field in row.fields):
            yield _parse(row.line, row.fields, columns)
    yield from lines.take_bad()


class _Row:
    __slots__ = ("error", "fields", "line")

    def __init__(self, line: int, fields: list[str], error: str = "") -> None:
        self.line = line
        self.fields = fields
        self.error = error


class _Reader:
    """`csv.reader`, with the line a row begins on, errors as rows, and a cap on a row's size."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._taken = 0
        self._csv = csv.reader(self._capped(), strict=True)

    def next_row(self) -> _Row | None:
        line = self._lines.number + 1
        self._taken = 0
        try:
            fields = next(self._csv)
        except StopIteration:
            return None
        except (csv.Error, _RowTooLong) as exc:
            # An open quote swallows what follows: begin anew on the line after.
            self._csv = csv.reader(self._capped(), strict=True)
            return _Row(line, [], f"not CSV: {exc}")
        return _Row(line, fields)

    def _capped(self) -> Iterator[str]:
        for text in self._lines:
            self._taken += len(text) + 1
            if self._taken > MAX_LINE_BYTES:
                raise _RowTooLong
            yield text + "\n"


class _RowTooLong(Exception):
    def __init__(self) -> None:
        super().__init__(f"the row is longer than {MAX_LINE_BYTES} bytes; is a quote left open?")


def _columns(line: int, header: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in header)
    for name in names:
        if name not in COLUMNS:
            raise InvalidInput(
                f"line {line}: {name[:64]!r} is not a column of this format; known are "
                f"{', '.join(COLUMNS)}",
                field="header",
            )
    for name in (*REQUIRED, *names):
        if names.count(name) != 1:
            raise InvalidInput(f"line {line}: the column {name} must be there once", field="header")
    return names


def _parse(line: int, fields: list[str], columns: tuple[str, ...]) -> ImportRow | BadRow:
    if len(fields) != len(columns):
        return bad_row(
            line,
            "",
            f"the row has {len(fields)} fields, the header has {len(columns)}",
            ",".join(fields),
        )
    cells = dict(zip(columns, fields, strict=True))
    expires = cells.get("expire_time", "").strip()
    try:
        row = ImportRow(
            line,
            (_signal(cells),),
            cells.get("external_id", "").strip(),
            split_labels(cells.get("labels", "")),
            cells.get("source", "").strip(),
            parse_opinion(cells.get("opinion", "")),
            cells.get("note", "").strip(),
            parse_time(expires, field="expire_time") if expires else None,
        )
        check_row(row)
    except InvalidInput as exc:
        return bad_row(line, exc.field, str(exc), ",".join(fields))
    return row


def _signal(cells: dict[str, str]) -> EntrySignal:
    algorithm = get_algorithm(cells["algorithm"].strip().lower()).name
    value = parse_value(algorithm, cells["signal"], field="signal")
    variant = cells.get("variant", "").strip() or "original"
    if len(variant) > 32:
        raise InvalidInput("variant: longer than 32 characters", field="variant")
    return EntrySignal(algorithm, value, variant, _quality(cells.get("quality", "").strip()))


def _quality(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 100:
        raise InvalidInput(f"quality: {text[:64]!r} is not 0 to 100", field="quality")
    return int(text)


def split_labels(text: str) -> tuple[str, ...]:
    """`a; b` to ("a", "b"), each once."""
    return tuple(dict.fromkeys(label for part in text.split(";") if (label := part.strip())))


def parse_opinion(text: str) -> Opinion:
    """Raises InvalidInput."""
    try:
        return Opinion(text.strip().lower())
    except ValueError:
        raise InvalidInput(
            f"opinion: {text[:64]!r} is none of positive, negative, disputed", field="opinion"
        ) from None
