"""The feed-forward with a cut gate: what is skipped changes no bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bezel.kernels.formats import dequantize, quantize
from bezel.kernels.interface import Access, Format
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference, pair_dots
from bezel.kernels.sparse import cut_gate
from bezel.testing import instruction_sets


class PairDots(Reference):
    """BF16 products as sets with dot products of BF16 make them."""

    def linear(self, matrix: Any, x: np.ndarray) -> np.ndarray:
        return pair_dots(dequantize(matrix.format, matrix.raw, matrix.columns), x)


REFERENCE = Reference()
WITH_PAIR_DOTS = ("avx512_bf16",)
Sets = Callable[..., Native]

pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
SHAPES = pytest.mark.parametrize(("hidden", "inner"), [(32, 32), (64, 96), (288, 160), (544, 416)])
FORMATS = pytest.mark.parametrize("format", [Format.Q4_0, Format.Q8_0])
CUT = 1.6448536


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrices(kernels: Any, format: Format, hidden: int, inner: int, apart: bool = True) -> tuple[Any, Any]:
    up = kernels.allocate(format, inner, hidden, Access.ROWS if apart else Access.WHOLE)
    down = kernels.allocate(format, hidden, inner, Access.COLUMNS if apart else Access.WHOLE)
    for matrix, values in ((up, normal(1, inner, hidden)), (down, normal(2, hidden, inner))):
        raw = quantize(format, values)
        half = len(raw) // 2 - 3  # not where units of 32 rows end
        kernels.store_rows(matrix, 0, raw[:half])
        kernels.store_rows(matrix, half, raw[half:])
    return up, down


@FORMATS
@SHAPES
@pytest.mark.parametrize("multiplier", [-9.0, 0.5, CUT, 9.0])
def test_rows_come_out_alike_however_many_and_however_laid_out(
    native: Sets, format: Format, hidden: int, inner: int, multiplier: float
) -> None:
    """Few rows skip, many compute everything, and matrices that are laid out whole know nothing of skipping."""
    kernels = native(threads=2)
    apart, whole = (matrices(kernels, format, hidden, inner, apart) for apart in (True, False))
    gate, x = normal(3, 13, inner), normal(4, 13, hidden)
    together = kernels.sparse_mlp(gate, x, *whole, multiplier)
    np.testing.assert_array_equal(kernels.sparse_mlp(gate, x, *apart, multiplier), together)
    for company in (1, 2, 5, 6):
        for row in range(0, 13, company):
            part = slice(row, row + company)
            np.testing.assert_array_equal(kernels.sparse_mlp(gate[part], x[part], *apart, multiplier), together[part])
    assert together.any() == (multiplier < 9)


@FORMATS
@pytest.mark.parametrize("tokens", [1, 9])
def test_it_agrees_with_its_definition(native: Sets, format: Format, tokens: int) -> None:
    kernels = native()
    gate, x = normal(3, tokens, 416), normal(4, tokens, 288)
    found = kernels.sparse_mlp(gate, x, *matrices(kernels, format, 288, 416), CUT)
    wanted = REFERENCE.sparse_mlp(gate, x, *matrices(REFERENCE, format, 288, 416), CUT)
    # Activations that lie between two codes may be rounded to either.
    np.testing.assert_allclose(found, wanted, atol=0.01 * np.abs(wanted).max())


@pytest.mark.parametrize("format", [Format.F32, Format.BF16, Format.Q5_0])
def test_other_formats_are_laid_out_as_they_can_be(native: Sets, format: Format) -> None:
    kernels = native()
    if format is Format.Q5_0:
        assert kernels.allocate(format, 32, 32, Access.COLUMNS).access is Access.COLUMNS
        return
    up, down = matrices(kernels, format, 64, 96)
    assert up.access is down.access is Access.WHOLE
    gate, x = normal(3, 3, 96), normal(4, 3, 64)
    oracle = PairDots() if format is Format.BF16 and kernels.isa in WITH_PAIR_DOTS else REFERENCE
    wanted = oracle.sparse_mlp(gate, x, *matrices(oracle, format, 64, 96), CUT)
    np.testing.assert_allclose(kernels.sparse_mlp(gate, x, up, down, CUT), wanted, rtol=1e-4, atol=1e-4)


def test_no_rows_give_none_and_wrong_shapes_are_refused(native: Sets) -> None:
    kernels = native()
    up, down = matrices(kernels, Format.Q8_0, 64, 96)
    assert kernels.sparse_mlp(normal(1, 0, 96), normal(2, 0, 64), up, down, CUT).shape == (0, 64)
    with pytest.raises(ValueError, match="differ"):
        kernels.sparse_mlp(normal(1, 2, 64), normal(2, 2, 64), up, down, CUT)
    with pytest.raises(ValueError, match="does not go with"):
        kernels.linear(up, normal(2, 2, 64))


def test_about_a_twentieth_of_a_normal_gate_is_over_its_cut() -> None:
    cut = cut_gate(3 + 2 * normal(5, 4, 8192), CUT)
    assert np.all(np.abs((cut > 0).mean(axis=1) - 0.05) < 0.01)
