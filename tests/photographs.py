"""Real photographs: those that scikit-image ships, and the reference data where it is at hand."""

import io
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data")

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the reference data (../shared/data) is not here"
)


def photograph(name: str) -> Path:
    """A file of scikit-image's data folder."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / name


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=quality)
    return content.getvalue()


def edited(name: str, quality: int = 40) -> bytes:
    """A re-compressed, smaller copy of a photograph."""
    with Image.open(photograph(name)) as image:
        return jpeg(image.convert("RGB").reduce(2), quality)
