"""The block manager: no block lost or held twice, prefixes found for exactly their tokens and where layers can see."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.engine.blocks import Blocks, pool
from bezel.generation.stores import BLOCK
from bezel.models.interface import CacheSpec, LayerCache
from bezel.testing import check_blocks

WINDOW = 40


def _blocks(full: int = 32, sliding: int = 32, context: int = 1024) -> Blocks:
    return Blocks({None: full, WINDOW: sliding}, context)


def _computed(blocks: Blocks, sequence: int, tokens: list[int], segment: int = 64) -> int:
    """Begin a sequence and compute all of its tokens; what was reused."""
    reused = blocks.begin(sequence, tokens)
    assert reused is not None
    for start in range(reused, len(tokens), segment):
        length = min(segment, len(tokens) - start)
        assert blocks.reserve(sequence, start, length)
        blocks.commit(sequence, tokens, start + length)
        check_blocks(blocks)
    return reused


def _tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


def test_a_prefix_is_reused_by_whole_blocks_and_the_last_token_is_always_computed() -> None:
    blocks, tokens = _blocks(), _tokens(4 * BLOCK)
    assert _computed(blocks, 0, tokens) == 0
    blocks.free(0)
    assert blocks.begin(1, tokens) == 3 * BLOCK
    assert blocks.begin(2, [*tokens, 7]) == 4 * BLOCK
    assert blocks.begin(3, tokens[: BLOCK + 5]) == BLOCK
    check_blocks(blocks)


def test_running_sequences_share_full_blocks_too() -> None:
    blocks, tokens = _blocks(full=6), _tokens(4 * BLOCK + 1)
    _computed(blocks, 0, tokens)
    assert _computed(blocks, 1, [*tokens[:-1], 5]) == 4 * BLOCK
    first, second = blocks.tables([0, 1])[None]
    assert first[:4].tolist() == second[:4].tolist()
    assert first[4] != second[4]
    blocks.free(0)
    check_blocks(blocks)
    assert blocks.begin(2, [*tokens, 1]) == 4 * BLOCK


def test_sequences_that_computed_the_same_side_by_side_end_with_one_copy() -> None:
    blocks, tokens = _blocks(), _tokens(2 * BLOCK)
    for sequence in (0, 1):
        assert blocks.begin(sequence, tokens) == 0
        assert blocks.reserve(sequence, 0, len(tokens))
    for sequence in (0, 1):
        blocks.commit(sequence, tokens, len(tokens))
        check_blocks(blocks)
    first, second = blocks.tables([0, 1])[None]
    assert first.tolist() == second.tolist()
    assert blocks.groups[None].available == 30


def test_equal_blocks_behind_different_beginnings_are_different() -> None:
    blocks, end = _blocks(), _tokens(2 * BLOCK, 1)
    _computed(blocks, 0, _tokens(BLOCK, 2) + end)
    blocks.free(0)
    assert blocks.begin(1, _tokens(BLOCK, 3) + end) == 0


def test_a_hash_alone_is_never_trusted() -> None:
    blocks = _blocks()
    ones, twos = [-1] * 2 * BLOCK, [-2] * 2 * BLOCK
    assert hash(tuple(ones)) == hash(tuple(twos))  # a peculiarity of CPython
    _computed(blocks, 0, ones)
    blocks.free(0)
    assert blocks.begin(1, twos) == 0


def test_a_prefix_whose_window_is_gone_in_a_sliding_layer_is_not_reused() -> None:
    blocks, tokens = _blocks(sliding=5), _tokens(8 * BLOCK)
    _computed(blocks, 0, tokens)
    blocks.free(0)
    # Full layers know all eight blocks; five sliding ones are the last five, so two whole windows before block 5 lack.
    assert blocks.begin(1, tokens[: 3 * BLOCK + 1]) == 0
    blocks.free(1)
    assert blocks.begin(2, tokens[: 7 * BLOCK + 1]) == 7 * BLOCK
    table = blocks.tables([2])[WINDOW][0]
    assert (table >= 0).nonzero()[0].tolist() == [5, 6]


def test_sliding_layers_hold_their_window_and_a_block_while_full_ones_hold_all() -> None:
    blocks, tokens = _blocks(), _tokens(1000)
    assert blocks.begin(0, tokens[:1]) == 0
    for position in range(1000):
        assert blocks.reserve(0, position, 1)
        blocks.commit(0, tokens, position + 1)
        full, sliding = (blocks.tables([0])[window][0] for window in (None, WINDOW))
        assert (full >= 0).sum() == position // BLOCK + 1
        assert (sliding >= 0).sum() <= -(-WINDOW // BLOCK) + 1
        assert all(sliding[p // BLOCK] >= 0 for p in range(max(0, position + 2 - WINDOW), position + 1))


def test_the_longest_unused_goes_first_and_ends_before_beginnings() -> None:
    blocks, old, new = _blocks(full=6), _tokens(3 * BLOCK, 1), _tokens(3 * BLOCK, 2)
    for sequence, tokens in enumerate((old, new)):
        _computed(blocks, sequence, tokens)
        blocks.free(sequence)
    _computed(blocks, 2, _tokens(BLOCK, 3))
    assert blocks.begin(3, _tokens(4 * BLOCK, 4)) == 0
    check_blocks(blocks)
    blocks.free(3)
    assert blocks.begin(4, [*old, 0]) == 0
    blocks.free(4)
    assert blocks.begin(5, [*new, 0]) == BLOCK


def test_what_has_no_room_for_its_tokens_does_not_begin() -> None:
    blocks, tokens = _blocks(full=4), _tokens(3 * BLOCK)
    _computed(blocks, 0, tokens)
    assert blocks.begin(1, [*tokens, *_tokens(BLOCK)]) == 3 * BLOCK
    assert blocks.begin(2, _tokens(1)) is None
    check_blocks(blocks)


def test_what_lacks_room_in_one_group_takes_nothing_in_any() -> None:
    blocks = _blocks(full=8, sliding=3)
    assert blocks.begin(0, _tokens(BLOCK)) == 0
    before = blocks.groups[None].available
    assert not blocks.reserve(0, BLOCK, 4 * BLOCK)
    assert blocks.groups[None].available == before
    assert blocks.fits(8 * BLOCK, 1) and not blocks.fits(8 * BLOCK, 64) and not blocks.fits(8 * BLOCK + 1, 1)


def test_cached_blocks_are_taken_again_before_memory_is_touched() -> None:
    blocks = Blocks({None: 100}, 1024, {None: 4})
    for sequence in range(20):
        blocks.begin(sequence, tokens := _tokens(2 * BLOCK, sequence))
        blocks.commit(sequence, tokens, 2 * BLOCK)
        blocks.free(sequence)
    assert blocks.groups[None].used == 4
    for sequence in range(20, 30):
        assert blocks.begin(sequence, _tokens(2 * BLOCK, sequence)) is not None
    assert blocks.groups[None].used == 20


def test_the_default_pool_has_room_for_every_sequence_at_once() -> None:
    spec = CacheSpec((LayerCache(1, 8), LayerCache(1, 8, WINDOW)))
    for segment in (1, 33, 512):
        blocks = Blocks(pool(spec, 1000, 4, segment), 1000)
        for sequence in range(4):
            assert blocks.begin(sequence, _tokens(1000, sequence)) == 0
        for start in range(0, 1000, segment):
            length = min(segment, 1000 - start)
            for sequence in range(4):  # three decode while one has the chunk, each in its turn
                at = start + 7 * sequence
                if at + length <= 1000:
                    assert blocks.reserve(sequence, start, length)
                    blocks.commit(sequence, _tokens(1000, sequence), start + length)
        check_blocks(blocks)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(3, 12), st.integers(3, 8))
def test_no_block_is_ever_lost(rng: random.Random, full: int, sliding: int) -> None:
    blocks = Blocks({None: full, WINDOW: sliding}, 512, {None: rng.randint(1, full), WINDOW: rng.randint(1, sliding)})
    running: dict[int, tuple[list[int], int]] = {}
    for sequence in range(40):
        action = rng.random()
        if action < 0.5:
            tokens = [rng.randint(0, 1)] * rng.randint(1, 90) + [2] * rng.randint(0, 40)
            reused = blocks.begin(sequence, tokens)
            if reused is not None:
                assert reused < len(tokens) and reused % BLOCK == 0
                running[sequence] = tokens, reused
        elif running and action < 0.8:
            key = rng.choice(list(running))
            tokens, computed = running[key]
            length = min(rng.randint(1, 50), len(tokens) - computed)
            if length and blocks.reserve(key, computed, length):
                blocks.commit(key, tokens, computed + length)
                running[key] = tokens, computed + length
        elif running:
            key = rng.choice(list(running))
            del running[key]
            blocks.free(key)
        check_blocks(blocks)
    for key in running:
        blocks.free(key)
    check_blocks(blocks)
    assert all(group.available == group.count for group in blocks.groups.values())


def test_inside_a_request_s_prefix_sliding_layers_need_every_block() -> None:
    tokens = _tokens(6 * BLOCK + 5)
    for prefix, reused in ((0, 6 * BLOCK), (len(tokens), 6 * BLOCK), (4 * BLOCK, 6 * BLOCK)):
        blocks = _blocks()
        _computed(blocks, 0, tokens)
        blocks.free(0)
        assert blocks.begin(1, tokens, prefix) == reused
        first = blocks.tables([1])[WINDOW][0]
        assert (first[0] >= 0) == (prefix > reused)
    blocks = _blocks(sliding=8)
    _computed(blocks, 0, tokens, segment=len(tokens))
    blocks.free(0)
    _computed(blocks, 1, _tokens(BLOCK, 9))
    for _ in range(2):  # the oldest blocks of the sliding layers are taken by somebody else
        blocks.groups[WINDOW].take()
    assert blocks.begin(2, tokens, len(tokens)) == 0
    assert blocks.begin(3, tokens) == 6 * BLOCK
