"""The cache's book-keeping: what slides is given back, what is full is kept, what does not fit is refused."""

import resource
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import ContextLengthError
from bezel.generation.cache import BLOCK, Cache
from bezel.kernels.interface import Format
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


def gemma3_1b(format: Format) -> CacheSpec:
    """26 layers, every sixth full, the others of a window of 512; one key head of 256."""
    return CacheSpec(tuple(LayerCache(1, 256, None if i % 6 == 5 else 512) for i in range(26)), format)


@pytest.mark.parametrize("format", [Format.F16, Format.Q8_0, Format.F32])
def test_what_131072_positions_hold_is_the_arithmetic_of_the_spec(format: Format) -> None:
    spec, context = gemma3_1b(format), 131_072
    before = resident_bytes()
    cache = Cache(spec, context)
    cache.begin(0)
    assert resident_bytes() - before < 32 << 20  # pages come when they are written
    for start in range(0, context - 512, 512):
        cache.view([(0, start, 512)])
        cache.trim(0, start + 512)
        assert cache.held_bytes <= spec.bytes_per_sequence(start + 512) + 22 * BLOCK * spec_bytes(spec)
    for position in range(context - 512, context):
        view = cache.view([(0, position, 1)])
        assert (view.layer(0).tables[0] >= 0).sum() * BLOCK <= 512 + BLOCK
    assert cache.held_bytes == pytest.approx(spec.bytes_per_sequence(context), rel=0.05)


def spec_bytes(spec: CacheSpec) -> int:
    """Bytes of one position in one layer."""
    return 2 * spec.format.row_bytes(256)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_left_the_window_goes_back_when_said_and_a_step_back_stays_possible() -> None:
    cache = Cache(SPEC, 256, chunk=128)
    cache.begin(0)
    table = cache.view([(0, 0, 128)]).layer(1).tables[0]
    assert (table >= 0).sum() == 128 // BLOCK
    cache.trim(0, 110)  # the window of 40 reaches back to position 71
    assert (table >= 0).nonzero()[0].tolist() == [2, 3]
    cache.view([(0, 110, 3)])
    assert (table >= 0).nonzero()[0].tolist() == [2, 3]


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
