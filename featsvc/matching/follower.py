"""Keeps the served snapshot at the newest revision of the store, off the request path.

One thread polls the head of the store. When it moves, the thread reads the changes, adds them as a
layer (`featsvc.matching.layers`), and swaps in the next snapshot by one assignment, so that a
request sees either the old or the new one. A newer segment replaces the base. While the store is
away, the last snapshot is served and its staleness grows; the thread recovers by itself.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from featsvc.banks.interruption import Interruption
from featsvc.banks.records import Revision, StoreHead
from featsvc.banks.sql.times import to_us
from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, TimedOut, Unavailable
from featsvc.matching.indexer import has_indexer
from featsvc.matching.layers import Layers
from featsvc.matching.segments import Segment, newest_segment
from featsvc.matching.set_aside import ChangeLog, SetAside
from featsvc.matching.snapshot import AlgorithmStatus, Snapshot

COMPACT_SIGNALS = 20_000
"""Without an indexer, the base is rebuilt when the delta exceeds this and 1/8 of the base."""
LEAVE_TO_INDEXER_ENTRIES = 50_000
_MAX_WAIT_FOR_INDEXER_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """The state of the served snapshot, compared with the store.

    `committed_revision` is that of the store at the last contact, None where the last attempt
    failed. `staleness_ms` is the age of the oldest committed change that is not served. While the
    store is away it counts from the last contact, because later commits are unknown. `failure` says
    why the last attempt failed, "" where it did not. `set_aside` are signals that are not searched.
    """

    served_revision: int
    committed_revision: int | None
    staleness_ms: int
    last_contact: datetime | None
    algorithms: tuple[AlgorithmStatus, ...]
    set_aside: tuple[SetAside, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _StoreState:
    """The revision of the store at the last contact.

    `unserved_since`: commit time of the oldest change that is not served. `failure`: why a later
    attempt failed.
    """

    revision: int
    contact_time: datetime
    unserved_since: datetime | None = None
    failure: str = ""


class Follower:
    """Serves snapshots of a store. Call `start` once; then `snapshot` is available. Thread-safe."""

    def __init__(
        self, store: BankStore, *, poll_interval_ms: int = 100, segments: Path | None = None
    ) -> None:
        """`segments` is the folder that an indexer publishes to. Without it the whole index is read
        from the store into the memory of this process."""
        self._store = store
        self._segments = segments
        self._segment_revision = 0
        self._refused: frozenset[str] = frozenset()
        """Folders of segments that are not of this store's history."""
        self._layers: Layers | None = None
        self._waiting_since: float | None = None
        self._poll_interval_s = poll_interval_ms / 1000
        self._snapshot: Snapshot | None = None
        self._store_state: _StoreState | None = None
        self._set_aside: tuple[SetAside, ...] = ()
        self._set_aside_log = ChangeLog(_log.warning)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._swapped = threading.Condition()
        self._interruption = Interruption()
        self._thread = threading.Thread(
            target=self._interruption.run, args=(self._run,), name="bank-follower", daemon=True
        )

    def start(self) -> None:
        """Load the first snapshot and start the thread. Raises Unavailable if the store is away."""
        self._interruption.run(self._poll)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and every `wait_for`. The last snapshot stays available."""
        self._stopping.set()
        self._interruption.cancel()
        self._wake.set()
        with self._swapped:
            self._swapped.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises Unavailable before the first one is loaded."""
        if self._snapshot is None:
            raise Unavailable("banks: not loaded yet; try again", reason="BANKS_LOADING")
        return self._snapshot

    def wait_for(self, revision: int, timeout_s: float) -> Snapshot:
        """Wait for a snapshot of `revision` or later, so that a writer sees its own write.

        Raises TimedOut, or Unavailable where the follower stops. The write is committed anyway.
        """
        self._wake.set()
        with self._swapped:
            in_time = self._swapped.wait_for(
                lambda: self.snapshot.revision >= revision or self._stopping.is_set(),
                timeout=timeout_s,
            )
            if self.snapshot.revision >= revision:
                return self.snapshot
        if in_time:
            raise Unavailable(f"stopping: revision {revision} is committed, but not served here")
        raise TimedOut(
            f"banks: revision {revision} is committed, but not served within {timeout_s:g} s; "
            "it will be served later"
        )

    def status(self) -> FollowerStatus:
        """Return the state of the snapshot and its delay behind the store."""
        snapshot, store = self.snapshot, self._store_state
        since = None
        if store is not None:
            since = store.unserved_since or (store.contact_time if store.failure else None)
        age = datetime.now(UTC) - since if since is not None else None
        return FollowerStatus(
            served_revision=snapshot.revision,
            committed_revision=None if store is None or store.failure else store.revision,
            staleness_ms=max(0, int(age.total_seconds() * 1000)) if age is not None else 0,
            last_contact=None if store is None else store.contact_time,
            algorithms=snapshot.status,
            set_aside=self._set_aside,
            failure="" if store is None else store.failure,
        )

    def _run(self) -> None:
        failure = ""
        while True:
            self._wake.wait(self._poll_interval_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._poll()
            except Exception as exc:
                if self._stopping.is_set():
                    return
                # Even a bug must not end the thread: the next change may load.
                last, failure = failure, str(exc) or type(exc).__name__
                if self._store_state is not None:
                    self._store_state = replace(self._store_state, failure=failure)
                if failure != last:
                    bug = not isinstance(exc, FeatsvcError)
                    level = logging.ERROR if bug else logging.WARNING
                    _log.log(level, "serving the last bank snapshot: %s", exc, exc_info=bug)
            else:
                if failure:
                    _log.info("following the bank store again")
                failure = ""

    def _poll(self) -> None:
        served = self._snapshot
        newest = self._store.head()
        segment = self._newer_segment()
        served_head = None if served is None else StoreHead(served.revision, served.commit_time)
        if newest == served_head and segment is None:
            self._store_state = _StoreState(newest.revision, datetime.now(UTC))
            return
        started = time.perf_counter()
        with self._store.view() as view:
            if served is not None:
                log = view.revisions_since(served.revision)
                oldest = log[0].commit_time if log else None
                self._store_state = _StoreState(view.head.revision, datetime.now(UTC), oldest)
                if segment is None and self._leave_to_indexer(log):
                    return
            layers = self._layers_at(view, segment)
            banks = view.banks()
            set_aside = layers.set_aside()
            snapshot = Snapshot(
                view.head, banks, layers.views(banks), layers.status(), set_aside=set_aside
            )
        self._set_aside_log.note(set_aside)
        with self._swapped:
            self._layers = layers
            self._set_aside = set_aside
            self._snapshot = snapshot
            self._store_state = _StoreState(snapshot.revision, datetime.now(UTC))
            self._swapped.notify_all()
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("serving banks at revision %d, built in %.0f ms", snapshot.revision, elapsed_ms)

    def _layers_at(self, view: StoreView, segment: Segment | None) -> Layers:
        """Return the layers at the view's revision, reading as little as possible."""
        dimensions = view.vector_dimensions()
        same_history = self._snapshot is None or _is_same_history(self._snapshot, view)
        if not same_history:
            # Segments of the restored history may have lower numbers, or the same.
            self._segment_revision, self._refused = 0, frozenset()
        if segment is not None and not _is_of_this_store(segment, view):
            self._refused |= {segment.path.name}
            based_on = self._layers.segment if self._layers and same_history else None
            self._segment_revision = based_on.revision if based_on else 0
            segment = None
        if segment is not None:
            self._segment_revision = segment.revision
            layers, since = Layers.on_segment(segment), segment.revision
        elif self._layers is not None and self._snapshot is not None and same_history:
            layers, since = self._layers, self._snapshot.revision
        else:
            return Layers.on_rows(view.live_signals(), dimensions)
        removed = view.versions_removed_since(since)
        layers = layers.advance(view.signals_added_since(since), removed, dimensions)
        if segment is None and layers.segment is None and _outgrown(layers):
            return Layers.on_rows(view.live_signals(), dimensions)
        return layers

    def _newer_segment(self) -> Segment | None:
        """Open a published segment newer than the last one that was opened."""
        if self._segments is None:
            return None
        segment = newest_segment(
            self._segments, above=self._segment_revision, refused=self._refused
        )
        if segment is not None:
            self._segment_revision = segment.revision
        return segment

    def _leave_to_indexer(self, log: Sequence[Revision]) -> bool:
        """Return whether so much has changed that it is better to wait for the indexer's segment.

        Reading the changes here would take as long, and request threads would wait for the GIL.
        """
        pending = sum(line.added_entries + line.changed_entries for line in log)
        indexed = self._segments is not None and has_indexer(self._segments)
        if not indexed or pending < LEAVE_TO_INDEXER_ENTRIES:
            self._waiting_since = None
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < _MAX_WAIT_FOR_INDEXER_S


def _is_same_history(served: Snapshot, view: StoreView) -> bool:
    """Return False after a restored backup, whose revisions are other changes."""
    same = not served.revision or view.commit_time_of(served.revision) == served.commit_time
    if not same:
        _log.warning("the bank store has another history than the served banks; reading all of it")
    return same


def _is_of_this_store(segment: Segment, view: StoreView) -> bool:
    """Return False for a segment of another history, for example after a restored backup."""
    committed = view.commit_time_of(segment.revision)
    ours = committed is not None and to_us(committed) == segment.commit_time_us
    if not ours:
        _log.warning("segment %s is not of this store's history; ignored", segment.path.name)
    return ours


def _outgrown(layers: Layers) -> bool:
    base = sum(len(index.entry) for index in layers.base.part.indexes.values())
    return layers.delta_signals > max(COMPACT_SIGNALS, base // 8)
