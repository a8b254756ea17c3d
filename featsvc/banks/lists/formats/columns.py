"""Columns of a table: which of ours each is, by its name or by the sender's map.

    algorithm, signal    one signal in each row
    md5, sha1, pdq, ...  a column for each algorithm: an entry in each row, empty cells skipped

Names are compared without case, blanks and hyphens as underscores. A name that others use for one
of our columns counts as ours (`OTHER_NAMES`), unless the header has ours too.

No column is dropped in silence: one that is not known might say which rows do not count. Only those
of `HARMLESS` describe the file or its listing, and are left unread; any other must be mapped or
ignored by the sender. Columns without a name must be empty.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import RAW_TEXT, our_name
from featsvc.errors import InvalidInput, shown
from featsvc.signals.algorithms import ALGORITHMS, Kind

REQUIRED = ("algorithm", "signal")
COLUMNS = (
    *REQUIRED,
    "external_id",
    "labels",
    "source",
    "opinion",
    "note",
    "expire_time",
    "variant",
    "quality",
    "withdrawn",
)
UNREAD = ""
UNNAMED = " "
"""What a column without a name is: its cells must be empty."""
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "algorithm": ("algo", "type", "signal_type", "hash_type", "hashtype", "hash_algorithm"),
    "signal": (
        "value", "hash", "hash_value", "hashvalue", "hash_digest", "signal_value", "signal_str",
        "digest", "indicator", "checksum",
    ),
    "external_id": ("id", "uuid", "externalid", "external_reference", "case_id"),
    "labels": ("label", "tags", "tag"),
    "note": ("notes", "comment", "comments"),
    "expire_time": ("expires", "expires_at", "expiry", "expiration", "valid_until"),
    "withdrawn": ("deleted", "is_deleted", "removed", "revoked", "should_delete"),
}  # fmt: skip
HARMLESS = frozenset(
    {
        *("file", "filename", "file_name", "path", "file_path", "filepath", "name", "title"),
        *("extension", "size", "file_size", "filesize", "bytes", "width", "height", "duration"),
        *("mime", "mime_type", "mimetype", "content_type", "media_type", "index", "row", "line"),
        *("date", "timestamp", "created", "created_at", "create_time", "updated", "updated_at"),
        *("first_seen", "last_seen"),
    }
)
_OURS = {other: ours for ours, others in OTHER_NAMES.items() for other in others}
_GAPS = re.compile(r"[\s_-]+")
_DIGITS = re.compile(r"[\s\"'\\]*(0x)?[0-9a-f]{32}", re.IGNORECASE)
_MAX_SHOWN = 12


def plain(name: str) -> str:
    """Return a column's name as names are compared."""
    return _GAPS.sub("_", name.strip().strip("\"'").strip().lower())


