"""Vectors: classical kernels compared with their peers, learned models with and without batches.

    make bench ARGS="bench/bench_embedding.py"

16 concurrent callers run learned models. The batcher is compared with three alternatives:

- ONNX Runtime, one at a time: a session with its defaults, behind a lock;
- ONNX Runtime, all at once: the same session, called by all 16 callers concurrently;
- our threads, unbatched: featsvc's threads and session settings with batches of one, which
  separates the gain of batching from that of not oversubscribing the cores.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from featsvc_kernels import reference_embedding
from numpy.typing import NDArray
from skimage.feature import hog as skimage_hog

from bench.bench_hashing_gil import Ticker
from bench.compare import Compare, Side, peer
from bench.size import pick
from featsvc.embedding import BatchingOptions, ModelSpec, OnnxEmbedder, Preprocessing, classical
from featsvc.embedding.batching import MicroBatcher
from featsvc.errors import Overloaded
from tests.embedding.onnx_files import means_spec, two_layers
from tests.embedding.opennsfw import opennsfw_spec
from tests.hashing.photographs import photograph

CALLERS = pick(16, smoke=2)
CALLS = pick(5, smoke=1)
"""Calls of each caller in a round."""
ROUNDS = 8
HIDDEN = pick(8192, smoke=8)
IMAGES = pick(40, smoke=1)
BOUND_MS = 1000.0
onnxruntime = peer("onnxruntime")
PHOTO = photograph("astronaut.png")
BLOCK = classical.downsample(PHOTO)

OURS: dict[str, Callable[[], object]] = {
    "pdqf": lambda: classical.compute_pdqf(BLOCK),
    "gist": lambda: classical.compute_gist(BLOCK),
    "hog": lambda: classical.compute_hog(BLOCK),
    "colour_layout": lambda: classical.compute_colour_layout(PHOTO),
}
PEERS: dict[str, tuple[str, Callable[[], object]]] = {
    # The pass over the pixels, which PDQ needs too: PDQF adds to it what it takes itself.
    "pdqf": ("PDQ's pass over the pixels", lambda: classical.downsample(PHOTO)),
    "gist": ("NumPy", lambda: reference_embedding.gist(BLOCK.astype(float))),
    "hog": ("scikit-image", lambda: skimage_hog(BLOCK, 9, (8, 8), (2, 2), "L2-Hys")),
    "colour_layout": ("NumPy", lambda: reference_embedding.colour_layout(PHOTO)),
}


@pytest.mark.parametrize("name", OURS)
def bench_classical(compare: Compare, name: str) -> None:
    compare(f"{name} of 512x512", OURS[name], dict([PEERS[name]]))


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    """A convolutional net, bound by computing, and dense layers, bound by reading 128 MB."""
    dense = means_spec(
        tmp_path_factory.mktemp("models"),
        two_layers(HIDDEN, 1024),
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


@dataclass
class Batched:
    """Our model behind a batcher, and how it batched."""

    call: Side
    sizes: list[int]
    refused: list[int]


@contextmanager
def batched(model: OnnxEmbedder, max_batch: int) -> Iterator[Batched]:
    batcher = MicroBatcher(BatchingOptions(threads=2, max_batch=max_batch, max_latency_ms=BOUND_MS))
    sizes: list[int] = []
    refused: list[int] = []

    def run(batch: NDArray[np.float32]) -> Any:
        sizes.append(len(batch))
        return model.run(batch)

    queue = batcher.add(run, row_s=model.row_s)
    row = model.preprocessing.apply(PHOTO)

    def call() -> object:
        while True:
            try:
                return batcher.submit(queue, row).result()
            except Overloaded as exc:  # on a busy machine
                refused.append(exc.retry_after_ms)
                time.sleep(exc.retry_after_ms / 1000)

    yield Batched(call, sizes, refused)
    batcher.close()


def naive(spec: ModelSpec) -> tuple[Side, Side]:
    """ONNX Runtime as installed: one call at a time, and all at once."""
    session = onnxruntime.InferenceSession(spec.path, providers=["CPUExecutionProvider"])
    row: NDArray[np.float32] = spec.preprocessing.apply(PHOTO)[None]
    feed = {session.get_inputs()[0].name: row}
    lock = threading.Lock()

    def locked() -> object:
        with lock:
            return session.run(None, feed)

    return locked, lambda: session.run(None, feed)


@pytest.mark.skipif(onnxruntime is None, reason="needs the extra `embed`")
@pytest.mark.parametrize("name", ["opennsfw", "dense"])
def bench_learned(compare: Compare, specs: dict[str, ModelSpec], name: str) -> None:
    model = OnnxEmbedder(specs[name])
    with batched(model, max_batch=16) as ours, batched(model, max_batch=1) as unbatched:
        locked, unlocked = naive(specs[name])
        calls = {
            "batched": ours.call,
            "ONNX Runtime, one at a time": locked,
            "ONNX Runtime, all at once": unlocked,
            "our threads, unbatched": unbatched.call,
        }
        took: dict[str, list[float]] = {side: [] for side in calls}
        sides = {
            side: partial(lambda call, took: took.extend(ask_all(call)), call, took[side])
            for side, call in calls.items()
        }
        case = compare(
            f"one picture, {name}, {CALLERS} callers",
            sides.pop("batched"),
            sides,
            operations=CALLERS * CALLS,
            rounds=ROUNDS,
        )
        for side, times_s in took.items():
            case.notes[f"p99 of an answer, {side}"] = f"{np.percentile(times_s, 99) * 1000:.1f} ms"
        case.notes["rows per batch"] = round(float(np.mean(ours.sizes)), 1)
        case.notes[f"refused for the bound of {BOUND_MS:g} ms"] = len(ours.refused)


@pytest.mark.parametrize("what", ["classical", "preprocessing", "opennsfw"])
def bench_gil(compare: Compare, specs: dict[str, ModelSpec], what: str) -> None:
    """The longest wait of a ticker thread while another thread embeds."""
    model = OnnxEmbedder(specs["opennsfw"])
    row = model.preprocessing.apply(PHOTO)[None]
    work: dict[str, Callable[[], object]] = {
        "classical": lambda: classical.embed_classical(PHOTO, classical.CLASSICAL),
        "preprocessing": lambda: model.preprocessing.apply(PHOTO),
        "opennsfw": lambda: model.run(row),
    }

    def wait_s() -> float:
        with ThreadPoolExecutor(1) as threads, Ticker() as ticker:
            for future in [threads.submit(work[what]) for _ in range(IMAGES)]:
                future.result()
        return ticker.longest_wait_ms / 1000

    compare(f"longest wait of another thread, {what}", wait_s, rounds=5, own_clock=True)
