"""Objects that PaliGemma found, as fields of a record."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bezel.errors import InvalidRequestError, UnsupportedInputError

if TYPE_CHECKING:
    from bezel.api import Model
    from bezel.models.vision.masks import MaskDecoder
    from bezel.objects import Found


@dataclass(frozen=True)
class Seen:
    """The images of a question to PaliGemma, and a decoder of masks where one is given."""

    images: Sequence[Path]
    masks: MaskDecoder | None

    def objects(self, answer: str) -> dict[str, Any]:
        """{"objects": [...]} of an answer about one image that names any, else nothing: places are in its pixels."""
        if len(self.images) != 1:
            return {}
        from bezel.objects import objects_in

        found = [_fields(each) for each in objects_in(answer, self.images[0], self.masks)]
        return {"objects": found} if found else {}


def mask_decoder(masks: Path | None, images: Sequence[Path], as_json: bool) -> MaskDecoder | None:
    """The decoder of `masks`, read before anything is asked. Raises InvalidRequestError where it would have no use."""
    if masks is None:
        return None
    if not as_json or len(images) != 1:
        raise InvalidRequestError("--masks says what --json shows of one image; give both --json and one --image")
    from bezel.models.vision.masks import MaskDecoder

    return MaskDecoder.load(masks)


def seen_by(loaded: Model, images: Sequence[Path], masks: MaskDecoder | None) -> Seen | None:
    """What PaliGemma is shown; None for another model. UnsupportedInputError where that one is given `masks`."""
    if loaded.describe().get("architecture") == "paligemma":
        return Seen(images, masks)
    if masks is not None:
        raise UnsupportedInputError(
            "--masks is for the objects that PaliGemma finds, and this model is none; load "
            "google/paligemma2-3b-mix-448 or leave it out"
        )
    return None


def _fields(found: Found) -> dict[str, Any]:
    box = {"top": found.top, "left": found.left, "bottom": found.bottom, "right": found.right}
    return {"label": found.label, "box": box} | ({"mask": _png(found.mask)} if found.mask is not None else {})


def _png(mask: Any) -> str:
    """A grey picture of the box's size, 255 where a pixel surely belongs to the object, as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((mask * 255 + 0.5).astype("uint8")).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
