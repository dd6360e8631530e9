"""Kernels of towers of convolutions: the definitions by other formulas, every instruction set by the definitions."""

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
# Height, width and channels of x; window and stride; what stands before; height and width that come out.
SHAPES = [
    ((1, 1, 1), 1, 1, (0, 0), (1, 1)),
    ((7, 9, 5), 3, 1, (1, 1), (7, 9)),
    ((8, 6, 16), 3, 2, (0, 0), (4, 3)),
    ((8, 8, 33), 5, 2, (1, 1), (4, 4)),
    ((3, 11, 70), 5, 1, (0, 2), (2, 11)),
    ((6, 5, 3), 5, 1, (2, 2), (2, 5)),
    ((2, 3, 4), 5, 2, (2, 2), (3, 2)),
]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def at(x: np.ndarray, row: int, column: int) -> np.ndarray:
    inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
    return x[row, column] if inside else np.zeros(x.shape[2], np.float32)


@pytest.mark.parametrize(("shape", "size", "stride", "corner", "out"), SHAPES, ids=str)
def test_a_window_sees_its_places_and_nothing_beyond(
    shape: tuple[int, ...], size: int, stride: int, corner: tuple[int, int], out: tuple[int, int]
) -> None:
    x, weight = normal(1, *shape), normal(2, size, size, shape[2])
    found = REFERENCE.windows(x, size, stride, corner, out).reshape(*out, shape[2], size, size)
    mixed = REFERENCE.depthwise(x, weight, stride, corner, out)
    for i in range(out[0]):
        for j in range(out[1]):
            total = np.zeros(shape[2])
            for a in range(size):
                for b in range(size):
                    pixel = at(x, i * stride + a - corner[0], j * stride + b - corner[1])
                    np.testing.assert_array_equal(found[i, j, :, a, b], pixel)
                    total += weight[a, b].astype(np.float64) * pixel
            np.testing.assert_allclose(mixed[i, j], total, atol=1e-4)


def test_a_norm_with_gelu_is_its_formula() -> None:
    x, weight = normal(3, 4, 24) * 3, normal(4, 24)
    found = x.copy()
    REFERENCE.norm_gelu(found, weight, 0.1)
    normed = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 0.1) * weight
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in normed.ravel().tolist()]
    np.testing.assert_allclose(found.ravel(), exact, atol=1e-3)


@BUILT
@pytest.mark.parametrize(
    ("shape", "size", "stride", "corner", "out"), [*SHAPES, ((24, 24, 96), 5, 2, (1, 1), (12, 12))]
)
def test_convolutions_agree_and_rows_stand_alone(
    native: Sets, shape: tuple[int, ...], size: int, stride: int, corner: tuple[int, int], out: tuple[int, int]
) -> None:
    kernels = native(threads=2)
    x, weight = normal(5, *shape), normal(6, size, size, shape[2])
    mixed = kernels.depthwise(x, weight, stride, corner, out)
    np.testing.assert_allclose(mixed, REFERENCE.depthwise(x, weight, stride, corner, out), atol=2e-5)
    seen = kernels.windows(x, size, stride, corner, out)
    np.testing.assert_array_equal(seen, REFERENCE.windows(x, size, stride, corner, out))
    last = out[0] - 1
    begin = max(0, last * stride - corner[0])
    part = np.ascontiguousarray(x[begin:]), (max(0, corner[0] - last * stride), corner[1]), (1, out[1])
    np.testing.assert_array_equal(kernels.depthwise(part[0], weight, stride, *part[1:])[0], mixed[-1])
    np.testing.assert_array_equal(kernels.windows(part[0], size, stride, *part[1:]), seen[-out[1] :])
    with pytest.raises(ValueError, match="does not go with"):
        kernels.depthwise(x, np.zeros((size, size, shape[2] + 1), np.float32), stride, corner, out)
    with pytest.raises(ValueError, match="cannot be"):
        kernels.windows(x, size, 0, corner, out)


@BUILT
@pytest.mark.parametrize(("rows", "n"), [(1, 1), (3, 7), (5, 48), (2, 1152), (40, 600)])
def test_norms_with_gelu_agree_and_rows_stand_alone(native: Sets, rows: int, n: int) -> None:
    kernels = native(threads=2)
    x, weight = normal(7, rows, n) * 4, normal(8, n)
    ours, theirs, alone = x.copy(), x.copy(), x[-1:].copy()
    kernels.norm_gelu(ours, weight, 1e-6)
    kernels.norm_gelu(alone, weight, 1e-6)
    REFERENCE.norm_gelu(theirs, weight, 1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=2e-6)
    np.testing.assert_array_equal(alone[0], ours[-1])
    with pytest.raises(ValueError, match="does not go with"):
        kernels.norm_gelu(x, np.zeros(n + 1, np.float32), 1e-6)
