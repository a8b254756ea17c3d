"""Text: signatures compared with datasketch's, normalisation, TLSH, searches in large indexes.

    make peers bench ARGS="bench/bench_text.py"

Both compute 128 minima of the same 4-grams of the same texts. datasketch hashes with SHA-1 by
default; its fastest option, `bulk` with a cheaper hash, is measured too.
"""

import random
import zlib
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from featsvc_kernels import minhash
from featsvc_kernels import tlsh as tlsh_kernels
from numpy.typing import NDArray

from bench.compare import Compare, peer
from bench.size import SMOKE, pick
from featsvc.matching.engines import TlshEngine
from featsvc.signals.text import hash_text
from featsvc.signals.text_grams import gram_hashes
from featsvc.signals.text_index import TextIndex
from featsvc.signals.text_views import view_text
from featsvc.signals.tlsh import tlsh_value
from tests.texts import BENIGN, EDITS, ENTRIES, negatives

datasketch = peer("datasketch")
tlsh = peer("tlsh")

TEXTS = ENTRIES * pick(10, smoke=1)
DIGESTS = pick(1_000_000, smoke=1_000)
VIEWS = [view_text(text).plain for text in TEXTS]
LETTERS = sum(map(len, VIEWS)) // len(VIEWS)


def _grams(view: str) -> list[bytes]:
    return [view[i : i + 4].encode() for i in range(len(view) - 3)]


def _signature(grams: NDArray[np.uint32]) -> NDArray[np.uint32]:
    minima = np.empty((1, minhash.MINIMA), np.uint32)
    minhash.block_minima(grams, max(grams.size, 1), minima)
    return minima


def bench_minhash(compare: Compare) -> None:
    def default() -> object:
        signatures = []
        for view in VIEWS:
            signature = datasketch.MinHash(num_perm=128)
            signature.update_batch(_grams(view))
            signatures.append(signature)
        return signatures

    def bulk() -> object:
        sets = [_grams(view) for view in VIEWS]
        return datasketch.MinHash.bulk(sets, num_perm=128, hashfunc=zlib.crc32)

    compare(
        f"128 minima of a text of {LETTERS} letters",
        lambda: [_signature(gram_hashes(view)) for view in VIEWS],
        {
            "datasketch": datasketch and default,
            "datasketch bulk, CRC-32": datasketch and bulk,
        },
        operations=len(TEXTS),
    )


def bench_view(compare: Compare) -> None:
    compare(
        "both views of a text", lambda: [view_text(text) for text in TEXTS], operations=len(TEXTS)
    )


def bench_hash_text(compare: Compare) -> None:
    """Everything that `Match` computes of a text by default."""
    names = ("text_sha256", "text", "md5", "sha256")
    compare(
        "all default signals of a text",
        lambda: [hash_text(text, names) for text in TEXTS],
        operations=len(TEXTS),
    )


def bench_tlsh(compare: Compare) -> None:
    contents = [text.encode() for text in TEXTS]
    compare(
        "TLSH of a text",
        lambda: [tlsh_value(content) for content in contents],
        {"py-tlsh": tlsh and (lambda: [tlsh.hash(content) for content in contents])},
        operations=len(TEXTS),
    )


def bench_tlsh_scan(compare: Compare) -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((DIGESTS, 40), np.uint8)
    rows[:, : tlsh_kernels.DIGEST_BYTES] = rng.integers(0, 256, (len(rows), 35), np.uint8)
    engine = TlshEngine({"words": rows.view(np.uint64)})
    query = rows[77:78, :35].copy()
    assert engine.search(query, 30).rows.tolist() == [77]
    compare(f"search a TLSH among {DIGESTS:,}", lambda: engine.search(query, 30))


@cache
def prose() -> str:
    """100,000 letters and more; those of a smoke run need no parsing of the standard library."""
    return " ".join(BENIGN * 50 if SMOKE else negatives())


def shuffled_prose(count: int) -> list[NDArray[np.uint32]]:
    """Grams of shuffled prose with lures in it."""
    rng = random.Random(0)
    words = prose().split()
    pairs = list(dict.fromkeys(pairwise(words)))
    texts = (" ".join(w for pair in rng.sample(pairs, 12) for w in pair) for _ in range(count))
    return [gram_hashes(view_text(text).folded) for text in (*texts, *ENTRIES)]


@pytest.fixture(scope="module", params=pick([20_000, 200_000], smoke=[200]))
def index(request: pytest.FixtureRequest) -> tuple[int, TextIndex]:
    grams = shuffled_prose(request.param)
    ends = np.cumsum([len(one) for one in grams], dtype=np.int64)
    return request.param, TextIndex.build(np.concatenate(grams), ends)


@pytest.mark.parametrize("edit", ["none", "leetspeak", "long prefix and suffix"])
def bench_search(compare: Compare, index: tuple[int, TextIndex], edit: str) -> None:
    count, searched = index
    query = gram_hashes(view_text(EDITS[edit](ENTRIES[3], random.Random(0))).folded)
    rows, _ = searched.search(query, 0.4)
    assert rows.tolist() == [count + 3]
    compare(f"search a text, edit: {edit}, {count:,} entries", lambda: searched.search(query, 0.4))


def bench_search_of_100_kb(compare: Compare, index: tuple[int, TextIndex]) -> None:
    count, searched = index
    query = gram_hashes(view_text(prose()).folded)[:100_000]
    compare(
        f"search {len(query):,} letters, {count:,} entries",
        lambda: searched.search(query, 0.4),
        rounds=3,
    )
