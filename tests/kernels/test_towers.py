"""Kernels of the towers, and attention in both directions: the definitions by other formulas, and every set by them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bezel.kernels.interface import CACHE_FORMATS, Format, KVView, Segment, cache_width
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


def test_layer_norm_has_mean_0_and_variance_1_before_its_weights() -> None:
    x, ones, zeros = normal(1, 6, 50) * 7 + 3, np.ones(50, np.float32), np.zeros(50, np.float32)
    normed = REFERENCE.layer_norm(x, ones, zeros, 1e-6).astype(np.float64)
    np.testing.assert_allclose(normed.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(normed.var(axis=1), 1, rtol=1e-5)
    weight, bias = normal(2, 50), normal(3, 50)
    np.testing.assert_allclose(REFERENCE.layer_norm(x, weight, bias, 1e-6), normed * weight + bias, rtol=1e-4)


def test_a_row_without_variance_is_held_by_epsilon() -> None:
    x, bias = np.full((1, 8), 4, np.float32), normal(4, 8)
    np.testing.assert_array_equal(REFERENCE.layer_norm(x, normal(5, 8), bias, 1e-6)[0], bias)


def test_gelu_is_near_its_exact_form() -> None:
    x, bias = normal(6, 5, 20), normal(7, 20)
    found = x.copy()
    REFERENCE.add_bias(found, bias, gelu=True)
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in (x + bias).ravel().tolist()]
    np.testing.assert_allclose(found.ravel(), exact, atol=5e-4)
    REFERENCE.add_bias(x, bias)
    np.testing.assert_array_equal(x, normal(6, 5, 20) + bias)


@BUILT
@pytest.mark.parametrize(("rows", "n"), [(1, 1), (3, 7), (5, 48), (2, 1152), (40, 600)])
def test_norms_and_biases_agree_and_rows_stand_alone(native: Sets, rows: int, n: int) -> None:
    kernels = native(threads=2)
    x, weight, bias = normal(8, rows, n) * 3 + 1, normal(9, n), normal(10, n)
    found = kernels.layer_norm(x, weight, bias, 1e-6)
    np.testing.assert_allclose(found, REFERENCE.layer_norm(x, weight, bias, 1e-6), rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(kernels.layer_norm(x[-1:], weight, bias, 1e-6)[0], found[-1])
    for gelu in (False, True):
        ours, theirs, alone = x.copy(), x.copy(), x[-1:].copy()
        kernels.add_bias(ours, bias, gelu)
        kernels.add_bias(alone, bias, gelu)
        REFERENCE.add_bias(theirs, bias, gelu)
        np.testing.assert_allclose(ours, theirs, rtol=3e-6, atol=1e-6)
        np.testing.assert_array_equal(alone[0], ours[-1])
    with pytest.raises(ValueError, match="does not go with"):
        kernels.add_bias(x, np.zeros(n + 1, np.float32))


@pytest.mark.parametrize(("rows", "heads", "head_dim"), [(1, 1, 4), (7, 2, 8), (49, 3, 24), (300, 2, 72)])
def test_full_attention_is_soft_max_over_all_rows(rows: int, heads: int, head_dim: int) -> None:
    q, k, v = (normal(seed, rows, heads, head_dim) * 2 for seed in (20, 21, 22))
    found = REFERENCE.full_attention(q, k, v, 0.3).reshape(rows, heads, head_dim)
    for row in {0, rows // 2, rows - 1}:
        for head in range(heads):
            scores = [0.3 * float(np.dot(q[row, head].astype(np.float64), key)) for key in k[:, head]]
            weights = [math.exp(score - max(scores)) for score in scores]
            expected = sum(w * x for w, x in zip(weights, v[:, head].astype(np.float64), strict=True)) / sum(weights)
            np.testing.assert_allclose(found[row, head], expected, atol=5e-5)


@BUILT
@pytest.mark.parametrize(
    ("rows", "heads", "head_dim"), [(1, 1, 4), (6, 1, 16), (53, 2, 20), (128, 1, 64), (131, 3, 72), (300, 1, 130)]
)
def test_full_attention_agrees_on_any_number_of_threads(native: Sets, rows: int, heads: int, head_dim: int) -> None:
    fused = normal(23, rows, 3 * heads, head_dim) * 2
    q, k, v = np.split(fused, 3, axis=1)
    scale = head_dim**-0.5
    found = native(threads=2).full_attention(q, k, v, scale)
    np.testing.assert_allclose(found, REFERENCE.full_attention(q, k, v, scale), atol=3e-5)
    np.testing.assert_array_equal(native(threads=1).full_attention(q, k, v, scale), found)
    q[:-1] = 9  # other rows' queries
    np.testing.assert_array_equal(native(threads=2).full_attention(q, k, v, scale)[-1], found[-1])
    with pytest.raises(ValueError, match="do not lie alike"):
        native().full_attention(q, k[:, :, : head_dim // 2].copy(), v, scale)


@BUILT
@pytest.mark.parametrize(("rows", "keys", "heads", "head_dim"), [(1, 3, 1, 4), (70, 9, 2, 24), (5, 300, 1, 96)])
def test_queries_may_be_more_or_fewer_than_keys(native: Sets, rows: int, keys: int, heads: int, head_dim: int) -> None:
    q, (k, v) = normal(30, rows, heads, head_dim), (normal(seed, keys, heads, head_dim) for seed in (31, 32))
    expected = REFERENCE.full_attention(q, k, v, 0.3)
    scores = 0.3 * np.einsum("qhd,khd->qhk", q, k, dtype=np.float64)
    weights = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(expected, np.einsum("qhk,khd->qhd", weights, v).reshape(rows, -1), atol=1e-5)
    np.testing.assert_allclose(native(threads=2).full_attention(q, k, v, 0.3), expected, atol=2e-5)
    with pytest.raises(ValueError, match="do not lie alike"):
        native().full_attention(q, k[:0], v[:0], 0.3)


def filled(format: Format, positions: int, kv_heads: int, head_dim: int) -> KVView:
    """A cache of blocks of 32 in mixed order, full of random keys and values."""
    blocks = -(-positions // 32)
    table = np.random.default_rng(11).permutation(blocks).astype(np.int32)
    shape = (blocks, 32, kv_heads, cache_width(format, head_dim))
    view = KVView(*(np.zeros(shape, CACHE_FORMATS[format]) for _ in "kv"), (table,), format)
    k, v = (normal(seed, positions, kv_heads, head_dim) for seed in (12, 13))
    REFERENCE.write_cache(k, v, view, [Segment(0, 0, positions)])
    return view


@pytest.mark.parametrize("window", [None, 9])
def test_inside_a_span_rows_see_to_its_end_and_as_far_back_as_the_window(window: int | None) -> None:
    view, q = filled(Format.F32, 40, 1, 8), normal(14, 40, 2, 8)
    spans = ((5, 17), (17, 20), (33, 40))
    found = REFERENCE.attention(q, view, [Segment(0, 0, 40, spans)], 0.4, window, None).reshape(40, 2, 8)
    keys, values = normal(12, 40, 8).astype(np.float64), normal(13, 40, 8).astype(np.float64)
    row, key = np.arange(40)[:, None], np.arange(40)[None]
    seen = key <= row
    for first, end in spans:
        seen |= (row >= first) & (row < end) & (key >= first) & (key < end)
    if window is not None:
        seen &= key > row - window
    for head in range(2):
        scores = np.where(seen, q[:, head].astype(np.float64) @ keys.T * 0.4, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        expected = weights @ values / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[:, head], expected, atol=1e-5)


def test_a_span_that_goes_on_behind_its_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="goes on behind 40"):
        Segment(0, 30, 10, ((35, 41),)).lasts()
    assert Segment(0, 30, 4, ((28, 32), (33, 34))).lasts().tolist() == [31, 31, 32, 33]


@BUILT
@pytest.mark.parametrize("format", CACHE_FORMATS)
@pytest.mark.parametrize("window", [None, 60])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 1), (2, 2), (20, 1)])
def test_spans_agree_and_a_row_does_not_depend_on_who_stands_beside_it(
    native: Sets, format: Format, window: int | None, heads: int, kv_heads: int
) -> None:
    kernels = native(threads=2)
    view, q = filled(format, 300, kv_heads, 32), normal(15, 300, heads, 32) * 2
    spans = ((3, 40), (100, 260), (260, 300))
    together = kernels.attention(q, view, [Segment(0, 0, 300, spans)], 0.3, window, 5.0)
    expected = REFERENCE.attention(q, view, [Segment(0, 0, 300, spans)], 0.3, window, 5.0)
    np.testing.assert_allclose(together, expected, atol=2e-5)
    for start, end in ((0, 41), (41, 43), (100, 260), (250, 260), (259, 300), (299, 300)):
        part = Segment(0, start, end - start, tuple(span for span in spans if span[0] < end and start < span[1]))
        found = kernels.attention(q[start:end], view, [part], 0.3, window, 5.0)
        np.testing.assert_array_equal(found, together[start:end])
    index = np.array([4, 120, 259, 299], np.int32)
    picked = kernels.attention(q[index], view, [Segment(0, 0, 300, spans)], 0.3, window, 5.0, index)
    np.testing.assert_array_equal(picked, together[index])
    alone = native(threads=1).attention(q, view, [Segment(0, 0, 300, spans)], 0.3, window, 5.0)
    np.testing.assert_array_equal(alone, together)
    nowhere = replace(view, tables=(np.concatenate([view.tables[0][:9], np.int32([-1])]),))
    with pytest.raises(ValueError, match="block table"):
        kernels.attention(q[100:], nowhere, [Segment(0, 100, 200, spans[1:])], 0.3, window, None)


@pytest.mark.parametrize("window", [None, 9])
def test_rows_of_a_prefix_see_all_of_it_whatever_the_window_is(window: int | None) -> None:
    view, q = filled(Format.F32, 40, 1, 8), normal(14, 40, 1, 8)
    found = REFERENCE.attention(q, view, [Segment(0, 0, 40, ((0, 25),), prefix=25)], 0.4, window, None)
    keys, values = normal(12, 40, 8).astype(np.float64), normal(13, 40, 8).astype(np.float64)
    row, key = np.arange(40)[:, None], np.arange(40)[None]
    causal = (key <= row) & (key > row - (window or 40))
    seen = np.where(row < 25, key < 25, causal)
    scores = np.where(seen, q[:, 0].astype(np.float64) @ keys.T * 0.4, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found, weights @ values / weights.sum(axis=1, keepdims=True), atol=1e-5)


@BUILT
@pytest.mark.parametrize("format", CACHE_FORMATS)
@pytest.mark.parametrize("window", [None, 33, 60, 300])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 1), (2, 2), (20, 1)])
def test_prefixes_agree_and_a_row_does_not_depend_on_who_stands_beside_it(
    native: Sets, format: Format, window: int | None, heads: int, kv_heads: int
) -> None:
    kernels, end = native(threads=2), 230
    view, q = filled(format, 300, kv_heads, 32), normal(15, 300, heads, 32) * 2
    whole = [Segment(0, 0, 300, ((0, end),), prefix=end)]
    together = kernels.attention(q, view, whole, 0.3, window, 5.0)
    np.testing.assert_allclose(together, REFERENCE.attention(q, view, whole, 0.3, window, 5.0), atol=2e-5)
    for start, behind in ((0, end), (40, end), (end - 1, 260), (end, 300), (299, 300)):
        part = Segment(0, start, behind - start, ((0, end),) if start < end else (), end if start < end else 0)
        found = kernels.attention(q[start:behind], view, [part], 0.3, window, 5.0)
        np.testing.assert_array_equal(found, together[start:behind])
    index = np.array([4, 120, 229, 230, 299], np.int32)
    picked = kernels.attention(q[index], view, whole, 0.3, window, 5.0, index)
    np.testing.assert_array_equal(picked, together[index])
    two = replace(view, tables=view.tables * 2)
    segments = [Segment(0, 0, 300, ((0, end),), prefix=end), Segment(300, 100, 200)]
    beside = kernels.attention(np.concatenate([q, q[100:]]), two, segments, 0.3, window, 5.0)
    np.testing.assert_array_equal(beside[:300], together)
    causal = kernels.attention(q[100:], view, [Segment(0, 100, 200)], 0.3, window, 5.0)
    np.testing.assert_array_equal(beside[300:], causal)
    nowhere = replace(view, tables=(np.concatenate([np.int32([-1]), view.tables[0][1:]]),))
    with pytest.raises(ValueError, match="block table"):
        kernels.attention(q[200:], nowhere, [replace(whole[0], start=200, length=100)], 0.3, window, None)
