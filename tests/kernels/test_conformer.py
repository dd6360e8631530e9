"""Kernels of conformers: the definitions by other formulas, and every instruction set by the definitions."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest

from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.testing import instruction_sets

REFERENCE = Reference()
Sets = Callable[..., Native]
BUILT = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_gates_are_their_formulas() -> None:
    x = normal(1, 3, 8) * 4
    found = x.copy()
    REFERENCE.silu(found)
    np.testing.assert_allclose(found.ravel(), [v / (1 + math.exp(-v)) for v in x.ravel().tolist()], rtol=1e-6)
    glu = REFERENCE.glu(x)
    expected = [[a / (1 + math.exp(-b)) for a, b in zip(row[:4], row[4:], strict=True)] for row in x.tolist()]
    np.testing.assert_allclose(glu, expected, rtol=1e-6)
    assert REFERENCE.clip(x, 1.5).max() == 1.5 and REFERENCE.clip(x, 1.5).min() == -1.5


SHAPES = [(1, 1), (3, 7), (5, 48), (2, 1536), (40, 600)]


@BUILT
@pytest.mark.parametrize(("rows", "n"), SHAPES)
def test_gates_and_clipping_agree_and_rows_stand_alone(native: Sets, rows: int, n: int) -> None:
    kernels = native(threads=2)
    x = normal(2, rows, 2 * n) * 5
    x[0, :1], x[-1, -1:] = -200, 150  # where powers of e end
    ours, theirs, alone = x.copy(), x.copy(), x[-1:].copy()
    kernels.silu(ours)
    kernels.silu(alone)
    REFERENCE.silu(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(alone[0], ours[-1])
    glu = kernels.glu(x)
    np.testing.assert_allclose(glu, REFERENCE.glu(x), rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(kernels.glu(x[-1:])[0], glu[-1])
    np.testing.assert_array_equal(kernels.clip(x, 2.5), REFERENCE.clip(x, 2.5))
    np.testing.assert_array_equal(kernels.clip(x, 1e10), x)


def heard(kernels: Native | Reference, x: np.ndarray, weight: np.ndarray, *parts: int) -> np.ndarray:
    """The cumulative norm of a sequence that comes in parts of so many rows."""
    sums, rows = np.zeros(3), np.split(x.copy(), np.cumsum(parts)[:-1])
    for part in rows:
        kernels.cumulative_norm(part, weight, 0.01, sums)
    return np.concatenate(rows)


def test_a_cumulative_norm_is_of_all_rows_so_far() -> None:
    x, weight = normal(3, 6, 12) * 3 + 2, normal(4, 4)
    found, squares = heard(REFERENCE, x, weight, 6), 0.0
    for row in range(6):
        so_far = x[: row + 1].astype(np.float64)
        centred = x[row] - so_far.mean()
        squares += float((centred**2).sum())
        normed = centred / math.sqrt(squares / so_far.size + 0.01) * np.tile(weight, 3)
        np.testing.assert_allclose(found[row], np.maximum(normed, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(heard(REFERENCE, x, weight, 1, 0, 4, 1), found, rtol=1e-5, atol=1e-6)


@BUILT
@pytest.mark.parametrize(("rows", "n", "channels"), [(1, 1, 1), (9, 21, 7), (30, 640, 32), (4, 390, 130)])
def test_cumulative_norms_agree_in_parts_of_any_size(native: Sets, rows: int, n: int, channels: int) -> None:
    x, weight = normal(5, rows, n) * 3 + 2, normal(6, channels)
    found = heard(native(threads=2), x, weight, rows)
    np.testing.assert_allclose(found, heard(REFERENCE, x, weight, rows), rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(heard(native(threads=1), x, weight, 1, rows // 2, rows - 1 - rows // 2), found)
    with pytest.raises(ValueError, match="does not go with"):
        native().cumulative_norm(x, np.zeros(n + 1, np.float32), 0.01, np.zeros(3))


def test_a_causal_convolution_ends_at_its_row() -> None:
    x, weight = normal(7, 9, 3), normal(8, 4, 3)
    found = REFERENCE.causal_conv(x, weight)
    for channel in range(3):
        whole = np.convolve(x[:, channel].astype(np.float64), weight[::-1, channel].astype(np.float64))
        np.testing.assert_allclose(found[:, channel], whole[:9], atol=1e-5)


@BUILT
@pytest.mark.parametrize(("rows", "n", "taps"), [(1, 1, 1), (3, 20, 5), (9, 33, 4), (300, 96, 5)])
def test_causal_convolutions_agree_and_no_later_row_matters(native: Sets, rows: int, n: int, taps: int) -> None:
    x, weight = normal(9, rows, n), normal(10, taps, n)
    found = native(threads=2).causal_conv(x, weight)
    np.testing.assert_allclose(found, REFERENCE.causal_conv(x, weight), rtol=1e-5, atol=1e-5)
    some = rows // 2 + 1
    np.testing.assert_array_equal(native(threads=1).causal_conv(x[:some], weight), found[:some])
    with pytest.raises(ValueError, match="does not go with"):
        native().causal_conv(x, weight[:, 1:])


def near(seed: int, rows: int, heads: int, head_dim: int, window: int) -> tuple[np.ndarray, ...]:
    """q, k, v of one product, positions and scale."""
    q, k, v = np.split(normal(seed, rows, 3 * heads, head_dim), 3, axis=1)
    return q, k, v, normal(seed + 1, window, heads, head_dim), np.abs(normal(seed + 2, head_dim))


@pytest.mark.parametrize(("rows", "left", "right"), [(1, 0, 0), (9, 3, 0), (9, 2, 4), (5, 12, 0), (4, 0, 7)])
def test_local_attention_is_soft_max_over_the_window(rows: int, left: int, right: int) -> None:
    q, k, v, positions, scale = near(11, rows, 2, 4, left + 1 + right)
    found = REFERENCE.local_attention(q, k, v, positions, scale, right, 3.0).reshape(rows, 2, 4)
    for row in range(rows):
        for head in range(2):
            seen = [other for other in range(rows) if row - left <= other <= row + right]
            keys = [k[other, head] + positions[left + other - row, head] for other in seen]
            scores = [3 * math.tanh(float((q[row, head] * scale).astype(np.float64) @ key) / 3) for key in keys]
            total = sum(map(math.exp, scores))
            expected = sum(math.exp(s) / total * v[other, head] for s, other in zip(scores, seen, strict=True))
            np.testing.assert_allclose(found[row, head], expected, atol=1e-5)


@BUILT
@pytest.mark.parametrize(
    ("rows", "heads", "head_dim", "left", "right"),
    [(1, 1, 4, 0, 0), (7, 2, 20, 12, 0), (40, 8, 16, 3, 2), (33, 1, 190, 20, 19), (64, 2, 192, 12, 0)],
)
def test_local_attention_agrees_on_any_number_of_threads(
    native: Sets, rows: int, heads: int, head_dim: int, left: int, right: int
) -> None:
    q, k, v, positions, scale = near(14, rows, heads, head_dim, left + 1 + right)
    given = positions, scale, right, 5.0
    found = native(threads=2).local_attention(q, k, v, *given)
    np.testing.assert_allclose(found, REFERENCE.local_attention(q, k, v, *given), atol=3e-5)
    np.testing.assert_array_equal(native(threads=1).local_attention(q, k, v, *given), found)
    if left + right < rows - 1:
        k[: rows - 1 - left] = v[: rows - 1 - left] = q[:-1] = 9  # what the last row does not see
        np.testing.assert_array_equal(native(threads=2).local_attention(q, k, v, *given)[-1], found[-1])
    with pytest.raises(ValueError, match="does not go with"):
        native().local_attention(q, k, v, positions[:, :, 1:].copy(), *given[1:])
