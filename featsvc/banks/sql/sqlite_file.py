"""The file of a SQLite database: whether it is there, whole and the same, and locks beside it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featsvc.banks.sql.failures import unavailable

_HEADER_BYTES = 100


@contextmanager
def opened_beside(path: Path, purpose: str) -> Iterator[int]:
    """Open the file beside a database whose lock serves a purpose; its content is empty.

    Raises Unavailable.
    """
    beside = path.with_name(f"{path.name}-{purpose}")
    try:
        file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        raise unavailable(f"cannot open {beside.name}: {exc.strerror}; try again") from exc
    try:
        yield file
    finally:
        os.close(file)


def locks(file: int, operation: int) -> bool:
    """Take a lock of a file if nobody has one that forbids it."""
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def is_empty(path: Path) -> bool:
    """Return whether SQLite would take the file for an empty one, and write to it."""
    return _size(path) < _HEADER_BYTES


def is_cut_off(path: Path) -> bool:
    """Return whether a copy of a file is not complete: SQLite would open it without its end.

    Layout of the header: https://www.sqlite.org/fileformat2.html#the_database_header
    """
    size = _size(path)
    log = path.with_name(f"{path.name}-wal")
    # After a crash the end of the file may still be in the write-ahead log.
    if size < _HEADER_BYTES or _size(log):
        return False
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    page_bytes = int.from_bytes(header[16:18])
    changes, pages = int.from_bytes(header[24:28]), int.from_bytes(header[28:32])
    valid_for = int.from_bytes(header[92:96])
    return changes == valid_for and size < pages * (65_536 if page_bytes == 1 else page_bytes)


def file_id(path: Path) -> tuple[int, int] | None:
    """Return what stays the same until another file takes the place of this one; None for none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_folder(folder: Path) -> None:
    """Raises Unavailable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unavailable(f"cannot create its folder {folder}: {exc.strerror}") from exc
