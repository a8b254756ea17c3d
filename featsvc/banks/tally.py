"""Counts matches in memory, and writes the sums to the store in the background.

A worker that is killed loses the counts of the last `interval_s` seconds at most.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable

from featsvc.banks.interruption import Interruption
from featsvc.banks.results import MatchKey
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError

INTERVAL_S = 2.0
MAX_KEYS = 100_000
"""Entries counted while the store is away; matches of further entries are lost."""

_STOP_TIMEOUT_S = 0.5

_log = logging.getLogger(__name__)


class MatchTally:
    """Thread-safe. Call `start` once."""

    def __init__(self, store: BankStore, *, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._interval_s = interval_s
        self._counts: Counter[MatchKey] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._interruption = Interruption()
        self._thread = threading.Thread(
            target=self._interruption.run, args=(self._run,), name="match-tally", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, if the store answers soon, and end the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)
            self._interruption.cancel()
            self._thread.join()

    def add(self, keys: Iterable[MatchKey]) -> None:
        """Count one match for each key."""
        with self._lock:
            for key in keys:
                if key in self._counts or len(self._counts) < MAX_KEYS:
                    self._counts[key] += 1

    def flush(self) -> None:
        """Write now. Raises the store's errors, and keeps the counts then."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._store.add_match_counts(counts)
        except BaseException:
            with self._lock:
                self._counts.update(counts)
            raise

    def _run(self) -> None:
        failing = False
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._interval_s)
            try:
                self.flush()
            except FeatsvcError as exc:
                if not failing:
                    _log.warning("match counts stay in memory until the store answers: %s", exc)
                failing = True
            else:
                failing = False
