"""Kills indexers and followers at random moments; run by `test_indexer`, or by hand:

    python -m tests.matching.killed FOLDER KILLS

Children are forked, so that a kill costs milliseconds and not an interpreter's start.
"""

import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.matching import vector_engines
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.segments import newest_segment, published
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.lists import list_file
from tests.matching.rows import EXACTLY, MODEL, held, list_of_both, vector

_NUMBERS = range(600)


def _index(url: str, folder: Path) -> None:
    indexer = Indexer(BankStore(url), folder, compact_entries=0)
    indexer.run(threading.Event(), poll_s=0)


def _follow(url: str, folder: Path) -> None:
    follower = Follower(BankStore(url), poll_interval_ms=1, segments=folder)
    follower.start()
    time.sleep(3600)


def main(folder: Path, kills: int) -> None:
    logging.disable(logging.CRITICAL)
    # The few vectors of the test are projected as the many of a bank.
    vector_engines.PROJECTED_ROWS = 64
    rng = random.Random(4)
    url = f"sqlite:///{folder / 'banks.db'}"
    segments = folder / "segments"
    store = BankStore(url)
    store.create_bank("b")
    for kill in range(kills):
        low, high = sorted(rng.sample(_NUMBERS, 2))
        expected = set(range(low, high))
        file = list_file(list_of_both(expected), name="b.jsonl")
        store.import_entries("b", file, ImportOptions(replace=True, allow_withdrawn=10**9))
        # A child must not share a connection.
        store.close()
        children = []
        for job in (_index, _follow):
            child = os.fork()
            if child == 0:
                job(url, segments)
                os._exit(3)
            children.append(child)
        time.sleep(rng.uniform(0, 0.08))
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL, f"kill {kill}: ended by itself: {status}"
        follower = Follower(store, segments=segments)
        follower.start()
        assert held(follower.snapshot, _NUMBERS) == expected, f"kill {kill}"
        query = Signal(get_algorithm(MODEL), vector(low))
        assert follower.snapshot.match([query], EXACTLY).matches, f"kill {kill}: no vectors"
        follower.stop()
        assert not list(segments.glob("corrupt-*")), "a published segment failed its checks"
    newest = newest_segment(published(segments))
    print("kills", kills, "segment", newest.revision if newest else 0)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
