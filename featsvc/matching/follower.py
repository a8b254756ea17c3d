"""Keeps the served snapshot at the newest revision of the store, off the request path.

One thread polls the head of the store. When it moves, the thread reads the changes, adds them as a
layer (`featsvc.matching.layers`), and swaps in the next snapshot by one assignment, so that a
request sees either the old or the new one. A newer segment replaces the base. While the store is
away or half restored, the last snapshot is served and its staleness grows; the thread recovers by
itself. A snapshot is served only if it has all that the banks count (`featsvc.matching.agreement`).
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from featsvc.banks.interruption import Interruption
from featsvc.banks.records import Bank, StoreHead
from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, TimedOut, Unavailable
from featsvc.matching.agreement import check_counts, check_models
from featsvc.matching.indexer import has_indexer
from featsvc.matching.layers import Layers
from featsvc.matching.segments import Segment, newer_segments, newest_segment
from featsvc.matching.set_aside import ChangeLog, SetAside
from featsvc.matching.snapshot import AlgorithmStatus, Snapshot

COMPACT_SIGNALS = 20_000
"""Without an indexer, the base is rebuilt when the delta exceeds this and 1/8 of the base."""
LEAVE_TO_INDEXER_ENTRIES = 50_000
_MAX_WAIT_FOR_INDEXER_S = 60.0
_PAUSE = 10
"""After reading all of a store that is half restored: this many times as long as it took."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """The state of the served snapshot, compared with the store.

    `committed_revision` is that of the store at the last contact, None where the last attempt
    failed. `staleness_ms` is the age of the oldest committed change that is not served. While the
    store is away or half restored it counts from the last contact, because later commits are
    unknown; a store of another history is no contact until it is served. `failure` says
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
        """Folders of segments that are not of this store's history, or lack some of its entries."""
        self._layers: Layers | None = None
        self._waiting_since: float | None = None
        self._same_history = True
        """Whether the store, when it was last read, had the history of the snapshot."""
        self._failure = ""
        self._disagreement = ""
        self._pause_s = 0.0
        self._poll_interval_s = poll_interval_ms / 1000
        self._snapshot: Snapshot | None = None
        self._store_state: _StoreState | None = None
        self._set_aside: tuple[SetAside, ...] = ()
        self._set_aside_log = ChangeLog(_log.warning)
        self._polls = self._served_poll = 0
        """Polls that have begun, and the last one whose state of the store is served."""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._swapped = threading.Condition()
        self._interruption = Interruption()
        self._thread = threading.Thread(
            target=self._interruption.run, args=(self._run,), name="bank-follower", daemon=True
        )

    def start(self) -> None:
        """Load the first snapshot and start the thread.

        Raises Unavailable if the store is away or half restored; then try again.
        """
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
        asked = self._polls

        def is_served() -> bool:
            # A snapshot from before may be of a history that a restored backup has replaced.
            return self._served_poll > asked and self.snapshot.revision >= revision

        self._wake.set()
        with self._swapped:
            in_time = self._swapped.wait_for(
                lambda: is_served() or self._stopping.is_set(), timeout=timeout_s
            )
            if is_served():
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
        while True:
            self._wake.wait(self._poll_interval_s + self._pause_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._pause_s = 0.0
            self._try_poll()

    def _try_poll(self) -> None:
        """Poll; keep and log the failure, if it is another one."""
        try:
            self._poll()
        except Exception as exc:
            if self._stopping.is_set():
                return
            # Even a bug must not end the thread: the next change may load.
            last, self._failure = self._failure, str(exc) or type(exc).__name__
            if self._store_state is not None:
                self._store_state = replace(self._store_state, failure=self._failure)
            if self._failure != last:
                bug = not isinstance(exc, FeatsvcError)
                level = logging.ERROR if bug else logging.WARNING
                _log.log(level, "serving the last bank snapshot: %s", exc, exc_info=bug)
        else:
            if self._failure:
                _log.info("following the bank store again")
            self._failure = ""

    def _poll(self) -> None:
        self._polls += 1
        served = self._snapshot
        newest = self._store.head()
        if served is not None and newest == served.head and not self._newer_segments(newest):
            with self._swapped:
                self._store_state = _StoreState(newest.revision, datetime.now(UTC))
                self._served_poll = self._polls
                self._swapped.notify_all()
            return
        started = time.perf_counter()
        with self._store.view() as view:
            view.check_tables()
            same_history = served is None or view.was_at(served.head)
            if served is not None and same_history:
                changed = view.changed_since(served.revision)
                self._store_state = _StoreState(
                    view.head.revision, datetime.now(UTC), changed.first_time
                )
                if not self._newer_segments(view.head) and self._leave_to_indexer(changed.read):
                    return
            if same_history != self._same_history:
                self._change_history(same_history)
            banks, dimensions = view.banks(), view.vector_dimensions()
            layers = self._layers_at(view, banks, dimensions)
            set_aside = layers.set_aside()
            snapshot = Snapshot(
                view.head, banks, layers.views(banks), layers.status(), set_aside=set_aside
            )
        self._set_aside_log.note(set_aside)
        with self._swapped:
            self._layers = layers
            self._set_aside = set_aside
            self._snapshot = snapshot
            self._same_history = True
            self._store_state = _StoreState(snapshot.revision, datetime.now(UTC))
            self._served_poll = self._polls
            self._swapped.notify_all()
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("serving banks at revision %d, built in %.0f ms", snapshot.revision, elapsed_ms)

    def _change_history(self, served: bool) -> None:
        """Begin anew: segments of another history may have lower numbers, or the same."""
        what = "the history of" if served else "another history than"
        _log.warning("the bank store has %s the served banks; reading all of it", what)
        self._same_history = served
        self._segment_revision, self._refused = 0, frozenset()
        self._layers = None

    def _layers_at(
        self, view: StoreView, banks: Sequence[Bank], dimensions: Mapping[str, int]
    ) -> Layers:
        """Return the layers at the view's revision, reading as little as possible.

        Layers that do not have all that the banks count are not served; all is then read anew.
        Raises Unavailable where that does not have it either.
        """
        check_models(banks, dimensions)
        segment = self._newer_segment(view)
        if segment is not None:
            layers = self._advanced(Layers.on_segment(segment), segment.revision, view, dimensions)
            if self._agrees(layers, banks, f"segment {segment.path.name}"):
                self._segment_revision = segment.revision
                return layers
        layers = self._layers_of_rows(view, banks, dimensions)
        if segment is not None:
            # Where rows disagree, too, it is not the segment's fault.
            self._refuse(segment)
        return layers

    def _layers_of_rows(
        self, view: StoreView, banks: Sequence[Bank], dimensions: Mapping[str, int]
    ) -> Layers:
        """Return the served layers with the later changes, or all rows read anew."""
        if self._layers is not None and self._snapshot is not None:
            layers = self._advanced(self._layers, self._snapshot.revision, view, dimensions)
            outgrown = layers.segment is None and _outgrown(layers)
            if not outgrown and self._agrees(layers, banks, "what is served"):
                return layers
        started = time.monotonic()
        layers = Layers.on_rows(view.live_signals(), dimensions)
        try:
            check_counts(layers.counts(), banks)
        except Unavailable:
            self._pause_s = _PAUSE * (time.monotonic() - started)
            raise
        return layers

    @staticmethod
    def _advanced(
        layers: Layers, since: int, view: StoreView, dimensions: Mapping[str, int]
    ) -> Layers:
        removed = view.versions_removed_since(since)
        return layers.advance(view.signals_added_since(since), removed, dimensions)

    def _agrees(self, layers: Layers, banks: Sequence[Bank], name: str) -> bool:
        """Return whether the layers have all that the banks count."""
        try:
            check_counts(layers.counts(), banks)
        except Unavailable as exc:
            last, self._disagreement = self._disagreement, f"{name} is not what the banks count"
            if self._disagreement != last:
                _log.warning("%s; reading all: %s", self._disagreement, exc)
            return False
        return True

    def _newer_segments(self, head: StoreHead) -> list[Path]:
        """Return the published segments that may be of `head`, or before, and are not opened yet.

        Those of later revisions are of another history, or another poll reads the store for them.
        """
        if self._segments is None:
            return []
        since, to = self._segment_revision, head.revision
        return newer_segments(self._segments, above=since, up_to=to, refused=self._refused)

    def _newer_segment(self, view: StoreView) -> Segment | None:
        """Open the newest of them, if it is of the store's history."""
        segment = newest_segment(self._newer_segments(view.head))
        if segment is None:
            return None
        if not view.was_at(segment.head):
            _log.warning("segment %s is not of this store's history; ignored", segment.path.name)
            self._refuse(segment)
            return None
        return segment

    def _refuse(self, segment: Segment) -> None:
        self._refused |= {segment.path.name}
        based_on = self._layers.segment if self._layers else None
        self._segment_revision = based_on.revision if based_on else 0

    def _leave_to_indexer(self, pending: int) -> bool:
        """Return whether so many entries changed that it is better to wait for a segment.

        Reading the changes here would take as long, and request threads would wait for the GIL.
        """
        indexed = self._segments is not None and has_indexer(self._segments)
        if not indexed or pending < LEAVE_TO_INDEXER_ENTRIES:
            self._waiting_since = None
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < _MAX_WAIT_FOR_INDEXER_S


def _outgrown(layers: Layers) -> bool:
    base = sum(len(index.entry) for index in layers.base.part.indexes.values())
    return layers.delta_signals > max(COMPACT_SIGNALS, base // 8)
