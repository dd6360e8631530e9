"""How images and sounds stand in a prompt: soft tokens between control pieces, blank lines around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Soft:
    """`count` soft tokens, one behind the other; `piece` stands in their places where the vocabulary has it."""

    count: int
    piece: str


Part = tuple[str, bool] | Soft
"""Text, and whether it is a control piece; or soft tokens."""


@dataclass(frozen=True)
class ImageForm:
    """Gemma 3's: `tokens` soft tokens an image."""

    tokens: int
    begin: str = "<start_of_image>"
    end: str = "<end_of_image>"

    @property
    def _soft(self) -> Soft:
        return Soft(self.tokens, "<image_soft_token>")

    def parts(self, crops: int) -> list[Part]:
        """One image, or where it is shown in crops too, the words that Gemma 3 was trained with around all of them."""
        one: list[Part] = [("\n\n", False), (self.begin, True), self._soft, (self.end, True), ("\n\n", False)]
        if not crops:
            return one
        more = [part for crop in range(crops) for part in ([(" ", False)] if crop else []) + one]
        opening, joining = "Here is the original image ", " and here are some crops to help you see better "
        return [(opening, False), *one, (joining, False), *more]


@dataclass(frozen=True)
class EndedForm:
    """Gemma 3n's: `tokens` soft tokens an image or a sound, of which the last is the piece that ends it."""

    tokens: int
    begin: str
    piece: str

    @classmethod
    def of_image(cls, tokens: int) -> EndedForm:
        return cls(tokens, "<start_of_image>", "<image_soft_token>")

    @classmethod
    def of_sound(cls, tokens: int) -> EndedForm:
        return cls(tokens, "<start_of_audio>", "<audio_soft_token>")

    def parts(self, crops: int = 0) -> list[Part]:
        """One image or sound. ValueError for crops, in which Gemma 3n is shown nothing."""
        if crops:
            raise ValueError(f"{crops} crops cannot stand in a prompt of Gemma 3n")
        return [("\n\n", False), (self.begin, True), Soft(self.tokens, self.piece), ("\n\n", False)]


@dataclass(frozen=True)
class Layout:
    """A prompt: its token ids, and where each run of soft tokens begins.

    With `prefix` it is one that sees itself in both directions, images first (PaliGemma).
    """

    ids: list[int]
    starts: Sequence[int] = ()
    prefix: bool = False
