"""How images stand in a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Part = tuple[str, bool] | None
"""Text, and whether it is a control piece; None for the soft tokens of one image."""


@dataclass(frozen=True)
class ImageForm:
    """Gemma 3's: `tokens` soft tokens between two control pieces, blank lines around. `soft_id` stands for each."""

    tokens: int
    soft_id: int
    begin: str = "<start_of_image>"
    end: str = "<end_of_image>"

    def parts(self, crops: int) -> list[Part]:
        """One image, or where it is shown in crops too, the words that Gemma 3 was trained with around all of them."""
        one: list[Part] = [("\n\n", False), (self.begin, True), None, (self.end, True), ("\n\n", False)]
        if not crops:
            return one
        more = [part for crop in range(crops) for part in ([(" ", False)] if crop else []) + one]
        opening, joining = "Here is the original image ", " and here are some crops to help you see better "
        return [(opening, False), *one, (joining, False), *more]


@dataclass(frozen=True)
class Layout:
    """A prompt: its token ids, and where the soft tokens of each image begin, crops behind the whole."""

    ids: list[int]
    images: Sequence[int] = ()
