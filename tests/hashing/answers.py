"""What every answer of `hash_content` promises, whatever the content is."""

import hashlib
from collections.abc import Sequence

from featsvc.media import DecodeOptions, Frames
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.hashes import ContentHashes, ContentOutcome


def check_answer(
    hashes: ContentHashes, content: bytes, algorithms: Sequence[str], options: DecodeOptions
) -> None:
    """Assert that the byte hashes are there, and that OK means every planned signal."""
    kinds = [get_algorithm(name) for name in algorithms]
    digests = {k.name for k in kinds if k.kind is Kind.BYTES}
    perceptual = {k.name for k in kinds if k.kind is Kind.PICTURE}
    found = {s.algorithm.name: s.text for s in hashes.signals if s.algorithm.kind is Kind.BYTES}
    assert found == {name: hashlib.new(name, content).hexdigest() for name in digests}
    assert bool(hashes.reason) == (hashes.outcome is not ContentOutcome.OK)
    have = {(s.frame, s.algorithm.name) for s in hashes.signals if s.algorithm.kind is Kind.PICTURE}
    frames = {frame for frame, _ in have}
    assert frames == set(range(len(frames))), "the first frames, none left out"
    if hashes.outcome is ContentOutcome.OK and perceptual:
        assert hashes.media is not None
        count = hashes.media.frames if options.frames is Frames.ALL else 1
        assert have == {(frame, name) for frame in range(count) for name in perceptual}
        assert not any(s.low_quality for s in hashes.signals if s.variant == "original")
    if hashes.outcome.undecoded and options.frames is Frames.FIRST:
        assert not have
