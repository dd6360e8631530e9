"""From a decoded picture to what an image tower takes, as Transformers' processors of Gemma 3 and SigLIP do it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bezel.errors import InvalidRequestError, ModelFileError

Picture = NDArray[np.uint8]
"""[height, width, 3], RGB, upright."""
Pixels = NDArray[np.float32]
"""[size, size, 3], normalised."""

_LARGE = 2  # times the tower's size, from which on details would be lost
_LONG = 2.0  # long side over short


@dataclass(frozen=True)
class PanAndScan:
    """When and how a long picture is also shown in crops, side by side along its long side; sizes in pixels.

    The names are Transformers', with `pan_and_scan_` in front.
    """

    min_crop_size: int = 256
    max_num_crops: int = 4
    min_ratio_to_activate: float = 1.2


@dataclass(frozen=True)
class Preprocessing:
    """What a tower of `size` by `size` pixels takes: value / 255, less `mean`, over `std`, one a channel.

    `resample` is one of Pillow's filters by its number: 2 is bilinear, 3 bicubic.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crops: PanAndScan = PanAndScan()
    resample: int = 2

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], size: int, resample: int = 2) -> Preprocessing:
        """Read a `preprocessor_config.json`, with `resample` where it names none; ModelFileError says what is wrong."""
        found = resample if config.get("resample") is None else config["resample"]
        if type(found) is not int or not 0 <= found <= 5:
            raise ModelFileError(f"preprocessor_config: resample is {found!r}; the number of a Pillow filter is due")
        given = {name: config.get(f"pan_and_scan_{name}") for name in PanAndScan.__dataclass_fields__}
        for name, value in given.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
                raise ModelFileError(f"preprocessor_config: pan_and_scan_{name} is {value!r}; a positive number is due")
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        mean, std = _channels(config, "image_mean"), _channels(config, "image_std")
        return cls(size, mean, std, PanAndScan(**chosen), found)

    def square(self, picture: Picture) -> Picture:
        """The whole picture, squeezed to the tower's square."""
        from PIL import Image

        return np.array(Image.fromarray(picture).resize((self.size, self.size), Image.Resampling(self.resample)))

    def pixels(self, square: Picture) -> Pixels:
        """A square as the tower takes it."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (square.astype(np.float32) / np.float32(255) - mean) / std

    def parts(self, picture: Picture, pan_and_scan: bool | None = None) -> list[Picture]:
        """The picture, then its crops where it has any. `pan_and_scan` None: where it is large or very long."""
        if pan_and_scan is None:
            short, long = sorted(picture.shape[:2])
            pan_and_scan = long >= _LONG * short or long >= _LARGE * self.size
        return [picture, *(crops(picture, self.crops) if pan_and_scan else ())]


def _channels(config: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = config.get(name) or (0.5, 0.5, 0.5)
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise ModelFileError(f"preprocessor_config: {name} is {values!r}; three numbers are due")
    if name == "image_std" and min(values) <= 0:
        raise ModelFileError(f"preprocessor_config: {name} is {values!r}; all must be positive")
    return tuple(float(value) for value in values)


def crops(picture: Picture, settings: PanAndScan) -> list[Picture]:
    """Equal parts of a picture along its long side, as many as make them near squares; none where it is near one.

    The last is smaller where they do not divide it.
    """
    sides = picture.shape[:2]
    along = 1 if sides[1] >= sides[0] else 0
    long, short = sides[along], sides[1 - along]
    if long / short < settings.min_ratio_to_activate:
        return []
    count = min(math.floor(long / short + 0.5), long // settings.min_crop_size)
    count = min(max(2, count), settings.max_num_crops)
    size = math.ceil(long / count)
    if min(size, short) < settings.min_crop_size:
        return []
    parts = [slice(first, first + size) for first in range(0, size * count, size)]
    return [picture[:, part] if along else picture[part] for part in parts]


def picture_of(image: Any) -> Picture:
    """A PIL image of any mode, or uint8 [H, W], [H, W, 3] or [H, W, 4], as RGB: upright, transparency over white.

    InvalidRequestError for anything else, and for a picture without pixels.
    """
    from PIL import Image, ImageOps

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            raise InvalidRequestError(
                f"an image is an array of {image.dtype} {image.shape}; send uint8 [height, width, 3]"
            )
        if 0 in image.shape:
            raise InvalidRequestError(f"an image of {image.shape} has no pixels")
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image) or 0 in image.size:
        raise InvalidRequestError(f"an image is a {type(image).__name__}; send a PIL image or a uint8 array")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "a" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.array(image.convert("RGB"))
