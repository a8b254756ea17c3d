"""An independent reference implementation of every algorithm that featsvc computes.

Tests require one for each row of the table of algorithms.
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

PictureOracle: TypeAlias = Callable[[Image.Image, int], tuple[str, int]]
"""Picture and size -> text form, and the number of bits that rounding may change."""

_RECORDED = {v["pixels_sha256"]: v for v in json.loads(VECTORS.read_text(encoding="utf-8"))}


def _pdq(picture: Image.Image, _: int) -> tuple[str, int]:
    """The recorded result of `pdqhash` where there is one, else that of the NumPy twin."""
    pixels = np.asarray(picture)
    if recorded := _RECORDED.get(sha256_of(pixels)):
        return str(recorded["pdq"]), int(recorded["near_median"])
    coefficients = reference_pdq.dct(reference_pdq.downsample(pixels))
    flat = coefficients.ravel()
    near = int((np.abs(flat - np.sort(flat)[127]) <= 1e-3).sum()) - 1
    return reference_pdq.bits(coefficients).hex(), near


def _exactly(compute: Callable[..., object]) -> PictureOracle:
    return lambda picture, size: (str(compute(picture, size)), 0)


def _crop_resistant(picture: Image.Image, size: int) -> object:
    return imagehash.crop_resistant_hash(picture, partial(imagehash.dhash, hash_size=size))


PICTURE_ORACLES: Mapping[str, PictureOracle] = {
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


BYTE_ORACLES: Mapping[str, Callable[[bytes], bytes]] = {
    "md5": _digest("md5"),
    "sha1": _digest("sha1"),
    "sha256": _digest("sha256"),
}


def _grams(text: str) -> bytes:
    hashes = reference_minhash.gram_hashes(view_text(text).folded)
    blocks = [np.sort(hashes[first : first + 32]) for first in range(0, len(hashes), 32)]
    return b"\x01" + np.concatenate(blocks).astype("<u4").tobytes()


TEXT_ORACLES: Mapping[str, Callable[[str], bytes | None]] = {
    "text": _grams,
    "text_sha256": lambda text: hashlib.sha256(view_text(text).plain.encode()).digest(),
    "tlsh": lambda text: reference_tlsh.digest(text.encode()),
}

ORACLES: Mapping[str, object] = {**PICTURE_ORACLES, **BYTE_ORACLES, **TEXT_ORACLES}

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
"""The NumPy twins in `featsvc_kernels` of the kernels of each algorithm, which `tests/kernels`
compares; empty for an algorithm without kernels."""
