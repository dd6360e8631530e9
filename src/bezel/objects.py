"""What PaliGemma finds in a picture ("detect cat", "segment cat"), in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.backends.sources import opened_image
from bezel.kernels.interface import F32
from bezel.media.fetching import Sources
from bezel.models.vision.masks import MaskDecoder
from bezel.text.detections import Detection, detections

PATHS = Sources(files=True)


@dataclass(frozen=True, eq=False)
class Found:
    """One object. The box reaches from row `top` to before `bottom` and from column `left` to before `right`.

    `mask` is float32 [bottom - top, right - left]: how surely each pixel of the box belongs to the object, 0 to 1. None
    where the answer holds none or no decoder was given.
    """

    label: str
    top: int
    left: int
    bottom: int
    right: int
    mask: F32 | None = None


def objects_in(answer: str, image: Any, masks: MaskDecoder | None = None, sources: Sources = PATHS) -> list[Found]:
    """The objects of an answer about `image`: a path, a file's bytes, a data URL, a PIL image or a uint8 array.

    `masks` decodes those of "segment". Raises MediaError where the image cannot be read.
    """
    height, width = opened_image(image, sources).shape[:2]
    return [_found(each, height, width, masks) for each in detections(answer)]


def _found(each: Detection, height: int, width: int, masks: MaskDecoder | None) -> Found:
    top, left, bottom, right = each.pixels(height, width)
    sizes: Sequence[int] = (bottom - top, right - left)
    drawn = masks is not None and each.codes and min(sizes) > 0
    mask = _stretched(masks.mask(each.codes), *sizes) if masks is not None and drawn else None
    return Found(each.label, top, left, bottom, right, mask)


def _stretched(mask: F32, height: int, width: int) -> F32:
    """A mask [64, 64] over a box of this size, bilinear."""
    from PIL import Image

    stretched = Image.fromarray(mask, "F").resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(stretched, np.float32), 0, 1)
