"""Preprocessing equals the same steps in Pillow and NumPy."""

from typing import Literal

import numpy as np
import pytest
from PIL import Image

from featsvc.embedding import Preprocessing
from tests.hashing.photographs import noise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_the_usual_imagenet_preprocessing() -> None:
    """torchvision's Resize(256), CenterCrop(224), ToTensor, Normalize."""
    pixels = noise(5, 300, 500)
    tensor = Preprocessing(
        size=(224, 224), resize=(256, 256), fit="cover", mean=MEAN, std=STD
    ).apply(pixels)
    resized = Image.fromarray(pixels).resize((427, 256), Image.Resampling.BILINEAR)
    left = (427 - 224) // 2
    crop = np.asarray(resized.crop((left, 16, left + 224, 240)), dtype=float)
    expected = ((crop / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert tensor.shape == (3, 224, 224)
    np.testing.assert_allclose(tensor, expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_layout_and_colour_order(
    layout: Literal["NCHW", "NHWC"], order: Literal["RGB", "BGR"]
) -> None:
    pixels = noise(6, 20, 30)
    preprocessing = Preprocessing(
        size=(30, 20), layout=layout, colour_order=order, scale=1.0, mean=(104, 117, 123)
    )
    tensor = preprocessing.apply(pixels)
    assert tensor.shape == preprocessing.shape
    channels = pixels[:, :, ::-1] if order == "BGR" else pixels
    expected = channels.astype(float) - (104, 117, 123)
    if layout == "NCHW":
        expected = expected.transpose(2, 0, 1)
    np.testing.assert_allclose(tensor, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (7, 900)])
@pytest.mark.parametrize("fit", ["stretch", "cover"])
def test_any_shape_of_picture_fits(
    shape: tuple[int, int], fit: Literal["stretch", "cover"]
) -> None:
    preprocessing = Preprocessing(size=(32, 16), resize=(40, 20), fit=fit)
    assert preprocessing.apply(noise(1, *shape)).shape == (3, 16, 32)


def test_grey_is_three_equal_channels() -> None:
    grey = np.ascontiguousarray(noise(1, 40, 40)[:, :, 0])
    grey.flags.writeable = False
    tensor = Preprocessing(size=(16, 16)).apply(grey)
    np.testing.assert_array_equal(tensor[0], tensor[1])
    np.testing.assert_array_equal(tensor[0], tensor[2])
