"""Near copies of known texts: MinHash finds candidates, containment decides.

A text's set is the 4-grams of its view. Resemblance, which MinHash estimates, drops when a copy is
put into a longer text; so a query is looked up whole and in windows of several lengths, one of
which is about as long as the entry. A candidate is then judged by **containment**: the share of
the entry's grams that the query's window holds, exactly. Entries longer than a window are stored
as several passages; a copy of a passage counts as a copy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from featsvc_kernels import minhash as kernels
from numpy.typing import NDArray

from featsvc.embedding.text_views import view_text

MIN_GRAMS = 16
"""Texts of fewer different grams (under 19 letters, or one letter repeated) have only their digest:
a phrase is no copy of anything.
"""
BLOCK_GRAMS = 32
WINDOW_BLOCKS = (1, 2, 4, 8, 16)
"""Lengths of a query's windows; each moves on by a quarter of itself, one block at least."""
PASSAGE_GRAMS = BLOCK_GRAMS * WINDOW_BLOCKS[-1]
DEFAULT_THRESHOLD = 0.6
"""Containment. Unrelated English reaches .35 (measured; see docs/text.md)."""

Hashes = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """An entry that the query holds a copy of; `containment` 0 to 1, 1 is a whole copy.

    `view` is `plain` or `folded`: where the copy shows.
    """

    entry: int
    containment: float
    view: str


@dataclass(frozen=True, slots=True, eq=False)
class _Passage:
    """Part of a text: the hashes of its grams in order, and the minima of its blocks."""

    hashes: Hashes
    minima: NDArray[np.uint32]

    def keys(self) -> NDArray[np.uint64]:
        keys = np.empty(kernels.BANDS, np.uint64)
        kernels.band_keys(self.minima, keys)
        return keys


def hash_grams(view: str) -> Hashes:
    """One hash for each 4 neighbouring characters; empty for fewer than four."""
    codes = np.frombuffer(view.encode("utf-32-le"), "<u4")
    hashes = np.empty(max(codes.size - kernels.GRAM + 1, 0), np.uint32)
    kernels.gram_hashes(codes, hashes)
    return hashes


def minhash(hashes: Hashes) -> NDArray[np.uint32]:
    """The signature (128,) of a set of grams; all ones of an empty set."""
    minima = np.empty((1, kernels.MINIMA), np.uint32)
    kernels.block_minima(hashes, max(hashes.size, 1), minima)
    return np.asarray(minima[0])


class TextIndex:
    """Immutable and thread-safe: entries by position in `texts`."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Entries shorter than `MIN_GRAMS` are found by their digest only."""
        self._digests: dict[bytes, list[int]] = {}
        views = [view_text(text) for text in texts]
        for entry, seen in enumerate(views):
            if seen.plain:
                self._digests.setdefault(seen.digest, []).append(entry)
        self._plain = _ViewIndex([seen.plain for seen in views])
        self._folded = _ViewIndex([seen.folded for seen in views])

    def search(self, text: str, threshold: float = DEFAULT_THRESHOLD) -> tuple[TextMatch, ...]:
        """Entries whose containment in `text` reaches `threshold`, each once, best first."""
        views = view_text(text)
        best = {
            entry: TextMatch(entry, 1.0, "plain")
            for entry in self._digests.get(views.digest, ()) if views.plain
        }  # fmt: skip
        for name, index, view in (
            ("plain", self._plain, views.plain),
            ("folded", self._folded, views.folded),
        ):
            for entry, containment in index.search(view, threshold):
                known = best.get(entry)
                if known is None or containment > known.containment:
                    best[entry] = TextMatch(entry, containment, name)
        return tuple(sorted(best.values(), key=lambda match: (-match.containment, match.entry)))


class _ViewIndex:
    """Passages of one view of all entries, by band."""

    def __init__(self, views: Sequence[str]) -> None:
        entries: list[int] = []
        sets: list[Hashes] = []
        keys: list[NDArray[np.uint64]] = []
        for entry, view in enumerate(views):
            for passage in _passages(hash_grams(view)):
                grams = np.unique(passage.hashes)
                if grams.size >= MIN_GRAMS:
                    entries.append(entry)
                    sets.append(grams)
                    keys.append(passage.keys())
        self._entries = np.array(entries, np.int64)
        self._sets = np.concatenate([*sets, np.empty(0, np.uint32)])
        self._offsets = np.cumsum([0, *(one.size for one in sets)])
        table = np.array(keys, np.uint64).reshape(len(keys), kernels.BANDS).T
        order = np.argsort(table, axis=1, kind="stable")
        self._keys = np.ascontiguousarray(np.take_along_axis(table, order, axis=1))
        self._rows = np.ascontiguousarray(order.astype(np.uint32))

    def search(self, view: str, threshold: float) -> Iterator[tuple[int, float]]:
        """Entry and containment of each window that holds enough of a passage."""
        if not self._entries.size:
            return
        seen = np.zeros(self._entries.size, np.uint8)
        found = np.empty(self._entries.size, np.int64)
        for window in _windows(hash_grams(view)):
            count = kernels.collect_candidates(
                self._keys, self._rows, window.keys(), seen, found, 0
            )
            rows = found[:count]
            seen[rows] = 0
            shares = np.empty(count)
            kernels.containments(self._sets, self._offsets, rows, np.unique(window.hashes), shares)
            for i in np.flatnonzero(shares >= threshold):
                yield int(self._entries[rows[i]]), float(shares[i])


def _passages(hashes: Hashes) -> Iterator[_Passage]:
    """A text up to `PASSAGE_GRAMS` whole, a longer one in passages that overlap by half."""
    if hashes.size < MIN_GRAMS:
        return
    yield from _cut(hashes, _minima(hashes), WINDOW_BLOCKS[-1], WINDOW_BLOCKS[-1] // 2)


def _windows(hashes: Hashes) -> Iterator[_Passage]:
    """The text whole, unless it is longer than a passage, and its windows of every length."""
    if hashes.size < MIN_GRAMS:
        return
    minima = _minima(hashes)
    if len(minima) <= WINDOW_BLOCKS[-1]:
        yield _Passage(hashes, minima)
    for blocks in WINDOW_BLOCKS:
        if blocks < len(minima):
            yield from _cut(hashes, minima, blocks, max(blocks // 4, 1))


def _cut(hashes: Hashes, minima: NDArray[np.uint32], blocks: int, step: int) -> Iterator[_Passage]:
    """Windows of `blocks` blocks from start to end; the last one ends with the text."""
    end = max(len(minima) - blocks, 0)
    for first in (*range(0, end, step), end):
        last = first + blocks
        yield _Passage(hashes[first * BLOCK_GRAMS : last * BLOCK_GRAMS], minima[first:last])


def _minima(hashes: Hashes) -> NDArray[np.uint32]:
    minima = np.empty((-(-hashes.size // BLOCK_GRAMS), kernels.MINIMA), np.uint32)
    kernels.block_minima(hashes, BLOCK_GRAMS, minima)
    return minima
