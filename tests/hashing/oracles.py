"""Who else makes each hash: an independent maker for every algorithm that is computed here.

Tests go over the table of algorithms and ask for a row of each.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import imagehash
import numpy as np
from featsvc_kernels import reference_minhash, reference_pdq, reference_tlsh
from PIL import Image

from featsvc.signals.text_views import view_text
from tests.hashing.photographs import sha256_of
from tests.vectors.record_pdq import VECTORS

Pictured: TypeAlias = Callable[[Image.Image, int], tuple[str, int]]
"""Picture and size -> text form, and how many bits may differ: those that rounding decides."""

_RECORDED = {v["pixels_sha256"]: v for v in json.loads(VECTORS.read_text(encoding="utf-8"))}


def _pdq(picture: Image.Image, _: int) -> tuple[str, int]:
    """As `pdqhash` answered, where that was recorded; else by the twin in float64."""
    pixels = np.asarray(picture)
    if found := _RECORDED.get(sha256_of(pixels)):
        return str(found["pdq"]), int(found["near_median"])
    coefficients = reference_pdq.dct(reference_pdq.downsample(pixels))
    flat = coefficients.ravel()
    near = int((np.abs(flat - np.sort(flat)[127]) <= 1e-3).sum()) - 1
    return reference_pdq.bits(coefficients).hex(), near


def _exactly(make: Callable[..., object]) -> Pictured:
    return lambda picture, size: (str(make(picture, size)), 0)


def _crop_resistant(picture: Image.Image, size: int) -> object:
    return imagehash.crop_resistant_hash(picture, partial(imagehash.dhash, hash_size=size))


OF_PICTURES: Mapping[str, Pictured] = {
    "pdq": _pdq,
    "phash": _exactly(imagehash.phash),
    "phash_simple": _exactly(imagehash.phash_simple),
    "ahash": _exactly(imagehash.average_hash),
    "dhash": _exactly(imagehash.dhash),
    "dhash_vertical": _exactly(imagehash.dhash_vertical),
    "whash": _exactly(imagehash.whash),
    "whash_db4": _exactly(partial(imagehash.whash, mode="db4")),
    "colorhash": _exactly(imagehash.colorhash),
    "crop_resistant": _exactly(_crop_resistant),
}


def _digest(name: str) -> Callable[[bytes], bytes]:
    return lambda content: hashlib.new(name, content).digest()


OF_BYTES: Mapping[str, Callable[[bytes], bytes]] = {
    "md5": _digest("md5"),
    "sha1": _digest("sha1"),
    "sha256": _digest("sha256"),
}


def _grams(text: str) -> bytes:
    hashes = reference_minhash.gram_hashes(view_text(text).folded)
    blocks = [np.sort(hashes[first : first + 32]) for first in range(0, len(hashes), 32)]
    return b"\x01" + np.concatenate(blocks).astype("<u4").tobytes()


OF_TEXTS: Mapping[str, Callable[[str], bytes | None]] = {
    "text": _grams,
    "text_sha256": lambda text: hashlib.sha256(view_text(text).plain.encode()).digest(),
    "tlsh": lambda text: reference_tlsh.digest(text.encode()),
}

ORACLES: Mapping[str, object] = {**OF_PICTURES, **OF_BYTES, **OF_TEXTS}

_GREY = ("reference_imagehash:to_grey", "reference_imagehash:resample_rows")
TWINS: Mapping[str, tuple[str, ...]] = {
    "pdq": ("reference_pdq:downsample", "reference_pdq:dct", "reference_pdq:bits"),
    "phash": _GREY,
    "phash_simple": _GREY,
    "ahash": _GREY,
    "dhash": _GREY,
    "dhash_vertical": _GREY,
    "whash": (*_GREY, "reference_imagehash:block_sums"),
    "whash_db4": (*_GREY, "reference_imagehash:project"),
    "colorhash": ("reference_imagehash:count_colours",),
    "crop_resistant": (*_GREY, "reference_imagehash:median_3x3"),
    "md5": (),
    "sha1": (),
    "sha256": (),
    "text": ("reference_minhash:gram_hashes",),
    "text_sha256": (),
    "tlsh": ("reference_tlsh:digest",),
}
"""The obvious twins in `featsvc_kernels` of the kernels that each is made by; none where no kernel
makes it. `tests/kernels` compares them."""