def algorithm_named(name: str) -> str:
    """Return the algorithm that a column of signals is named for, "" if it is none."""
    name = plain(name)
    for candidate in (name, name.removesuffix("_hash"), name.removeprefix("hash_")):
        for spelling in (candidate, candidate.replace("_", "-"), candidate.replace("_", "")):
            ours = our_name(spelling)
            known = ALGORITHMS.get(ours)
            if ours == RAW_TEXT or (known is not None and known.kind is not Kind.TEXT):
                return ours
    return ""


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column of a table is: a name of `COLUMNS`, an algorithm, UNREAD or UNNAMED.

    `wide`: the columns are named for algorithms, and there is none named `signal`.
    """

    names: tuple[str, ...]
    wide: bool = False

    def index(self, name: str) -> int:
        """Return the place of a column, -1 if the table has none of this name."""
        return self.names.index(name) if name in self.names else -1


def looks_like_header(cells: Sequence[str], reading: Reading) -> bool:
    """Return whether these cells name columns of signals, known or mapped."""
    names = [plain(cell) for cell in cells]
    if any(map(_DIGITS.match, cells)):
        return False
    if _map_fits(names, reading) and not reading.remembered:
        return True
    ours = _known(names, reading)
    if "signal" in ours:
        others = (n for n, is_ours in zip(names, ours, strict=True) if not is_ours)
        return "algorithm" in ours or all(n in HARMLESS or not n for n in others)
    return any(map(algorithm_named, names))


def columns_of(cells: Sequence[str], reading: Reading, line: int) -> Columns:
    """Return what the columns are, and say in `reading` what was used and what is not read.

    Raises InvalidInput, naming the column and the way out.
    """
    names = [plain(cell) for cell in cells]
    ignored = {plain(name) for name in reading.ignored_columns}
    _check_ignored(ignored, names, cells, line)
    ours = _mapped(["" if name in ignored else name for name in names], reading, line)
    _check_once(ours, cells, line)
    wide = "signal" not in ours and any(name not in COLUMNS and name for name in ours)
    kept: list[str] = []
    unread: list[str] = []
    unknown: list[str] = []
    for cell, name, our in zip(cells, names, ours, strict=True):
        usable = bool(our) and (our in COLUMNS or wide) and not (wide and our == "algorithm")
        if name in ignored or (name in HARMLESS and not usable):
            unread.append(cell.strip())
            kept.append(UNREAD)
        elif not name:
            kept.append(UNNAMED)
        elif usable:
            kept.append(our)
        else:
            unknown.append(cell.strip())
    if unknown:
        raise _unknown(unknown, line)
    if "signal" not in kept and not wide:
        raise InvalidInput(
            f"line {line}: no column holds the signals; the header has {_listed(cells)}. Name it "
            "with --map signal=COLUMN",
            field="header",
        )
    reading.unread_columns = tuple(unread)
    return Columns(tuple(kept), wide)


def _known(names: Sequence[str], reading: Reading) -> list[str]:
    """Return our name of each column, or the algorithm it is named for; "" where neither."""
    mapped = _theirs(reading) if _map_fits(names, reading) else {}
    by_map = {theirs: ours for ours, theirs in mapped.items()}
    taken = {*mapped, *(name for name in names if name in COLUMNS and name not in by_map)}
    found = []
    for name in names:
        if name in by_map:
            found.append(by_map[name])
        elif name in COLUMNS and name not in mapped:
            found.append(name)
        elif _OURS.get(name, "") in taken:
            found.append("")
        else:
            found.append(_OURS.get(name) or algorithm_named(name))
    return found


def _theirs(reading: Reading) -> dict[str, str]:
    """Return the map with plain names: ours -> theirs."""
    return {
        ours if (ours := plain(name)) in COLUMNS else algorithm_named(name): plain(theirs)
        for name, theirs in reading.column_map.items()
    }


def _map_fits(names: Sequence[str], reading: Reading) -> bool:
    return bool(reading.column_map) and all(t in names for t in _theirs(reading).values())


def check_map(column_map: Mapping[str, str]) -> None:
    """Raises InvalidInput for a map with a column that is not ours, or with a missing name."""
    for name, theirs in column_map.items():
        if plain(name) not in COLUMNS and not algorithm_named(name):
            raise InvalidInput.at(
                "column_map",
                f"{shown(name)!r} is none of our columns, which are {', '.join(COLUMNS)}, nor an "
                "algorithm",
            )
        if not plain(theirs):
            raise InvalidInput.at("column_map", f"{name}: which column of the list is it?")


def _mapped(names: Sequence[str], reading: Reading, line: int) -> list[str]:
    """Like `_known`. Raises InvalidInput for a given map that names a missing column."""
    if reading.column_map and not reading.remembered:
        for ours, theirs in reading.column_map.items():
            if names.count(plain(theirs)) != 1:
                raise InvalidInput(
                    f"line {line}: {ours} is to be the column {shown(theirs)!r}, which the header "
                    f"has {names.count(plain(theirs))} times: {_listed(names)}",
                    field="column_map",
                )
    reading.used_map = reading.column_map if _map_fits(names, reading) else {}
    return _known(names, reading)


def _check_once(ours: Sequence[str], cells: Sequence[str], line: int) -> None:
    for name in ours:
        same = [cell.strip() for cell, our in zip(cells, ours, strict=True) if our == name]
        if name and len(same) > 1:
            raise InvalidInput(
                f"line {line}: the column {name} must occur once, not {len(same)} times: "
                f"{_listed(same)}. Say which with --map {name}=COLUMN, and leave the other out "
                "with --ignore-column COLUMN",
                field="header",
            )


def _check_ignored(
    ignored: Iterable[str], names: Sequence[str], cells: Sequence[str], line: int
) -> None:
    for name in sorted(ignored):
        if name not in names:
            raise InvalidInput(
                f"line {line}: there is no column {shown(name)!r} to ignore; the header has "
                f"{_listed(cells)}",
                field="ignored_columns",
            )


def _unknown(unknown: Sequence[str], line: int) -> InvalidInput:
    first = unknown[0]
    what = f"column {shown(first)!r}" if len(unknown) == 1 else f"columns {_listed(unknown)}"
    return InvalidInput(
        f"line {line}: unknown {what}. It may say which rows do not count, so tell what it is "
        f"with --map OURS={shown(first)}, or leave it out with --ignore-column "
        f"{shown(first)}; ours are {', '.join(COLUMNS)}",
        field="header",
    )


def _listed(names: Sequence[str]) -> str:
    cut = ", ..." if len(names) > _MAX_SHOWN else ""
    return ", ".join(shown(name.strip()) for name in names[:_MAX_SHOWN]) + cut
