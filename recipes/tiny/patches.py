"""What each patch of a picture shows, as a tower is asked while it is trained: letters, and what labels stand for."""

import math

import numpy as np

from bezel.training.data.pictures import pages
from bezel.training.data.pictures.canvas import Drawn, Glyph

SIDE = 16
PATCHES = SIDE * SIDE
LETTERS = list(pages.LETTERS)
EACH = 4
"""A patch is asked for so many letters at most."""
RANKS = ("lowest", "between", "highest")
DECADES, BINS_OF_A_DECADE = 5, 24
BINS = DECADES * BINS_OF_A_DECADE
"""Values from 1 to 100,000, each bin a tenth above the one before."""
HEIGHTS = 20
ASKED_OF_LABELS = (len(RANKS), HEIGHTS, BINS)
"""How many answers each question about a label has: its rank, its height, its value."""
NOT_ASKED = -100
Part = tuple[float, float, float]
"""Of a picture: the left edge, the top and the side, as shares of it."""
WHOLE: Part = (0.0, 0.0, 1.0)


def letters_of(drawn: Drawn, part: Part = WHOLE) -> np.ndarray:
    """Which letters stand in each patch of a part of a picture: int64 [PATCHES, EACH], 0 for none."""
    found, used = np.zeros((PATCHES, EACH), np.int64), np.zeros(PATCHES, int)
    for glyph in drawn.glyphs:
        patch = _patch_of(glyph, part)
        if patch is not None and glyph.character in LETTERS and used[patch] < EACH:
            found[patch, used[patch]] = 1 + LETTERS.index(glyph.character)
            used[patch] += 1
    return found


def meanings_of(drawn: Drawn) -> np.ndarray:
    """What the label in a patch stands for: int64 [PATCHES, 3], rank, height and bin of the value, else NOT_ASKED."""
    found = np.full((PATCHES, len(ASKED_OF_LABELS)), NOT_ASKED, np.int64)
    values = [glyph.meaning.value for glyph in drawn.glyphs if glyph.meaning]
    for glyph in drawn.glyphs:
        patch = _patch_of(glyph, WHOLE)
        if glyph.meaning is None or patch is None or found[patch, 0] != NOT_ASKED:
            continue
        value = glyph.meaning.value
        rank = "lowest" if value == min(values) else "highest" if value == max(values) else "between"
        found[patch, :2] = RANKS.index(rank), min(HEIGHTS - 1, int(glyph.meaning.height * HEIGHTS))
        if value >= 1:
            found[patch, 2] = min(BINS - 1, round(BINS_OF_A_DECADE * math.log10(value)))
    return found


def _patch_of(glyph: Glyph, part: Part) -> int | None:
    left, top, share = part
    row, column = (int((at - first) / share * SIDE // 1) for at, first in ((glyph.y, top), (glyph.x, left)))
    return row * SIDE + column if 0 <= row < SIDE and 0 <= column < SIDE else None
