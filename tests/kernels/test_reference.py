"""The NumPy kernels against float64 formulas written another way."""

import numpy as np
import pytest

from bezel.kernels.formats import dequantize, quantize
from bezel.kernels.interface import CACHE_FORMATS, Format, KVView, Rope, Segment, cache_width
from bezel.kernels.reference import Reference, pair_dots, quantize_activations, weight_codes

OPS = Reference()


def packed(format: Format, weights: np.ndarray):
    matrix = OPS.allocate(format, *weights.shape)
    OPS.store_rows(matrix, 0, quantize(format, weights[:3]))
    OPS.store_rows(matrix, 3, quantize(format, weights[3:]))
    return matrix


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("format", [Format.F32, Format.F16, Format.BF16, Format.Q8_0, Format.Q4_0])
def test_linear_is_a_product_with_the_widened_weights(format: Format) -> None:
    matrix, x = packed(format, normal(0, 13, 96)), normal(1, 5, 96)
    weights = dequantize(format, matrix.raw, 96).astype(np.float64)
    exact = x.astype(np.float64) @ weights.T
    tolerance = 0.05 if format in (Format.Q4_0, Format.Q8_0) else 1e-5
    assert np.abs(OPS.linear(matrix, x) - exact).max() <= tolerance * np.abs(exact).max()


@pytest.mark.parametrize("format", [Format.Q8_0, Format.Q4_0])
def test_quantised_products_are_exact_in_integers(format: Format) -> None:
    matrix, x = packed(format, normal(2, 8, 64)), normal(3, 4, 64)
    codes, scales = weight_codes(matrix)
    np.testing.assert_array_equal(
        (codes * scales[..., None]).reshape(8, 64).astype(np.float32), dequantize(format, matrix.raw, 64)
    )
    x_codes, x_scales = quantize_activations(x)
    assert np.abs(x_codes).max() == 127
    exact = np.einsum("tgi,rgi,tg,rg->tr", x_codes, codes, x_scales.astype(np.float64), scales.astype(np.float64))
    np.testing.assert_allclose(OPS.linear(matrix, x), exact, rtol=1e-5, atol=1e-5)


def test_products_in_parts_lose_far_less_than_one_rounding() -> None:
    weights = dequantize(Format.BF16, quantize(Format.BF16, normal(14, 40, 300)), 300)
    x = normal(15, 6, 300)
    x[3] = 0
    exact = x.astype(np.float64) @ weights.astype(np.float64).T
    rounded = dequantize(Format.BF16, quantize(Format.BF16, x), 300).astype(np.float64) @ weights.T
    assert np.abs(pair_dots(weights, x) - exact).max() < np.abs(rounded - exact).max() / 30
    assert not pair_dots(weights, x)[3].any()


def test_a_group_of_zeros_stays_zero() -> None:
    codes, scales = quantize_activations(np.zeros((1, 32), np.float32))
    assert not codes.any() and not scales.any()


