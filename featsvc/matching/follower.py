"""Keeps the served snapshot at the newest revision of the store, off the request path.

One thread polls the head; when it moved, what changed is read and laid over what is served
(`featsvc.matching.layers`), and the next snapshot is swapped in by one assignment, so that a
request sees the old one or the new one and nothing between. A newer segment takes the place of the
base. While the store is away the last snapshot is served, staleness grows, and the thread recovers
by itself.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from featsvc.banks.records import Head, Revision
from featsvc.banks.sql.times import to_us
from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, TimedOut, Unavailable
from featsvc.matching.indexer import has_indexer
from featsvc.matching.layers import Layers
from featsvc.matching.segments import Segment, newest_segment
from featsvc.matching.snapshot import AlgorithmStatus, Snapshot

COMPACT_SIGNALS = 20_000
"""Without an indexer the base is read anew when the delta passes this and 1/8 of the base."""
LEAVE_TO_INDEXER_ENTRIES = 50_000
_PATIENCE_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """How far the served snapshot has come.

    `committed_revision` is what the store had at the last contact, None where the last attempt
    failed. `staleness_ms` is the age of the oldest committed change that is not served; while the
    store is away it counts from the last contact, since what it commits cannot be seen.
    """

    served_revision: int
    committed_revision: int | None
    staleness_ms: int
    last_contact: datetime | None
    algorithms: tuple[AlgorithmStatus, ...]


@dataclass(frozen=True, slots=True)
class _Contact:
    """The store as last seen. `unserved_since`: commit time of the oldest change not served."""

    revision: int
    at: datetime
    unserved_since: datetime | None
    lost: bool


class Follower:
    """`start` it once; `snapshot` is then always there. Thread-safe."""

    def __init__(
        self, store: BankStore, *, poll_interval_ms: int = 100, segments: Path | None = None
    ) -> None:
        """`segments` is the folder that an indexer publishes to; without one the whole index is
        read from the store and kept in this process's own memory."""
        self._store = store
        self._segments = segments
        self._seen_segment = 0
        self._layers: Layers | None = None
        self._waiting_since: float | None = None
        self._poll_interval_s = poll_interval_ms / 1000
        self._snapshot: Snapshot | None = None
        self._contact: _Contact | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._swapped = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="bank-follower", daemon=True)

    def start(self) -> None:
        """Load the first snapshot, then follow. Raises Unavailable where the store is away."""
        self._poll()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and every `wait_for`; the last snapshot stays."""
        self._stopping.set()
        self._wake.set()
        with self._swapped:
            self._swapped.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def snapshot(self) -> Snapshot:
        """The newest that was built. Raises Unavailable before the first one is loaded."""
        if self._snapshot is None:
            raise Unavailable("banks: not loaded yet; try again", reason="BANKS_LOADING")
        return self._snapshot

    def wait_for(self, revision: int, timeout_s: float) -> Snapshot:
        """The snapshot once it has come to `revision`: how a writer sees its own write.

        Raises TimedOut, or Unavailable where the follower is stopped; the write stands all the
        same.
        """
        self._wake.set()
        with self._swapped:
            ended = self._swapped.wait_for(
                lambda: self.snapshot.revision >= revision or self._stopping.is_set(),
                timeout=timeout_s,
            )
            if self.snapshot.revision >= revision:
                return self.snapshot
        if ended:
            raise Unavailable(f"stopping: revision {revision} is committed, but not served here")
        raise TimedOut(
            f"banks: revision {revision} is committed, but not served within {timeout_s:g} s; "
            "it will be"
        )

    def status(self) -> FollowerStatus:
        """What is served, and how far it is behind the store."""
        snapshot, contact = self.snapshot, self._contact
        since = None
        if contact is not None:
            since = contact.unserved_since or (contact.at if contact.lost else None)
        age = datetime.now(UTC) - since if since is not None else None
        return FollowerStatus(
            served_revision=snapshot.revision,
            committed_revision=None if contact is None or contact.lost else contact.revision,
            staleness_ms=max(0, int(age.total_seconds() * 1000)) if age is not None else 0,
            last_contact=None if contact is None else contact.at,
            algorithms=snapshot.status,
        )

    def _run(self) -> None:
        failing = False
        while True:
            self._wake.wait(self._poll_interval_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._poll()
            except FeatsvcError as exc:
                self._lose_contact()
                if not failing:
                    _log.warning("serving the last bank snapshot: %s", exc)
                failing = True
            except Exception:
                # A fault of ours must not end the thread: the next change may be loadable.
                self._lose_contact()
                if not failing:
                    _log.exception("serving the last bank snapshot")
                failing = True
            else:
                if failing:
                    _log.info("following the bank store again")
                failing = False

    def _poll(self) -> None:
        served = self._snapshot
        newest = self._store.head()
        segment = self._newer_segment()
        served_head = None if served is None else Head(served.revision, served.commit_time)
        if newest == served_head and segment is None:
            self._contact = _Contact(newest.revision, datetime.now(UTC), None, lost=False)
            return
        started = time.perf_counter()
        with self._store.view() as view:
            if served is not None:
                log = view.revisions_since(served.revision)
                oldest = log[0].commit_time if log else None
                self._contact = _Contact(view.head.revision, datetime.now(UTC), oldest, lost=False)
                if segment is None and self._leave_to_indexer(log):
                    return
            layers = self._layers_at(view, segment)
            snapshot = Snapshot(
                view.head, view.banks(), layers.searched(view.banks()), layers.status()
            )
        with self._swapped:
            self._layers = layers
            self._snapshot = snapshot
            self._contact = _Contact(snapshot.revision, datetime.now(UTC), None, lost=False)
            self._swapped.notify_all()
        elapsed_ms = (time.perf_counter() - started) * 1000
        _log.info("serving banks at revision %d, built in %.0f ms", snapshot.revision, elapsed_ms)

    def _layers_at(self, view: StoreView, segment: Segment | None) -> Layers:
        """The layers of the view's revision, from as little as can be read."""
        if segment is not None and _is_of_this_store(segment, view):
            layers = Layers.on_segment(segment)
            since = segment.revision
        elif (
            self._layers is not None
            and self._snapshot is not None
            and _is_same_history(self._snapshot, view)
        ):
            layers, since = self._layers, self._snapshot.revision
        else:
            return Layers.on_rows(view.live_signals())
        removed = view.versions_removed_since(since)
        layers = layers.advance(view.signals_added_since(since), removed)
        if segment is None and layers.segment is None and _outgrown(layers):
            return Layers.on_rows(view.live_signals())
        return layers

    def _newer_segment(self) -> Segment | None:
        """A published segment above what the base has; each is looked at once."""
        if self._segments is None:
            return None
        above = self._seen_segment
        segment = newest_segment(self._segments, above=above)
        if segment is not None:
            self._seen_segment = segment.revision
        return segment

    def _leave_to_indexer(self, log: Sequence[Revision]) -> bool:
        """Whether so much has come that the indexer's segment is better waited for.

        Reading it here would take as long, and the requests' threads would wait for the GIL.
        """
        pending = sum(line.added_entries + line.changed_entries for line in log)
        indexed = self._segments is not None and has_indexer(self._segments)
        if not indexed or pending < LEAVE_TO_INDEXER_ENTRIES:
            self._waiting_since = None
            return False
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since < _PATIENCE_S

    def _lose_contact(self) -> None:
        last = self._contact
        if last is not None:
            self._contact = _Contact(last.revision, last.at, last.unserved_since, lost=True)


def _is_same_history(served: Snapshot, view: StoreView) -> bool:
    """False where a backup was restored under the service: revisions then mean other changes."""
    same = not served.revision or view.commit_time_of(served.revision) == served.commit_time
    if not same:
        _log.warning("the bank store has another history than what is served; read anew")
    return same


def _is_of_this_store(segment: Segment, view: StoreView) -> bool:
    """False for what was built from another history, as after a restored backup."""
    committed = view.commit_time_of(segment.revision)
    ours = committed is not None and to_us(committed) == segment.commit_time_us
    if not ours:
        _log.warning("segment %s is not of this store's history; ignored", segment.path.name)
    return ours


def _outgrown(layers: Layers) -> bool:
    base = sum(len(index.entry) for index in layers.base.part.indexes.values())
    return layers.delta_signals > max(COMPACT_SIGNALS, base // 8)
