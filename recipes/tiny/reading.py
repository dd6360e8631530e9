"""Pictures from which a tower learns alone, before a text model asks: parts of pages full of text, and charts."""

import random
from collections.abc import Iterator

import numpy as np
import torch

from bezel.media.images import Preprocessing
from bezel.training.data.pictures import asking, pages, printed
from recipes.tiny.patches import ASKED_OF_MEANINGS, NOT_ASKED, PATCHES, letters_of, meanings_of
from recipes.tiny.seeing import PICTURES, SIZE, square_of

PAGE, PARTS_OF_A_PAGE = 320, 10
"""Pixels of a side of a page of text, and how many parts of SIZE pixels are learned from."""
Shown = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A picture, uint8 [SIZE, SIZE, 3], and what its patches show: letters, and what they stand for."""


def charts_share(done: float) -> float:
    """Of pictures, how many show no page: few until letters are known."""
    return min(0.5, 0.1 + max(0.0, done - 0.15) * 2.5)


def shown(rng: random.Random, done: float) -> list[Shown]:
    """The parts of a page, or one chart or short text."""
    share = charts_share(done)
    if rng.random() < PARTS_OF_A_PAGE * share / (PARTS_OF_A_PAGE * share + 1 - share):
        drawn = rng.choice((asking, asking, asking, printed)).sample(rng, "train").drawn
        return [(square_of(drawn), letters_of(drawn), meanings_of(drawn))]
    drawn, found = pages.page(rng, "train"), []
    whole = Preprocessing(PAGE).square(np.asarray(drawn.image))
    for _ in range(PARTS_OF_A_PAGE):
        x, y = rng.randint(0, PAGE - SIZE), rng.randint(0, PAGE - SIZE)
        letters = letters_of(drawn, (x / PAGE, y / PAGE, SIZE / PAGE))
        found.append(
            (whole[y : y + SIZE, x : x + SIZE], letters, np.full((PATCHES, len(ASKED_OF_MEANINGS)), NOT_ASKED))
        )
    return found


class Pages(torch.utils.data.IterableDataset):
    """Endless, from step `first` of `steps`: pictures uint8 [PICTURES, SIZE, SIZE, 3], letters and meanings."""

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps = first, steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        torch.set_num_threads(1)
        rng, step = random.Random(self._first), self._first
        pool: list[Shown] = []
        while True:
            while len(pool) < 8 * PICTURES:  # so that parts of a page come apart
                pool += shown(rng, step / self._steps)
            rng.shuffle(pool)
            step += 1
            yield tuple(torch.from_numpy(np.stack(each)) for each in zip(*pool[:PICTURES], strict=True))
            del pool[:PICTURES]
