"""What pictures are drawn on: shapes at four times the size, scaled down, with the place of every letter kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from bezel.training.data.pictures.fonts import font

if TYPE_CHECKING:
    from PIL.Image import Image

SCALE = 4
MARKS_APART = 8  # pixels

Point = tuple[float, float]
Rank = Literal["lowest", "between", "highest"]


@dataclass(frozen=True)
class Meaning:
    """What a label, a bar, a slice or a mark of an axis stands for.

    `height` is how high the value is, 0 to 1 of the axis or the whole pie; `rank` among the values shown, which a mark
    of an axis has none of; `end` the axis' last mark, which a pie has none of. `legend` tells whether it stands in a
    legend, where what it explains is found by its colour; it means the same as that.
    """

    value: float
    height: float
    rank: Rank | None = None
    end: float | None = None
    legend: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Glyph:
    """A letter and where its middle is: 0 to 1 of the picture's width and height; and what its label stands for."""

    character: str
    x: float
    y: float
    meaning: Meaning | None = None


@dataclass(frozen=True)
class Mark:
    """A place, 0 to 1 of the picture's width and height, inside of something that stands for a value."""

    x: float
    y: float
    meaning: Meaning


@dataclass(frozen=True)
class Drawn:
    """A picture (RGB), the letters on it in the order in which they were written, and places that mean something."""

    image: Image
    glyphs: tuple[Glyph, ...]
    marks: tuple[Mark, ...] = ()


class Canvas:
    """Draws in pixels of the finished picture, from its top left corner; colours are Pillow's."""

    def __init__(self, width: int, height: int, background: str) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)
        self._glyphs: list[Glyph] = []
        self._marks: list[Mark] = []

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill: str) -> None:
        self._draw.rectangle(_large(left, top, right, bottom), fill)

    def line(self, points: Sequence[Point], fill: str, width: float = 1.0) -> None:
        flat = _large(*(number for point in points for number in point))
        self._draw.line(flat, fill, max(1, round(width * SCALE)), joint="curve")

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        self._draw.ellipse(_large(x - radius, y - radius, x + radius, y + radius), fill)

    def wedge(self, x: float, y: float, radius: float, start: float, end: float, fill: str, edge: str) -> None:
        """A slice of a pie; degrees go clockwise from three o'clock."""
        self._draw.pieslice(_large(x - radius, y - radius, x + radius, y + radius), start, end, fill, edge, SCALE)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        face: str,
        size: int,
        fill: str,
        anchor: str = "mm",
        meaning: Meaning | None = None,
    ) -> None:
        """One line; `anchor` is Pillow's: (l, m, r) of the line and (t, m) of its height stand at x, y."""
        large = font(face, size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, fill, large, anchor)
        ends = [large.getlength(text[:index]) / SCALE for index in range(len(text) + 1)]
        left = x - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * ends[-1]
        middle = y + (size / 2 if anchor[1] == "t" else 0)
        for character, (before, behind) in zip(text, pairwise(ends), strict=True):
            place = (left + (before + behind) / 2) / self.width
            if character != " ":
                self._glyphs.append(Glyph(character, place, middle / self.height, meaning))

    def mark(self, x: float, y: float, meaning: Meaning) -> None:
        """Nothing is drawn; what is here stands for a value."""
        self._marks.append(Mark(x / self.width, y / self.height, meaning))

    def mark_all(self, left: float, top: float, right: float, bottom: float, meaning: Meaning) -> None:
        """Marks MARKS_APART in a rectangle, one at least."""
        across, down = (max(1, round((end - start) / MARKS_APART)) for start, end in ((left, right), (top, bottom)))
        for column in range(across):
            for row in range(down):
                x, y = left + (column + 0.5) * (right - left) / across, top + (row + 0.5) * (bottom - top) / down
                self.mark(x, y, meaning)

    def finished(self) -> Drawn:
        """The picture at its own size."""
        from PIL import Image

        return Drawn(
            self._image.resize((self.width, self.height), Image.Resampling.BOX), tuple(self._glyphs), tuple(self._marks)
        )


def length(text: str, face: str, size: int) -> float:
    """How wide a line is, in pixels."""
    return font(face, size).getlength(text)


def _large(*numbers: float) -> list[float]:
    return [number * SCALE for number in numbers]
