"""The cache's book-keeping: what slides is given back, what is full is kept, what does not fit is refused."""

import numpy as np
import pytest

from bezel.errors import ContextLengthError
from bezel.generation.cache import BLOCK, Cache
from bezel.models.interface import CacheSpec, LayerCache

SPEC = CacheSpec((LayerCache(1, 8), LayerCache(1, 8, window=40), LayerCache(1, 8, window=40, shared_with=1)))


def test_sliding_layers_hold_their_window_however_long_the_sequence() -> None:
    cache = Cache(SPEC, 4096, chunk=64)
    cache.begin(0)
    for start in range(0, 4096, 64):
        view = cache.view([(0, start, 64)])
        table = view.layer(1).tables[0]
        for position in range(max(0, start - 39), start + 64):
            assert table[position // BLOCK] >= 0
        assert (table >= 0).sum() <= (40 + 64) // BLOCK + 2
        assert (view.layer(0).tables[0] >= 0).sum() == (start + 64) // BLOCK
    assert view.layer(1).keys.nbytes < view.layer(0).keys.nbytes / 20


def test_shared_layers_read_anothers_blocks() -> None:
    cache = Cache(SPEC, 64)
    cache.begin(0)
    view = cache.view([(0, 0, 10)])
    assert view.layer(2).keys is view.layer(1).keys


def test_sequences_never_share_a_block_and_freed_ones_come_back() -> None:
    cache = Cache(SPEC, 128, sequences=2, chunk=128)
    for _ in range(5):
        cache.begin(0)
        cache.begin(1)
        tables = cache.view([(0, 0, 128), (1, 0, 128)]).layer(0).tables
        assert len(set(np.concatenate(tables).tolist())) == 2 * 128 // BLOCK


@pytest.mark.parametrize("segment", [(0, 100, 29), (0, 0, 65)])
def test_what_does_not_fit_is_refused(segment: tuple[int, int, int]) -> None:
    cache = Cache(SPEC, 128, chunk=64)
    cache.begin(0)
    with pytest.raises(ContextLengthError, match="128 positions"):
        cache.view([segment])
