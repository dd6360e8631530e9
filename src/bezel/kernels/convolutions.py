"""What towers of convolutions need beside products. Rows are pixels, and channels lie side by side.

`ConvolutionsReference` defines what `ConvolutionsNative` calls; `interface.Kernels` says what each method promises.
"""

from __future__ import annotations

import math

import numpy as np

from bezel.kernels.caller import Caller
from bezel.kernels.interface import F32


class ConvolutionsReference:
    """The part of `Kernels` for towers of convolutions, in NumPy."""

    def depthwise(self, x: F32, weight: F32, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        out = np.zeros((*shape, x.shape[2]), np.float32)
        for (row, column), seen in _taps(x, len(weight), stride, corner, shape):
            out += weight[row, column] * seen
        return out

    def windows(self, x: F32, size: int, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        out = np.empty((*shape, x.shape[2], size, size), np.float32)
        for (row, column), seen in _taps(x, size, stride, corner, shape):
            out[..., row, column] = seen
        return out.reshape(math.prod(shape), -1)

    def norm_gelu(self, x: F32, weight: F32, eps: float) -> None:
        x *= weight / np.sqrt((x * x).mean(axis=1, keepdims=True, dtype=np.float32) + np.float32(eps))
        x[...] = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _taps(
    x: F32, size: int, stride: int, corner: tuple[int, int], shape: tuple[int, int]
) -> list[tuple[tuple[int, int], F32]]:
    """Each tap of a window, and what all places of the output see through it."""
    need = [(count - 1) * stride + size for count in shape]
    behind = [
        max(0, need[axis] - before - there) for axis, (before, there) in enumerate(zip(corner, x.shape, strict=False))
    ]
    padded = np.pad(x, [(corner[0], behind[0]), (corner[1], behind[1]), (0, 0)])
    return [
        ((row, column), padded[row : row + need[0] - size + 1 : stride, column : column + need[1] - size + 1 : stride])
        for row in range(size)
        for column in range(size)
    ]


class ConvolutionsNative(Caller):
    """The part of `Kernels` for towers of convolutions, compiled (native/convolutions.h)."""

    def depthwise(self, x: F32, weight: F32, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        size = len(weight)
        if weight.shape != (size, size, x.shape[2]):
            raise ValueError(f"x {x.shape} does not go with weights of {weight.shape}")
        out = self._empty(*shape, x.shape[2])
        self._convolve("depthwise", x, self._at(weight), size, stride, corner, out)
        return out

    def windows(self, x: F32, size: int, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        out = self._empty(*shape, x.shape[2] * size * size)
        self._convolve("windows", x, 0, size, stride, corner, out)
        return out.reshape(math.prod(shape), -1)

    def norm_gelu(self, x: F32, weight: F32, eps: float) -> None:
        if x.ndim != 2 or weight.shape != x.shape[1:]:
            raise ValueError(f"x {x.shape} does not go with a norm of {weight.shape}")
        self._call("norm_gelu", self._at(x), self._at(weight), *x.shape, eps)

    def _convolve(
        self, name: str, x: F32, weight: int, size: int, stride: int, corner: tuple[int, int], out: F32
    ) -> None:
        if min(corner) < 0 or stride < 1:
            raise ValueError(f"windows every {stride} places, {corner} before the first, cannot be")
        at = self._at(x), weight, *x.shape
        self._call(name, *at, size, stride, *corner, *out.shape[:2], self._at(out))
