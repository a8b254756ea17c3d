"""The process that builds segments, so that no request waits for a build.

    python -m featsvc.matching.indexer --segments FOLDER      (the store's URL in FEATSVC_BANKS_URL)

A lock ensures that each folder has one indexer, which may be killed and restarted at any moment.
"""

import argparse
import fcntl
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from featsvc.banks.interruption import Interruption
from featsvc.banks.records import StoreHead
from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from featsvc.errors import Conflict, FeatsvcError
from featsvc.matching.agreement import BankCounts, check_counts, check_models
from featsvc.matching.building import build_part
from featsvc.matching.holdings import PartHoldings
from featsvc.matching.segments import (
    collect,
    published,
    revision_of,
    withdraw_other_histories,
    write_segment,
)
from featsvc.matching.set_aside import ChangeLog, summed

COMPACT_ENTRIES = 10_000
"""A segment is built when this many entries, and 1/16 of all, changed since the last one."""
_POLL_S = 0.25
"""A large import is served only from its segment, so builds must start soon."""
_MAX_RETRY_S = 60.0
"""After failures the wait doubles up to this."""
_NICENESS = 10
"""Requests take precedence over a build."""
_LOCK = "indexer.lock"
_MAX_WAIT_FOR_LOCK_S = 0.5
"""`has_indexer` takes the lock for an instant."""

_log = logging.getLogger("featsvc.matching.indexer")


class _UpToDate(NamedTuple):
    """Store and folder when no segment had to be built."""

    head: StoreHead
    segments: tuple[Path, ...]


class _Counted(NamedTuple):
    """How many entries changed from a segment to `head`."""

    segment: Path
    head: StoreHead
    changed: int


class Indexer:
    """Builds a segment of `store` in `folder` whenever the newest one is outdated."""

    def __init__(
        self, store: BankStore, folder: Path, *, compact_entries: int = COMPACT_ENTRIES
    ) -> None:
        self._store = store
        self.folder = folder
        self._compact_entries = compact_entries
        self._set_aside_log = ChangeLog(_log.warning)
        self._up_to_date: _UpToDate | None = None
        self._counted: _Counted | None = None

    def run(self, stopping: threading.Event, *, poll_s: float = _POLL_S) -> None:
        """Run until `stopping` is set. Raises Conflict where another indexer has the folder."""
        wait_s, failure = poll_s, ""
        with _locked_folder(self.folder):
            collect(self.folder)
            while not stopping.is_set():
                try:
                    self.build_if_outdated()
                    collect(self.folder)
                except Exception as exc:
                    if stopping.is_set():
                        return
                    # A build reads the whole store: what fails again must not do that all the time.
                    wait_s = min(2 * wait_s, _MAX_RETRY_S)
                    last, failure = failure, str(exc) or type(exc).__name__
                    if failure != last:
                        bug = not isinstance(exc, (FeatsvcError, OSError))
                        _log.error("no segment was built: %s", failure, exc_info=bug)
                else:
                    if failure:
                        _log.info("building segments again")
                    wait_s, failure = poll_s, ""
                stopping.wait(wait_s)

    def build_if_outdated(self) -> Path | None:
        """Publish a segment, unless the newest one is recent enough. Raises as `build` does.

        While nothing has changed, in the store or the folder, it reads the head only.
        """
        segments = tuple(published(self.folder))
        if self._up_to_date == _UpToDate(self._store.head(), segments):
            return None
        with self._store.view() as view:
            view.check_tables()
            if self._is_outdated(view):
                return self._build(view)
        self._up_to_date = _UpToDate(view.head, tuple(published(self.folder)))
        return None

    def build(self) -> Path:
        """Publish a segment of the newest revision.

        Raises OSError, and Unavailable also where the store is half restored.
        """
        with self._store.view() as view:
            view.check_tables()
            return self._build(view)

    def _build(self, view: StoreView) -> Path:
        started = time.perf_counter()
        banks, dimensions = view.banks(), view.vector_dimensions()
        check_models(banks, dimensions)
        with _no_garbage_collection():
            part = build_part(view.live_signals(), dimensions=dimensions)
        check_counts(BankCounts.of(part, PartHoldings.of(part)), banks)
        path = write_segment(self.folder, part, view.head)
        elapsed_s = time.perf_counter() - started
        _log.info("segment %s: %d entries in %.1f s", path.name, len(part), elapsed_s)
        strings = part.strings
        self._set_aside_log.note(summed([(part.set_aside, strings.banks, strings.causes)]))
        return path

    def _is_outdated(self, view: StoreView) -> bool:
        withdraw_other_histories(self.folder, view.was_at)
        segments = published(self.folder)
        entries = view.entry_count()
        if not segments:
            return entries >= self._compact_entries
        return self._changed_since(segments[-1], view) >= max(self._compact_entries, entries // 16)

    def _changed_since(self, segment: Path, view: StoreView) -> int:
        """Return how many entries changed since a segment, reading only the log since last time."""
        last = self._counted
        if last is None or last.segment != segment or not view.was_at(last.head):
            built = StoreHead(revision_of(segment), None)
            last = _Counted(segment, built, 0)
        changed = last.changed + view.changed_since(last.head.revision).entries
        self._counted = _Counted(segment, view.head, changed)
        return changed


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Rows form no cycles, and to look at them again and again takes as long as to read them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("wb") as lock:
        deadline = time.monotonic() + _MAX_WAIT_FOR_LOCK_S
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise Conflict(f"indexer: another one works on {folder}; stop it first")
            time.sleep(0.02)
        yield


def has_indexer(folder: Path) -> bool:
    """Return whether an indexer works on the folder now."""
    try:
        with (folder / _LOCK).open("rb") as lock:
            return not _try_lock(lock)
    except FileNotFoundError:
        return False


def _try_lock(lock: BinaryIO) -> bool:
    """Take the lock until the file is closed. Returns False where another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=Path, required=True)
    parser.add_argument("--compact-entries", type=int, default=COMPACT_ENTRIES)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    os.nice(_NICENESS)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    interruption = Interruption()

    def cancel_build() -> None:
        stopping.wait()
        interruption.cancel()

    threading.Thread(target=cancel_build, daemon=True).start()
    store = BankStore(os.environ["FEATSVC_BANKS_URL"])
    indexer = Indexer(store, options.segments, compact_entries=options.compact_entries)
    try:
        interruption.run(partial(indexer.run, stopping))
    except FeatsvcError as exc:
        _log.error("%s", exc)
        sys.exit(1)
    finally:
        store.close()


if __name__ == "__main__":
    main()
