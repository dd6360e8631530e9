"""The compiled kernels of residual streams against their definitions, and these against formulas written otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.testing import instruction_sets

REFERENCE = Reference()
Sets = Callable[..., Native]
EPS = 1e-6

pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
SIZES = pytest.mark.parametrize(("count", "n"), [(4, 64), (4, 37), (2, 16), (3, 5), (8, 130)])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@SIZES
@pytest.mark.parametrize("tokens", [1, 3])
def test_predictions_agree_and_rows_stand_alone(native: Sets, count: int, n: int, tokens: int) -> None:
    streams, active = normal(1, tokens, count, n), count - 1
    how = normal(2, count, n) / n, normal(3, count * count, count), active, normal(4, n), EPS
    kernels = native(threads=2)
    found, normed = kernels.altup_predict(streams, *how)
    wanted = REFERENCE.altup_predict(streams, *how)
    close(found, wanted[0])
    close(normed, wanted[1])
    for row in range(tokens):
        alone, alone_normed = kernels.altup_predict(streams[row : row + 1], *how)
        np.testing.assert_array_equal(alone[0], found[row])
        np.testing.assert_array_equal(alone_normed[0], normed[row])


def test_the_definition_of_a_prediction_is_the_formula() -> None:
    streams, router, coefs = normal(1, 2, 3, 8), normal(2, 3, 8), normal(3, 9, 3)
    found, normed = REFERENCE.altup_predict(streams, router, coefs, 1, np.ones(8, np.float32), 0.0)
    for token, x in enumerate(streams.astype(np.float64)):
        modal = np.tanh(router @ (x[1] / np.sqrt(np.mean(x[1] ** 2))))
        mix = (coefs @ modal).reshape(3, 3)
        close(found[token], x + mix @ x)
        close(normed[token], found[token, 1] / np.sqrt(np.mean(found[token, 1] ** 2)))


@SIZES
@pytest.mark.parametrize("scaled", [True, False])
def test_corrections_agree(native: Sets, count: int, n: int, scaled: bool) -> None:
    scale = normal(9, n) if scaled else None
    how = normal(5, n), normal(6, count, n) / n, normal(7, count, count), 1, scale, EPS
    results = []
    for kernels in (native(), REFERENCE):
        predictions, mixed, fed = normal(1, 3, count, n), normal(2, 3, n), normal(3, 3, n)
        active = kernels.altup_correct(predictions, mixed, fed, *how)
        results.append((predictions, mixed, active))
    for found, wanted in zip(*results, strict=True):
        close(found, wanted)
    assert scaled or np.array_equal(results[0][0][:, 1], results[0][2])


def test_the_definition_of_a_correction_is_the_formula() -> None:
    before, mixed, fed = normal(1, 1, 3, 8), normal(2, 1, 8), normal(3, 1, 8)
    router, coefs, weight = normal(4, 3, 8), normal(5, 3, 3), normal(6, 8)
    after, news = before.copy(), mixed.copy()
    REFERENCE.altup_correct(after, news, fed, weight, router, coefs, 0, None, 0.0)
    whole = mixed[0] + fed[0] / np.sqrt(np.mean(fed[0].astype(float) ** 2)) * weight
    close(news[0], whole)
    modal = np.tanh(router @ (whole / np.sqrt(np.mean(whole**2))))
    close(after[0], before[0] + np.outer(1 + coefs @ modal, whole - before[0, 0]))


@SIZES
def test_the_other_steps_agree(native: Sets, count: int, n: int) -> None:
    kernels = native(threads=2)
    x, projected, low = normal(1, 3, n), normal(2, 3, (count - 1) * n), normal(3, 3, n) * 10
    projected[0, :n] *= 1e-6  # under the least magnitude that is scaled up
    close(kernels.altup_expand(x, projected), REFERENCE.altup_expand(x, projected))
    streams = normal(4, 3, count, n)
    np.testing.assert_array_equal(kernels.altup_split(streams), REFERENCE.altup_split(streams))
    first, *others = REFERENCE.altup_split(streams)
    close(kernels.altup_merge(first, others), REFERENCE.altup_merge(first, others))
    norms = [normal(seed, n) for seed in (5, 6, 7)]
    for found, wanted in zip(
        kernels.laurel(streams, 1, x, low, projected[:, :n].copy(), norms, EPS),
        REFERENCE.laurel(streams, 1, x, low, projected[:, :n].copy(), norms, EPS),
        strict=True,
    ):
        close(found, wanted)
    ours, theirs = streams.copy(), streams.copy()
    kernels.altup_inject(ours, low, norms[0], EPS)
    REFERENCE.altup_inject(theirs, low, norms[0], EPS)
    close(ours, theirs)
    np.testing.assert_array_equal(ours[:, 0], streams[:, 0])
    assert (ours[:, 1:] != streams[:, 1:]).all()


@pytest.mark.parametrize("n", [7, 32, 50])
def test_gates_and_norms_of_heads_agree(native: Sets, n: int) -> None:
    kernels = native()
    inputs = normal(1, 3, 5, n)
    for layer in (0, 4):
        ours, theirs = normal(2, 3, n) * 4, normal(2, 3, n) * 4
        kernels.gelu_gate(ours, inputs, layer)
        REFERENCE.gelu_gate(theirs, inputs, layer)
        close(ours, theirs)
    for weight in (None, normal(3, n)):
        fused, copy = normal(4, 3, 6, n), normal(4, 3, 6, n)
        kernels.norm_heads(fused[:, 2:5], weight, EPS)
        REFERENCE.norm_heads(copy[:, 2:5], weight, EPS)
        close(fused, copy)


def test_what_does_not_go_together_is_refused(native: Sets) -> None:
    kernels = native()
    streams, x = normal(1, 2, 4, 8), normal(2, 2, 8)
    with pytest.raises(ValueError, match="do not mix"):
        kernels.altup_predict(streams, normal(3, 3, 8), normal(4, 16, 4), 0, normal(5, 8), EPS)
    with pytest.raises(ValueError, match="do not go together"):
        kernels.altup_inject(streams, x[:1], normal(5, 8), EPS)
    with pytest.raises(ValueError, match="do not go together"):
        kernels.altup_expand(x, normal(3, 2, 12))
    with pytest.raises(ValueError, match="layer 5"):
        kernels.gelu_gate(x, normal(3, 2, 5, 8), 5)
