"""Pictures from which what tokens show is learned alone, before anything is asked: parts of pages, and charts."""

import random
from collections.abc import Iterator

import numpy as np
import torch

from bezel.media.images import Preprocessing
from bezel.training.data.pictures import asking, pages, printed
from recipes.tiny.seeing import PICTURES, SIZE, square_of
from recipes.tiny.shown import Shown, batched, shown_on

PAGE, PARTS_OF_A_PAGE = 320, 10
"""Pixels of a side of a page of text, and how many parts of SIZE pixels are learned from."""
Picture = tuple[np.ndarray, Shown[np.ndarray]]
"""uint8 [SIZE, SIZE, 3], and what it shows."""
Shows = tuple[torch.Tensor, Shown[torch.Tensor]]
"""PICTURES of them, uint8 [PICTURES, SIZE, SIZE, 3], and what they show."""
FEW_CHARTS, MANY_CHARTS = 0.1, 0.7
"""Of pictures: while letters are learned alone, and then."""


def pictures(rng: random.Random, share: float) -> list[Picture]:
    """The parts of a page, or, as a share of all pictures, one chart or short text."""
    if rng.random() < PARTS_OF_A_PAGE * share / (PARTS_OF_A_PAGE * share + 1 - share):
        drawn = rng.choice((asking, asking, asking, printed)).sample(rng, "train").drawn
        return [(square_of(drawn), shown_on(drawn))]
    drawn, found = pages.page(rng, "train"), []
    whole = Preprocessing(PAGE).square(np.asarray(drawn.image))
    for _ in range(PARTS_OF_A_PAGE):
        x, y = rng.randint(0, PAGE - SIZE), rng.randint(0, PAGE - SIZE)
        part = x / PAGE, y / PAGE, SIZE / PAGE
        found.append((whole[y : y + SIZE, x : x + SIZE], shown_on(drawn, part)))
    return found


class Pages(torch.utils.data.IterableDataset):
    """Endless, with so many charts among them."""

    def __init__(self, seed: int, charts: float) -> None:
        self._seed, self._charts = seed, charts

    def __iter__(self) -> Iterator[Shows]:
        torch.set_num_threads(1)
        rng = random.Random(self._seed)
        pool: list[Picture] = []
        while True:
            while len(pool) < 8 * PICTURES:  # so that parts of a page come apart
                pool += pictures(rng, self._charts)
            rng.shuffle(pool)
            chosen, shown = zip(*pool[:PICTURES], strict=True)
            yield torch.from_numpy(np.stack(chosen)), batched(shown)
            del pool[:PICTURES]
