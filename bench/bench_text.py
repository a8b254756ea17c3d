"""Text: signatures compared with datasketch's, normalisation, TLSH, searches in large indexes.

    make bench ARGS="bench/bench_text.py"

Both compute 128 minima of the same 4-grams of the same texts. datasketch hashes with SHA-1 by
default; its fastest option, `bulk` with a cheaper hash, is measured too.
"""

import random
import zlib
from itertools import pairwise

import numpy as np
import pytest
from featsvc_kernels import minhash
from featsvc_kernels import tlsh as tlsh_kernels
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.matching.engines import TlshEngine
from featsvc.signals.text import hash_text
from featsvc.signals.text_grams import gram_hashes
from featsvc.signals.text_index import TextIndex
from featsvc.signals.text_views import view_text
from featsvc.signals.tlsh import tlsh_value
from tests.texts import EDITS, ENTRIES, negatives

TEXTS = ENTRIES * 10
VIEWS = [view_text(text).plain for text in TEXTS]
GROUP = f"128 minima of {len(TEXTS)} texts of {sum(map(len, VIEWS)) // len(VIEWS)} letters"


def _grams(view: str) -> list[bytes]:
    return [view[i : i + 4].encode() for i in range(len(view) - 3)]


def _signature(grams: NDArray[np.uint32]) -> NDArray[np.uint32]:
    minima = np.empty((1, minhash.MINIMA), np.uint32)
    minhash.block_minima(grams, max(grams.size, 1), minima)
    return minima


def bench_minhash(benchmark: BenchmarkFixture) -> None:
    benchmark.group = GROUP
    benchmark(lambda: [_signature(gram_hashes(view)) for view in VIEWS])


@pytest.mark.parametrize("how", ["default", "bulk, CRC-32"])
def bench_minhash_datasketch(benchmark: BenchmarkFixture, how: str) -> None:
    datasketch = pytest.importorskip("datasketch")
    benchmark.group = GROUP

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

    benchmark(default if how == "default" else bulk)


def bench_view(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"both views of {len(TEXTS)} texts"
    benchmark(lambda: [view_text(text) for text in TEXTS])


def bench_hash_text(benchmark: BenchmarkFixture) -> None:
    """Everything that `Match` computes of a text by default."""
    benchmark.group = f"default signals of {len(TEXTS)} texts"
    benchmark(lambda: [hash_text(text, ("text_sha256", "text", "md5", "sha256")) for text in TEXTS])


def bench_tlsh(benchmark: BenchmarkFixture) -> None:
    benchmark.group = f"TLSH of {len(TEXTS)} texts"
    contents = [text.encode() for text in TEXTS]
    benchmark(lambda: [tlsh_value(content) for content in contents])


def bench_tlsh_peer(benchmark: BenchmarkFixture) -> None:
    tlsh = pytest.importorskip("tlsh")
    benchmark.group = f"TLSH of {len(TEXTS)} texts"
    contents = [text.encode() for text in TEXTS]
    benchmark(lambda: [tlsh.hash(content) for content in contents])


def bench_tlsh_scan(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "look up 1 digest among 1,000,000"
    rng = np.random.default_rng(0)
    rows = np.zeros((1_000_000, 40), np.uint8)
    rows[:, : tlsh_kernels.DIGEST_BYTES] = rng.integers(0, 256, (len(rows), 35), np.uint8)
    engine = TlshEngine({"words": rows.view(np.uint64)})
    query = rows[77:78, :35].copy()
    assert benchmark(engine.search, query, 30).rows.tolist() == [77]


def _prose(count: int) -> list[NDArray[np.uint32]]:
    """Grams of shuffled prose with lures in it."""
    rng = random.Random(0)
    words = [word for text in negatives() for word in text.split()]
    pairs = list(dict.fromkeys(pairwise(words)))
    texts = (" ".join(w for pair in rng.sample(pairs, 12) for w in pair) for _ in range(count))
    return [gram_hashes(view_text(text).folded) for text in (*texts, *ENTRIES)]


@pytest.fixture(scope="module", params=[20_000, 200_000])
def index(request: pytest.FixtureRequest) -> tuple[int, TextIndex]:
    grams = _prose(request.param)
    ends = np.cumsum([len(one) for one in grams], dtype=np.int64)
    return request.param, TextIndex.build(np.concatenate(grams), ends)


@pytest.mark.parametrize("edit", ["none", "leetspeak", "long prefix and suffix"])
def bench_search(benchmark: BenchmarkFixture, index: tuple[int, TextIndex], edit: str) -> None:
    count, searched = index
    benchmark.group = f"look up 1 text among {count:,} entries"
    query = gram_hashes(view_text(EDITS[edit](ENTRIES[3], random.Random(0))).folded)
    rows, _ = benchmark(searched.search, query, 0.4)
    assert rows.tolist() == [count + 3]


def bench_search_of_100_kb(benchmark: BenchmarkFixture, index: tuple[int, TextIndex]) -> None:
    count, searched = index
    benchmark.group = f"look up 100,000 letters among {count:,} entries"
    query = gram_hashes(view_text(" ".join(negatives())).folded)[:100_000]
    benchmark.pedantic(searched.search, (query, 0.4), rounds=3)
