"""Hashing of texts to signals.

- `text`: grams of the folded view, which find edited copies (`text_grams`).
- `text_sha256`: SHA-256 of the plain view in UTF-8, equal for texts that read the same.
- `tlsh` and the byte hashes: of the text in UTF-8 as it was sent, as lists exchange them.
"""

import time
from collections.abc import Sequence

from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import ALGORITHMS, Algorithm, Kind, get_algorithm
from featsvc.signals.computing import ByteHash, PreparedText, TextHash, TextValues, resolve
from featsvc.signals.hashes import ContentHashes, ContentOutcome, MediaInfo
from featsvc.signals.signal import Signal
from featsvc.signals.text_grams import MAX_PARTS, MAX_STORED_GRAMS, query_value, stored_values
from featsvc.signals.text_views import check_text, view_text
from featsvc.signals.tlsh import tlsh_value
from featsvc.signals.variants import ORIGINAL

STORED_ALGORITHMS = ("text_sha256", "text")
"""The signals of an entry that a curator adds as a text."""
_MEDIA = MediaInfo("text/plain", 0, 0, 0)


def hash_text(text: str, algorithms: Sequence[str], *, parts: bool = False) -> ContentHashes:
    """Compute each of `algorithms` (names in the table; duplicates count once).

    With `parts`, the `text` signals are those that an entry stores: a long text has several, as
    variants. Otherwise there is one of the whole text, for a query. Synchronous and thread-safe.

    The outcome is LOW_QUALITY where a signal cannot be computed, and `reason` says which: a phrase
    has only digests. Raises UnknownAlgorithm, InvalidInput (no algorithm, an algorithm of pictures,
    an empty text; with `parts`, over MAX_STORED_GRAMS), MediaTooLarge (over 1 MiB).
    """
    check_text(text)
    kinds = _kinds(algorithms)
    started = time.perf_counter_ns()
    prepared = PreparedText(text.encode("utf-8", "surrogatepass"), view_text(text), parts)
    viewed = time.perf_counter_ns()
    signals: list[Signal] = []
    missing: list[str] = []
    for kind in kinds:
        values, reason = _values(kind, prepared)
        if not values:
            missing.append(reason)
        signals += [
            Signal(kind, value, variant=ORIGINAL if i == 0 else f"part-{i + 1}")
            for i, value in enumerate(values)
        ]
    outcome = ContentOutcome.LOW_QUALITY if missing else ContentOutcome.OK
    hashed = time.perf_counter_ns()
    decode_us, hash_us = (viewed - started) // 1000, (hashed - viewed) // 1000
    return ContentHashes(outcome, "; ".join(missing), _MEDIA, tuple(signals), decode_us, hash_us)


def _kinds(algorithms: Sequence[str]) -> tuple[Algorithm, ...]:
    kinds = tuple(get_algorithm(name, field="algorithms") for name in dict.fromkeys(algorithms))
    if not kinds:
        raise InvalidInput("algorithms: name at least one", field="algorithms")
    for kind in kinds:
        if not kind.of_texts:
            raise InvalidInput(
                f"algorithms: {kind.name} is not computed of texts; use {_text_algorithms()}",
                field="algorithms",
            )
    return kinds


def _text_algorithms() -> str:
    """List the algorithms of texts, those that files have too last."""
    kinds = [kind for kind in ALGORITHMS.values() if kind.of_texts]
    *names, last = (kind.name for kind in sorted(kinds, key=lambda kind: kind.of_files))
    return f"{', '.join(names)} or {last}"


def _values(kind: Algorithm, text: PreparedText) -> TextValues:
    if kind.kind is Kind.BYTES:
        digest: ByteHash = resolve(kind.compute)
        return (digest(text.content),), ""
    text_hash: TextHash = resolve(kind.compute)
    return text_hash(text)


def grams(text: PreparedText) -> TextValues:
    """Compute the algorithm `text`. Raises InvalidInput for more than an entry stores."""
    reason = (
        "the text is too short for copies to be found by its words (under about 19 letters, or few "
        "different ones): only digests can match it"
    )
    folded = text.views.folded
    if not text.parts:
        return _some(query_value(folded)), reason
    values = list(stored_values(folded))
    if len(values) > MAX_PARTS:
        raise InvalidInput(
            f"text: {len(folded):,} letters, the signals of one entry hold {MAX_STORED_GRAMS:,}; "
            "send it in pieces, or leave out the algorithm text",
            reason="TEXT_TOO_LONG",
            field="text",
        )
    return values, reason


def plain_digest(text: PreparedText) -> TextValues:
    """Compute the algorithm `text_sha256`."""
    reason = "nothing in the text reads as a letter or a number: text_sha256 has no digest"
    return [text.views.digest] if text.views.plain else [], reason


def tlsh(text: PreparedText) -> TextValues:
    """Compute the algorithm `tlsh`."""
    reason = "the text is too short (under 50 bytes) or too uniform for tlsh: it has no digest"
    return _some(tlsh_value(text.content)), reason


def _some(value: bytes | None) -> list[bytes]:
    return [] if value is None else [value]
