"""What each patch of a picture shows, as a tower is asked while it is trained: letters, and what they stand for."""

import math

import numpy as np
import torch

from bezel.training.data.pictures import pages
from bezel.training.data.pictures.canvas import Drawn, Glyph, Mark

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
ASKED_OF_MEANINGS = (len(RANKS), HEIGHTS, BINS)
"""How many answers each question about what a patch stands for has: rank, height, value."""
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
    """What a patch stands for: int64 [PATCHES, 3], rank, height and bin of the value, or NOT_ASKED.

    That is a label's meaning where there is one, and else that of the bar, the slice, or the point above.
    """
    found = np.full((PATCHES, len(ASKED_OF_MEANINGS)), NOT_ASKED, np.int64)
    labels = [(glyph, glyph.meaning) for glyph in drawn.glyphs if glyph.meaning]
    values = [meaning.value for _, meaning in labels]
    for at, meaning in (*labels, *((mark, mark.meaning) for mark in drawn.marks)):
        patch = _patch_of(at, WHOLE)
        if patch is None or found[patch, 0] != NOT_ASKED:
            continue
        value = meaning.value
        rank = "lowest" if value == min(values) else "highest" if value == max(values) else "between"
        found[patch, :2] = RANKS.index(rank), min(HEIGHTS - 1, int(meaning.height * HEIGHTS))
        if value >= 1:
            found[patch, 2] = min(BINS - 1, round(BINS_OF_A_DECADE * math.log10(value)))
    return found


def in_rows(told: torch.Tensor) -> torch.Tensor:
    """What is told of each patch, [n, PATCHES, EACH, ...], as rows of a picture: [n * SIDE, SIDE * EACH, ...]."""
    return told.flatten(1, 2).unflatten(1, (SIDE, -1)).flatten(0, 1)


def _patch_of(at: Glyph | Mark, part: Part) -> int | None:
    left, top, share = part
    row, column = (int((share_of - first) / share * SIDE // 1) for share_of, first in ((at.y, top), (at.x, left)))
    return row * SIDE + column if 0 <= row < SIDE and 0 <= column < SIDE else None
