"""Vectors: classical kernels compared with their peers, learned models with and without batches.

    make bench ARGS="bench/bench_embedding.py"

16 concurrent callers run learned models. The batcher is compared with three alternatives:

- `one at a time`: a session with ONNX Runtime's defaults, behind a lock;
- `all at once`: the same session, called by all 16 callers concurrently;
- `our threads, unbatched`: featsvc's threads and session settings with batches of one, which
  separates the gain of batching from that of not oversubscribing the cores.

`p99_ms`, `rows_per_batch`, `bound_ms` and `refused` are in the extra info of each row.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from featsvc_kernels import reference_embedding
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from skimage.feature import hog as skimage_hog

from bench.bench_hashing_gil import Ticker
from featsvc.embedding import BatchingOptions, ModelSpec, OnnxEmbedder, Preprocessing, classical
from featsvc.embedding.batching import MicroBatcher
from featsvc.errors import Overloaded
from tests.embedding.onnx_files import means_spec, two_layers
from tests.embedding.opennsfw import opennsfw_spec
from tests.hashing.photographs import photograph

CALLERS = 16
CALLS = 5
"""Calls of each caller in a round."""
ROUNDS = 8
BOUND_MS = 1000.0
PHOTO = photograph("astronaut.png")
BLOCK = classical.downsample(PHOTO)

OURS: dict[str, Callable[[], object]] = {
    "pdqf": lambda: classical.compute_pdqf(BLOCK),
    "gist": lambda: classical.compute_gist(BLOCK),
    "hog": lambda: classical.compute_hog(BLOCK),
    "colour_layout": lambda: classical.compute_colour_layout(PHOTO),
}
PEERS: dict[str, tuple[str, Callable[[], object]]] = {
    "gist": ("numpy", lambda: reference_embedding.gist(BLOCK.astype(float))),
    "hog": ("scikit-image", lambda: skimage_hog(BLOCK, 9, (8, 8), (2, 2), "L2-Hys")),
    "colour_layout": ("numpy", lambda: reference_embedding.colour_layout(PHOTO)),
}


@pytest.mark.parametrize("name", OURS)
def bench_classical(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"{name} of 512x512"
    benchmark(OURS[name])


@pytest.mark.parametrize("name", PEERS)
def bench_classical_peer(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.group = f"{name} of 512x512"
    benchmark.extra_info["peer"] = PEERS[name][0]
    benchmark(PEERS[name][1])


def bench_pdqf_beside_pdq(benchmark: BenchmarkFixture) -> None:
    """The pass over the pixels, which PDQ needs too: PDQF adds only the row `pdqf` above."""
    benchmark.group = "pdqf of 512x512"
    benchmark(classical.downsample, PHOTO)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    """A convolutional net, bound by computing, and dense layers, bound by reading 128 MB."""
    dense = means_spec(
        tmp_path_factory.mktemp("models"),
        two_layers(8192, 1024),
        name="dense",
        scores_output="",
        labels=(),
        preprocessing=Preprocessing(size=(32, 32)),
    )
    return {"opennsfw": opennsfw_spec(), "dense": dense}


def ask_all(call: Callable[[], object]) -> list[float]:
    """Seconds of each call of 16 callers, each of which waits for its result."""

    def caller(_: int) -> list[float]:
        took = []
        for _ in range(CALLS):
            started = time.perf_counter()
            call()
            took.append(time.perf_counter() - started)
        return took

    with ThreadPoolExecutor(CALLERS) as callers:
        return [t for each in callers.map(caller, range(CALLERS)) for t in each]


def measure(benchmark: BenchmarkFixture, call: Callable[[], object]) -> None:
    ask_all(call)
    took: list[float] = []
    benchmark.pedantic(lambda: took.extend(ask_all(call)), rounds=ROUNDS)
    benchmark.extra_info["p50_ms"] = round(float(np.percentile(took, 50)) * 1000, 1)
    benchmark.extra_info["p99_ms"] = round(float(np.percentile(took, 99)) * 1000, 1)


@pytest.mark.parametrize("name", ["opennsfw", "dense"])
@pytest.mark.parametrize("how", ["batched", "our threads, unbatched"])
def bench_learned(
    benchmark: BenchmarkFixture, specs: dict[str, ModelSpec], name: str, how: str
) -> None:
    model = OnnxEmbedder(specs[name])
    benchmark.group = f"{name}, {CALLERS} callers"
    batcher = MicroBatcher(
        BatchingOptions(threads=2, max_batch=16 if how == "batched" else 1, max_latency_ms=BOUND_MS)
    )
    sizes: list[int] = []

    def run(batch: NDArray[np.float32]) -> Any:
        sizes.append(len(batch))
        return model.run(batch)

    queue = batcher.add(run, row_s=model.row_s)
    row = model.preprocessing.apply(PHOTO)
    refused: list[int] = []

    def call() -> object:
        while True:
            try:
                return batcher.submit(queue, row).result()
            except Overloaded as exc:  # on a busy machine
                refused.append(exc.retry_after_ms)
                time.sleep(exc.retry_after_ms / 1000)

    measure(benchmark, call)
    batcher.close()
    benchmark.extra_info["rows_per_batch"] = round(float(np.mean(sizes)), 1)
    benchmark.extra_info["bound_ms"] = BOUND_MS
    benchmark.extra_info["refused"] = len(refused)


@pytest.mark.parametrize("name", ["opennsfw", "dense"])
@pytest.mark.parametrize("how", ["one at a time", "all at once"])
def bench_learned_naive(
    benchmark: BenchmarkFixture, specs: dict[str, ModelSpec], name: str, how: str
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    spec = specs[name]
    session = runtime.InferenceSession(spec.path, providers=["CPUExecutionProvider"])
    benchmark.group = f"{name}, {CALLERS} callers"
    row: NDArray[np.float32] = spec.preprocessing.apply(PHOTO)[None]
    feed = {session.get_inputs()[0].name: row}
    lock = threading.Lock()

    def locked() -> object:
        with lock:
            return session.run(None, feed)

    call = locked if how == "one at a time" else lambda: session.run(None, feed)
    measure(benchmark, call)


@pytest.mark.parametrize("what", ["classical", "preprocessing", "opennsfw"])
def bench_gil(benchmark: BenchmarkFixture, specs: dict[str, ModelSpec], what: str) -> None:
    """The longest wait of a ticker thread while another thread embeds, `longest_wait_ms`."""
    benchmark.group = "ticker beside an embedding thread"
    model = OnnxEmbedder(specs["opennsfw"])
    row = model.preprocessing.apply(PHOTO)[None]
    work: dict[str, Callable[[], object]] = {
        "classical": lambda: classical.embed_classical(PHOTO, classical.CLASSICAL),
        "preprocessing": lambda: model.preprocessing.apply(PHOTO),
        "opennsfw": lambda: model.run(row),
    }

    def run() -> float:
        with ThreadPoolExecutor(1) as threads, Ticker() as ticker:
            for future in [threads.submit(work[what]) for _ in range(40)]:
                future.result()
        return ticker.longest_wait_ms

    waits = [run() for _ in range(5)]
    benchmark.pedantic(run, rounds=3)
    benchmark.extra_info["longest_wait_ms"] = round(float(np.median(waits)), 2)
