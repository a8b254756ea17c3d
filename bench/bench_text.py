"""Text: signatures beside datasketch's, normalisation, and look-ups in a large index.

    make bench ARGS="bench/bench_text.py"

Both make 128 minima of the same 4-grams of the same texts. datasketch hashes with SHA-1 by
default; its fastest way, `bulk` with a cheaper hash, is measured too.
"""

import random
import zlib
from itertools import pairwise

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from featsvc.embedding.text_index import TextIndex, hash_grams, minhash
from featsvc.embedding.text_views import view_text
from tests.embedding.texts import EDITS, ENTRIES, negatives

TEXTS = ENTRIES * 10
VIEWS = [view_text(text).plain for text in TEXTS]
GROUP = f"128 minima of {len(TEXTS)} texts of {sum(map(len, VIEWS)) // len(VIEWS)} letters"


def _grams(view: str) -> list[bytes]:
    return [view[i : i + 4].encode() for i in range(len(view) - 3)]


def bench_minhash(benchmark: BenchmarkFixture) -> None:
    benchmark.group = GROUP
    benchmark(lambda: [minhash(hash_grams(view)) for view in VIEWS])


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


@pytest.fixture(scope="module")
def index() -> TextIndex:
    """20,000 entries: shuffled prose, and the lures in its midst."""
    rng = random.Random(0)
    words = [word for text in negatives() for word in text.split()]
    pairs = list(dict.fromkeys(pairwise(words)))
    prose = [" ".join(w for pair in rng.sample(pairs, 12) for w in pair) for _ in range(20_000)]
    return TextIndex([*prose, *ENTRIES])


@pytest.mark.parametrize("edit", ["none", "leetspeak", "long prefix and suffix"])
def bench_search(benchmark: BenchmarkFixture, index: TextIndex, edit: str) -> None:
    benchmark.group = "look up 1 text among 20,000 entries"
    query = EDITS[edit](ENTRIES[3], random.Random(0))
    assert benchmark(index.search, query)
