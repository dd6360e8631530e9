"""Replayed steps give the bits of the forward pass that they stand for."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bezel.generation.cache import Cache
from bezel.generation.steps import MOST_TAPES, Steps
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.models.interface import Batch, SoftSpan, TextModel
from bezel.models.registry import build
from bezel.testing import GEMMA3, GEMMA3N, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

SETS = instruction_sets()


MODELS = {f"{config['model_type']} on {isa}": (isa, config) for isa in SETS for config in (GEMMA3, GEMMA3N)}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> TextModel:
    isa, config = request.param
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "m", config=config))
    kernels = Native(2, isa)
    level = Format.Q8_0 if config is GEMMA3N else None
    return build(checkpoint.config, CheckpointWeights(checkpoint, kernels, level), 96)


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_replays_equal_forward_passes_bit_for_bit(model: TextModel) -> None:
    rng = np.random.default_rng(1)
    plain, taped = (Cache(model.cache_spec, 96, sequences=3) for _ in range(2))
    steps = Steps(model)
    prompts = [[int(t) for t in rng.integers(0, model.vocabulary, n)] for n in (1, 9, 40)]
    for cache in (plain, taped):
        for sequence, prompt in enumerate(prompts):
            cache.begin(sequence)
            model.forward(Batch.of([(prompt, 0, False)]), cache.view([(sequence, 0, len(prompt))]))
    lengths = [len(prompt) for prompt in prompts]
    for step in range(50):
        running = [step % 3, (step + 1) % 3, (step + 2) % 3][: 3 if step % 5 else 2]
        parts = [([int(rng.integers(0, model.vocabulary))], lengths[s], False) for s in running]
        places = [(s, lengths[s], 1) for s in running]
        expected = model.forward(Batch.of(parts), plain.view(places))
        np.testing.assert_array_equal(steps.forward(Batch.of(parts), taped.view(places)), expected)
        for s in running:
            lengths[s] += 1
    with pytest.raises(ValueError, match="vocabulary"):
        bad = [([model.vocabulary], lengths[s], False) for s in (0, 1)]
        steps.forward(Batch.of(bad), taped.view([(s, lengths[s], 1) for s in (0, 1)]))


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_small_batches_of_any_segments_equal_forward_passes_bit_for_bit(model: TextModel) -> None:
    rng = np.random.default_rng(2)
    plain, taped = (Cache(model.cache_spec, 96, sequences=3) for _ in range(2))
    for cache in (plain, taped):
        for sequence in range(3):
            cache.begin(sequence)
    steps, ends = Steps(model), [0, 0, 0]
    for _ in range(60):
        parts, places = [], []
        for sequence in rng.permutation(3)[: rng.integers(1, 4)].tolist():
            start = max(0, ends[sequence] - int(rng.integers(0, 4)))  # a rejected draft is written over
            length = int(rng.integers(1, 7))
            start = 0 if start + length > 96 else start
            if start == 0:
                plain.begin(sequence)
                taped.begin(sequence)
            parts.append((rng.integers(0, model.vocabulary, length).tolist(), start, bool(rng.integers(2))))
            places.append((sequence, start, length))
            ends[sequence] = start + length
        batch = Batch.of(parts)
        expected = model.forward(batch, plain.view(places))
        np.testing.assert_array_equal(steps.forward(batch, taped.view(places)), expected)
        assert len(steps._recorded) <= MOST_TAPES
    assert len(steps._recorded) == MOST_TAPES


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_rows_of_a_prefix_are_no_replay_of_others(model: TextModel) -> None:
    cache, steps = Cache(model.cache_spec, 96), Steps(model)
    cache.begin(0)
    tokens = list(range(40))  # more than the window
    prefix = SoftSpan(0, 40, b"", lambda: np.zeros((0, 64), np.float32), soft=0, prefix=True)
    model.forward(Batch.of([(tokens, 0, False)], [[prefix]]), cache.view([(0, 0, 40)]))
    view, rows = cache.view([(0, 36, 4)]), (tokens[36:], 36, True)
    expected = model.forward(Batch.of([rows], [[prefix]]), view)
    causal = steps.forward(Batch.of([rows]), view).copy()
    np.testing.assert_array_equal(steps.forward(Batch.of([rows], [[prefix]]), view), expected)
    assert not np.array_equal(causal, expected)


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_a_batch_may_be_given_again_after_others(model: TextModel) -> None:
    cache, steps = Cache(model.cache_spec, 96), Steps(model)
    cache.begin(0)
    batch, other = Batch.of([([1, 2, 3], 0, True)]), Batch.of([([7, 8, 9], 3, True)])
    view = cache.view([(0, 0, 3)])
    first = steps.forward(batch, view).copy()
    assert not np.array_equal(steps.forward(other, cache.view([(0, 3, 3)])), first)
    np.testing.assert_array_equal(steps.forward(batch, view), first)


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_what_a_replay_could_not_do_is_refused(model: TextModel) -> None:
    cache, steps = Cache(model.cache_spec, 64), Steps(model)
    cache.begin(0)
    steps.forward(Batch.of([([1, 2], 0, False)]), cache.view([(0, 0, 2)]))
    view = cache.view([(0, 2, 2)])
    good = Batch.of([([1, 2], 2, False)])
    with pytest.raises(ValueError, match="vocabulary"):
        steps.forward(Batch.of([([1, -1], 2, False)]), view)
    with pytest.raises(ValueError, match="context"):
        steps.forward(Batch.of([([1, 2], model.context - 1, False)]), view)
    with pytest.raises(ValueError, match="row of logits"):
        steps.forward(replace(good, logit_rows=np.array([2], np.int32)), view)
    with pytest.raises(ValueError, match="block table"):
        steps.forward(Batch.of([([1, 2], 31, False)]), view)
    cache.view([(0, 50, 2)])  # the sliding layer gives its first block back
    with pytest.raises(ValueError, match="block table"):
        steps.forward(good, view)


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_a_step_over_another_cache_is_refused(model: TextModel) -> None:
    steps = Steps(model)
    caches = [Cache(model.cache_spec, 96) for _ in range(2)]
    for cache in caches:
        cache.begin(0)
    steps.forward(Batch.of([([5], 0, False)]), caches[0].view([(0, 0, 1)]))
    with pytest.raises(ValueError, match="another cache"):
        steps.forward(Batch.of([([5], 0, False)]), caches[1].view([(0, 0, 1)]))


@pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
def test_a_recording_holds_the_calls_of_its_own_thread_alone() -> None:
    kernels = Native(2)
    x = np.ones((1, 32), np.float32)
    with kernels.record() as tape:
        mine = kernels.rms_norm(x, None, 0.0)
        other = threading.Thread(target=kernels.soft_cap, args=(x, 0.5))
        other.start()
        other.join()
    x[:] = 2
    tape.replay()
    np.testing.assert_array_equal(x, 2)
    np.testing.assert_allclose(mine, 1)