def cache(blocks: int, block_size: int, kv_heads: int, head_dim: int, table: list[int]) -> KVView:
    shape = (blocks, block_size, kv_heads, head_dim)
    unset = np.full(shape, np.nan, np.float32)
    return KVView(unset, unset.copy(), [np.array(table, np.int32)], Format.F32)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_attention_is_masked_soft_max_and_chunks_do_not_matter(window: int | None, cap: float | None) -> None:
    length, heads, kv_heads, head_dim = 19, 6, 2, 8
    q, k, v = normal(4, length, heads, head_dim), normal(5, length, kv_heads, head_dim), normal(6, length, kv_heads, 8)
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    hidden = (distance < 0) | (distance >= (window or length))
    expected = np.empty((length, heads, head_dim))
    for head in range(heads):
        scores = q[:, head].astype(np.float64) @ k[:, head // 3].T * 0.7
        scores = cap * np.tanh(scores / cap) if cap else scores
        weights = np.exp(np.where(hidden, -np.inf, scores))
        expected[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, head // 3]
    for chunks in ([19], [7, 1, 11]):
        kv, start, rows = cache(6, 4, kv_heads, head_dim, [4, 0, 5, 2, 1]), 0, []
        for size in chunks:
            part, segment = slice(start, start + size), [Segment(0, start, size)]
            OPS.write_cache(k[part], v[part], kv, segment)
            rows.append(OPS.attention(q[part], kv, segment, 0.7, window, cap))
            start += size
        np.testing.assert_allclose(np.concatenate(rows), expected.reshape(length, -1), atol=1e-5)


@pytest.mark.parametrize(("format", "most"), [(Format.F16, 65504.0), (Format.Q8_0, 127 * 65504.0)])
def test_cached_elements_are_rounded_and_never_infinite(format: Format, most: float) -> None:
    width = cache_width(format, 64)
    kv = KVView(*(np.zeros((2, 4, 1, width), CACHE_FORMATS[format]) for _ in "kv"), [np.array([1], np.int32)], format)
    assert kv.head_dim == 64
    k = normal(30, 4, 1, 64)
    k[2, 0, ::2], k[3, 0] = 1e30, -np.inf
    OPS.write_cache(k, k, kv, [Segment(0, 0, 4)])
    # With one position seen, attention gives its value back.
    seen = OPS.attention(np.ones((4, 1, 64), np.float32), kv, [Segment(0, 0, 4)], 1.0, 1, None)
    step = {Format.F16: 2.0**-11 * np.abs(k[:2, 0]), Format.Q8_0: np.abs(k[:2, 0]).max() / 127 * 0.51}[format]
    assert (np.abs(seen[:2] - k[:2, 0]) <= step).all() and (seen[:2] != k[:2, 0]).any()
    np.testing.assert_array_equal(seen[2, ::2], np.float32(most))
    np.testing.assert_array_equal(seen[3], -np.float32(most))


def test_rotation_keeps_length_and_depends_on_distance_alone() -> None:
    angles = np.arange(40)[:, None] * np.array([1.0, 0.1, 0.01])
    rope = Rope(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    q, k = normal(7, 1, 1, 6), normal(8, 1, 1, 6)

    def score(i: int, j: int) -> float:
        a, b = q.copy(), k.copy()
        OPS.norm_rope(a, None, 0.0, rope, np.array([i], np.int32))
        OPS.norm_rope(b, None, 0.0, rope, np.array([j], np.int32))
        np.testing.assert_allclose((a * a).sum(), (q * q).sum(), rtol=1e-5)
        return float((a * b).sum())

    assert score(9, 4) == pytest.approx(score(35, 30), abs=1e-5)
    assert score(9, 4) != pytest.approx(score(4, 9), abs=1e-3)


def test_norms_divide_by_the_root_mean_square() -> None:
    x, weight = normal(9, 3, 10), normal(10, 10)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + 1e-3) * weight
    np.testing.assert_allclose(OPS.rms_norm(x, weight, 1e-3), expected, rtol=1e-5)
    residual = normal(11, 3, 10)
    total = residual + expected
    OPS.add_norm(residual, x, weight, 1e-3)
    np.testing.assert_allclose(residual, total, rtol=1e-5, atol=1e-6)


def test_geglu_and_soft_cap_follow_their_formulas() -> None:
    x = normal(12, 2, 14) * 4
    gate, up = x[:, :7].astype(np.float64), x[:, 7:]
    expected = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))) * up
    np.testing.assert_allclose(OPS.geglu(x), expected, rtol=1e-4, atol=1e-5)
    capped = x.copy()
    OPS.soft_cap(capped, 3.0)
    np.testing.assert_allclose(capped, 3 * np.tanh(x / 3.0), rtol=1e-5)


def test_embedding_rows_are_scaled() -> None:
    matrix = packed(Format.Q8_0, normal(13, 9, 32))
    rows = dequantize(Format.Q8_0, matrix.raw, 32)[[7, 0, 7]]
    np.testing.assert_array_equal(OPS.embed(matrix, np.array([7, 0, 7], np.int32), 2.0), rows * 2)
