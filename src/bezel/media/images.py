"""From a decoded picture to what an image tower takes, as Transformers' processors do it on Pillow."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bezel.errors import CorruptMediaError, InvalidRequestError, ModelFileError
from bezel.media.modes import rgb

Picture = NDArray[np.uint8]
"""[height, width, 3], RGB, upright."""
Pixels = NDArray[np.float32]
"""[size, size, 3], normalised."""

_LARGE = 2  # times the tower's size, from which on details would be lost
_LONG = 2.0  # long side over short
_LARGEST = 4096  # pixels that a tower may ask for
_BILINEAR = 2
_FILTERS = {0: "nearest", 1: "Lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


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

    `crops` None: pictures are shown whole, whatever they are. `resample` is one of Pillow's filters.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    crops: PanAndScan | None = PanAndScan()
    resample: int = _BILINEAR

    @classmethod
    def of_gemma3n(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read the `preprocessor_config.json` of a Gemma 3n; what it leaves out is as in the published models.

        ModelFileError names a field that is wrong, or asks for what no Gemma 3n was trained with.
        """
        size = config.get("size", {"height": 768, "width": 768})
        sides = [size.get(side) for side in ("height", "width")] if isinstance(size, Mapping) else []
        if len(set(sides)) != 1 or type(sides[0]) is not int or not 0 < sides[0] <= _LARGEST:
            raise ModelFileError(f"preprocessor_config: size is {size!r}; a square of 1 to {_LARGEST} pixels is due")
        if not math.isclose(float(config.get("rescale_factor") or 1 / 255), 1 / 255, rel_tol=1e-5):
            raise ModelFileError(f"preprocessor_config: rescale_factor is {config['rescale_factor']!r}; 1 / 255 is due")
        for name in ("do_resize", "do_rescale"):
            if config.get(name) is False:
                raise ModelFileError(f"preprocessor_config: {name} is false; the tower takes no other pictures")
        plain = cls(sides[0], (0.0,) * 3, (1.0,) * 3, None, _resample(config, _BILINEAR))
        if not config.get("do_normalize"):
            return plain
        return replace(plain, mean=_channels(config, "image_mean"), std=_channels(config, "image_std"))

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], size: int, resample: int = _BILINEAR) -> Preprocessing:
        """Read a `preprocessor_config.json`, with `resample` where it names none; ModelFileError says what is wrong."""
        found = _resample(config, resample)
        given = {name: config.get(f"pan_and_scan_{name}") for name in PanAndScan.__dataclass_fields__}
        for name, value in given.items():
            kinds, due = ((int, float), "number") if "ratio" in name else ((int,), "whole number")
            if value is not None and (type(value) not in kinds or not 0 < value < math.inf):
                raise ModelFileError(f"preprocessor_config: pan_and_scan_{name} is {value!r}; a positive {due} is due")
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        mean, std = _channels(config, "image_mean"), _channels(config, "image_std")
        return cls(size, mean, std, PanAndScan(**chosen), found)

    def square(self, picture: Picture) -> Picture:
        """The whole picture, squeezed to the tower's square."""
        from PIL import Image

        resample = Image.Resampling(self.resample)
        return np.array(Image.fromarray(picture).resize((self.size, self.size), resample))

    def pixels(self, square: Picture) -> Pixels:
        """A square as the tower takes it."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (square.astype(np.float32) / np.float32(255) - mean) / std

    def parts(self, picture: Picture, pan_and_scan: bool | None = None) -> list[Picture]:
        """The picture, then its crops where it has any. `pan_and_scan` None: where it is large or very long.

        InvalidRequestError where crops are asked for and pictures are shown whole.
        """
        if self.crops is None:
            if pan_and_scan:
                raise InvalidRequestError("this model was not trained with crops of images; leave pan_and_scan out")
            return [picture]
        if pan_and_scan is None:
            short, long = sorted(picture.shape[:2])
            pan_and_scan = long >= _LONG * short or long >= _LARGE * self.size
        return [picture, *(crops(picture, self.crops) if pan_and_scan else ())]


def _resample(config: Mapping[str, Any], default: int) -> int:
    found: Any = default if config.get("resample") is None else config["resample"]
    if type(found) is not int or found not in _FILTERS:
        raise ModelFileError(f"preprocessor_config: resample is {found!r}; one of {list(_FILTERS)} is due")
    return found


def _channels(config: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = config.get(name) or (0.5, 0.5, 0.5)
    numbers = isinstance(values, list | tuple) and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    if not numbers or len(values) != 3:
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
    """A PIL image of any mode but F, or uint8 [H, W], [H, W, 3] or [H, W, 4], as RGB: upright, transparency over white.

    InvalidRequestError for anything else, and for a picture without pixels; CorruptMediaError for an image that was
    opened from a broken file.
    """
    from PIL import Image

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            raise InvalidRequestError(
                f"an image is an array of {image.dtype} {image.shape}; send uint8 [height, width, 3]"
            )
        if 0 in image.shape:
            raise InvalidRequestError(f"an image of {image.shape} has no pixels")
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image) or 0 in image.size:
        raise InvalidRequestError(
            f"an image is a {type(image).__name__}; send a file's path or bytes, a PIL image or a uint8 array"
        )
    if image.mode == "F":
        raise InvalidRequestError("an image of mode F has no white; scale it to 0 to 255 and convert it to L")
    image = _loaded(image)
    return np.array(rgb(image, image.info.get("transparency")))


def _loaded(image: Any) -> Any:
    """A PIL image upright and in memory, of which Image.open has read no more than the head."""
    from PIL import ImageOps

    try:
        image.load()
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error):
        raise CorruptMediaError("an image comes from a file that is broken or cut off; open the whole file") from None
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of broken EXIF, without which the picture is whole
        return image.copy()
