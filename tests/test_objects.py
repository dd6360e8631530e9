"""Objects of PaliGemma's answers in the pixels of a picture, with masks as large as their boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bezel.models.vision.masks import MaskDecoder
from bezel.objects import objects_in

pytest.importorskip("PIL.Image")
PICTURE = np.zeros((200, 100, 3), np.uint8)
CODES = "".join(f"<seg{code:03d}>" for code in range(16))


class Halves(MaskDecoder):
    """Whose objects fill the lower half of their boxes."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def mask(self, codes: Any) -> Any:
        self.asked.append(tuple(codes))
        return np.repeat(np.float32([0, 1]), 32)[:, None] * np.ones(64, np.float32)


def test_boxes_and_masks_are_in_the_picture_s_pixels() -> None:
    decoder = Halves()
    answer = f"<loc0256><loc0000><loc0512><loc0512>{CODES} cat ; <loc0000><loc0000><loc1023><loc1023> dog"
    cat, dog = objects_in(answer, PICTURE, decoder)
    assert (cat.label, cat.top, cat.left, cat.bottom, cat.right) == ("cat", 50, 0, 100, 50)
    assert decoder.asked == [tuple(range(16))] and dog.label == "dog" and dog.mask is None
    assert cat.mask is not None and cat.mask.shape == (50, 50) and cat.mask.dtype == np.float32
    assert cat.mask[:20].max() < 0.01 and cat.mask[30:].min() > 0.99
    assert objects_in(answer, PICTURE)[0].mask is None and objects_in("nothing", PICTURE) == []
    (flat,) = objects_in(f"<loc0256><loc0000><loc0256><loc0512>{CODES} line", PICTURE, decoder)
    assert flat.mask is None and flat.top == flat.bottom
