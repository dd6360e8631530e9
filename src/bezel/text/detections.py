"""What PaliGemma writes for "detect" and "segment": boxes, the codes of masks, and labels.

An object is four <loc....> pieces (top, left, bottom, right in 1,024 steps), for "segment" sixteen <seg...> pieces
more, and its label; objects stand with semicolons between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STEPS = 1024
_OBJECT = re.compile(r"<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>\s*((?:<seg\d{3}>){16})?\s*([^;<>]*)")


@dataclass(frozen=True)
class Detection:
    """An object in a picture. The box is in parts of the picture's height and width, 0 to 1.

    `codes`: sixteen numbers that a mask decoder makes a 64 x 64 mask of the box of; none where no mask was written.
    """

    label: str
    top: float
    left: float
    bottom: float
    right: float
    codes: tuple[int, ...] = ()

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right in a picture of this size."""
        return (
            round(self.top * height),
            round(self.left * width),
            round(self.bottom * height),
            round(self.right * width),
        )


def detections(answer: str) -> list[Detection]:
    """The objects of an answer, in its order. Pieces that are no whole object are left out."""
    found = []
    for match in _OBJECT.finditer(answer):
        places = [int(number) for number in match.groups()[:4]]
        codes = tuple(int(number) for number in re.findall(r"\d{3}", match[5] or ""))
        if max(places) < _STEPS and max(codes, default=0) < 128:
            top, left, bottom, right = (place / _STEPS for place in places)
            found.append(Detection(match[6].strip(), top, left, bottom, right, codes))
    return found
