"""What a picture shows, as is asked in training: letters by patch and by soft token, and what tokens stand for."""

import math
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar, get_args

import numpy as np
import torch

from bezel.training.data.pictures import pages
from bezel.training.data.pictures.canvas import Drawn, Glyph, Mark, Meaning, Rank

PATCHES_OF_A_SIDE, TOKENS_OF_A_SIDE = 32, 16
PATCHES, TOKENS = PATCHES_OF_A_SIDE**2, TOKENS_OF_A_SIDE**2
LETTERS = list(pages.LETTERS)
EACH_PATCH, EACH_TOKEN = 3, 4
"""One is asked for so many letters at most."""
RANKS = get_args(Rank)
DECADES, BINS_OF_A_DECADE = 5, 24
BINS = DECADES * BINS_OF_A_DECADE
"""Values from 1 to 100,000, each bin a tenth above the one before."""
HEIGHTS = 20
MEANINGS = {"rank": len(RANKS), "height": HEIGHTS, "value": BINS, "end": BINS}
"""Questions about what a token stands for, and how many answers each has."""
_HEIGHT = [*MEANINGS].index("height")
NOT_ASKED = -100
Part = tuple[float, float, float]
"""Of a picture: the left edge, the top and the side, as shares of it."""
WHOLE: Part = (0.0, 0.0, 1.0)
Array = TypeVar("Array", np.ndarray, torch.Tensor)


class Shown(NamedTuple, Generic[Array]):
    """Letters [PATCHES, EACH_PATCH] and [TOKENS, EACH_TOKEN], 0 for none, and meanings [TOKENS, questions]; int64.

    `explained`, bool [TOKENS, TOKENS], is true where a token of a legend explains another one, of a bar or a slice. In
    batches each has one dimension more in front.
    """

    by_patch: Array
    by_token: Array
    meanings: Array
    explained: Array


NOTHING: Shown[np.ndarray] = Shown(
    np.zeros((PATCHES, EACH_PATCH), np.int64),
    np.zeros((TOKENS, EACH_TOKEN), np.int64),
    np.full((TOKENS, len(MEANINGS)), NOT_ASKED, np.int64),
    np.zeros((TOKENS, TOKENS), bool),
)


def shown_on(drawn: Drawn, part: Part = WHOLE) -> Shown[np.ndarray]:
    """On a part of a picture. Only the whole of one has meanings and legends."""
    by_patch = _letters(drawn, PATCHES_OF_A_SIDE, EACH_PATCH, part)
    by_token = _letters(drawn, TOKENS_OF_A_SIDE, EACH_TOKEN, part)
    if part != WHOLE:
        return Shown(by_patch, by_token, NOTHING.meanings, NOTHING.explained)
    return Shown(by_patch, by_token, _meanings(drawn), _explained(drawn))


def batched(each: Sequence[Shown[np.ndarray]]) -> Shown[torch.Tensor]:
    """Of several pictures."""
    return Shown(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*each, strict=True)))


def in_rows(told: torch.Tensor) -> torch.Tensor:
    """What is told of each place of a square, [n, side * side, slots, ...], as rows: [n * side, side * slots, ...]."""
    side = math.isqrt(told.shape[1])
    return told.flatten(1, 2).unflatten(1, (side, -1)).flatten(0, 1)


def _letters(drawn: Drawn, side: int, each: int, part: Part) -> np.ndarray:
    found, used = np.zeros((side * side, each), np.int64), np.zeros(side * side, int)
    for glyph in drawn.glyphs:
        place = place_of(glyph, side, part)
        if place is not None and glyph.character in LETTERS and used[place] < each:
            found[place, used[place]] = 1 + LETTERS.index(glyph.character)
            used[place] += 1
    return found


def _meanings(drawn: Drawn) -> np.ndarray:
    """Of a label or a number where a token has one, and else of the bar, the slice, or the point above."""
    found = NOTHING.meanings.copy()
    written = ((glyph, glyph.meaning) for glyph in drawn.glyphs if glyph.meaning)
    for at, meaning in (*written, *((mark, mark.meaning) for mark in drawn.marks)):
        token = place_of(at, TOKENS_OF_A_SIDE, WHOLE)
        if token is not None and found[token, _HEIGHT] == NOT_ASKED:
            found[token] = _answers(meaning)
    return found


def _explained(drawn: Drawn) -> np.ndarray:
    """By a legend's letters and coloured squares: what is painted in the same colour."""
    found = NOTHING.explained.copy()
    entries = [each for each in (*drawn.glyphs, *drawn.marks) if each.meaning and each.meaning.legend]
    painted = [mark for mark in drawn.marks if not mark.meaning.legend]
    for entry in entries:
        token = place_of(entry, TOKENS_OF_A_SIDE, WHOLE)
        places = (place_of(mark, TOKENS_OF_A_SIDE, WHOLE) for mark in painted if mark.meaning == entry.meaning)
        if token is not None:
            found[token, [place for place in places if place is not None]] = True
    return found


def _answers(meaning: Meaning) -> tuple[int, ...]:
    rank = NOT_ASKED if meaning.rank is None else RANKS.index(meaning.rank)
    return rank, min(HEIGHTS - 1, int(meaning.height * HEIGHTS)), bin_of(meaning.value), bin_of(meaning.end)


def bin_of(value: float | None) -> int:
    """Of BINS; NOT_ASKED for none and below 1."""
    if value is None or value < 1:
        return NOT_ASKED
    return min(BINS - 1, round(BINS_OF_A_DECADE * math.log10(value)))


def place_of(at: Glyph | Mark, side: int, part: Part) -> int | None:
    """The number of a place of a square of `side` times `side`; None outside of the part."""
    left, top, share = part
    row, column = (int((share_of - first) / share * side // 1) for share_of, first in ((at.y, top), (at.x, left)))
    return row * side + column if 0 <= row < side and 0 <= column < side else None
