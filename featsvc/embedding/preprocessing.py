"""Declarative preprocessing of pictures for learned models."""

from typing import Annotated, Literal

import msgspec
import numpy as np
from featsvc_kernels import embedding as kernels
from numpy.typing import NDArray
from PIL import Image as PillowImage

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Size = tuple[Side, Side]
Channels = tuple[float, float, float]

_FILTERS = {
    "nearest": PillowImage.Resampling.NEAREST,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
    "lanczos": PillowImage.Resampling.LANCZOS,
}


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Resize, crop the centre, then compute `(value * scale - mean) / std` for each channel.

    Sizes are (width, height) in pixels. Pillow resizes with antialiasing, as torchvision does for
    Pillow images.
    """

    size: Size
    """Size of the model's input."""
    resize: Size | None = None
    """Size before the centre is cropped; None means `size`."""
    fit: Literal["stretch", "cover"] = "stretch"
    """`stretch` ignores the aspect ratio; `cover` keeps it and fills `resize`."""
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    colour_order: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: float = 1 / 255
    mean: Channels = (0.0, 0.0, 0.0)
    """In the order of `colour_order`, as `std` is."""
    std: Channels = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        width, height = self.size
        target = self.resize or self.size
        if target[0] < width or target[1] < height:
            raise ValueError(f"resize {target} is smaller than size {self.size}")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a tensor: (3, H, W) or (H, W, 3)."""
        width, height = self.size
        return (3, height, width) if self.layout == "NCHW" else (height, width, 3)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert RGB (H, W, 3) or grey (H, W), at least 1x1, to a float32 tensor of `shape`.

        Thread-safe; resizing and conversion release the GIL.
        """
        picture = PillowImage.fromarray(pixels)
        if picture.mode != "RGB":
            picture = picture.convert("RGB")
        resized = picture.resize(self._target(*picture.size), _FILTERS[self.filter])
        width, height = self.size
        left, top = (resized.width - width) // 2, (resized.height - height) // 2
        if resized.size != self.size:
            resized = resized.crop((left, top, left + width, top + height))
        std = np.array(self.std, np.float32)
        tensor = np.empty(width * height * 3, np.float32)
        kernels.to_tensor(
            np.ascontiguousarray(resized),
            np.float32(self.scale) / std,
            -np.array(self.mean, np.float32) / std,
            self.colour_order == "BGR",
            self.layout == "NCHW",
            tensor,
        )
        return tensor.reshape(self.shape)

    def _target(self, width: int, height: int) -> Size:
        target_width, target_height = self.resize or self.size
        if self.fit == "stretch":
            return target_width, target_height
        factor = max(target_width / width, target_height / height)
        return max(round(width * factor), target_width), max(round(height * factor), target_height)
