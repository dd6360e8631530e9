"""What each patch of a picture shows, which a tower is asked for while it is trained: letters, and values of labels."""

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


def values_of(drawn: Drawn) -> np.ndarray:
    """Rank and bin of the value whose label begins or goes on in a patch: int64 [PATCHES, 2], else NOT_ASKED."""
    found = np.full((PATCHES, 2), NOT_ASKED, np.int64)
    values = [glyph.value for glyph in drawn.glyphs if glyph.value is not None]
    for glyph in drawn.glyphs:
        patch = _patch_of(glyph, WHOLE)
        if glyph.value is None or patch is None or found[patch, 0] != NOT_ASKED:
            continue
        rank = "lowest" if glyph.value == min(values) else "highest" if glyph.value == max(values) else "between"
        found[patch, 0] = RANKS.index(rank)
        if glyph.value >= 1:
            found[patch, 1] = min(BINS - 1, round(BINS_OF_A_DECADE * math.log10(glyph.value)))
    return found


def _patch_of(glyph: Glyph, part: Part) -> int | None:
    left, top, share = part
    row, column = (int((at - first) / share * SIDE // 1) for at, first in ((glyph.y, top), (glyph.x, left)))
    return row * SIDE + column if 0 <= row < SIDE and 0 <= column < SIDE else None
