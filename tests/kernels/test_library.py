"""The compiled kernels against their definitions in NumPy, on every instruction set: see conftest.py for which."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import InvalidRequestError
from bezel.kernels.formats import dequantize, quantize
from bezel.kernels.interface import CACHE_FORMATS, Format, KVView, Rope, Segment, cache_width
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference, pair_dots
from bezel.testing import instruction_sets

REFERENCE = Reference()
Sets = Callable[..., Native]

SETS = instruction_sets()
WITH_PAIR_DOTS = ("avx512_bf16",)
pytestmark = pytest.mark.skipif(not SETS and not os.environ.get("CI"), reason="the compiled kernels are not built")


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def raw_rows(format: Format, rows: int, columns: int) -> np.ndarray:
    if format not in (Format.Q5_0, Format.Q4_K, Format.Q5_K, Format.Q6_K):
        return quantize(format, normal(1, rows, columns))
    blocks = np.random.default_rng(2).integers(
        0, 256, (rows * columns // format.block_elements, format.block_bytes), np.uint8
    )
    for offset in {Format.Q5_0: (0,), Format.Q6_K: (208,)}.get(format, (0, 2)):
        blocks[:, offset : offset + 2] = np.full((len(blocks), 1), 0.01, np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def pair(kernels: Native, format: Format, rows: int, columns: int) -> tuple:
    raw = raw_rows(format, rows, columns)
    packed = kernels.allocate(format, rows, columns), REFERENCE.allocate(format, rows, columns)
    for matrix, owner in zip(packed, (kernels, REFERENCE), strict=True):
        owner.store_rows(matrix, 0, raw[: rows // 2])
        owner.store_rows(matrix, rows // 2, raw[rows // 2 :])
    return packed


@pytest.mark.parametrize("format", [Format.Q4_0, Format.Q5_0, Format.Q8_0])
@pytest.mark.parametrize(("rows", "columns"), [(1, 32), (16, 64), (31, 160), (37, 96), (300, 640)])
@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 17])
def test_quantised_products_equal_their_definition_bit_for_bit(
    native: Sets, format: Format, rows: int, columns: int, tokens: int
) -> None:
    kernels = native()
    matrix, expected = pair(kernels, format, rows, columns)
    x = normal(3, tokens, columns)
    x[0, :32] = 0
    x[-1, -32:] = np.where(x[-1, -32:] > 0, 1, -1)  # codes of 127 and -127 alone: the largest sums
    np.testing.assert_array_equal(kernels.linear(matrix, x), REFERENCE.linear(expected, x))


@pytest.mark.parametrize("format", Format)
def test_no_tokens_give_no_rows_and_touch_nothing(native: Sets, format: Format) -> None:
    kernels = native()
    matrix, _ = pair(kernels, format, 640, 512)
    room = np.full(640 * 4, 7, np.float32)
    kernels._empty = lambda *shape: room[640:640]  # type: ignore[method-assign]
    assert kernels.linear(matrix, np.empty((0, 512), np.float32)).shape == (0,)
    np.testing.assert_array_equal(room, 7)


@pytest.mark.parametrize("format", [f for f in Format if f not in (Format.Q4_0, Format.Q5_0, Format.Q8_0)])
@pytest.mark.parametrize("rows", [1, 17, 37])
@pytest.mark.parametrize("tokens", [1, 3, 9])
def test_other_products_agree_to_rounding(native: Sets, format: Format, rows: int, tokens: int) -> None:
    kernels = native()
    matrix, expected = pair(kernels, format, rows, 91 if format.block_elements == 1 else 512)
    x = normal(4, tokens, matrix.columns)
    wanted = REFERENCE.linear(expected, x)
    if format is Format.BF16 and kernels.isa in WITH_PAIR_DOTS:
        wanted = pair_dots(dequantize(format, expected.raw, expected.columns), x)
    np.testing.assert_allclose(kernels.linear(matrix, x), wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 16, 17, 90, 1028])
@pytest.mark.parametrize("tokens", [1, 5, 6, 13])
def test_bf16_products_keep_sixteen_bits_of_activations(native: Sets, columns: int, tokens: int) -> None:
    kernels = native()
    weights = dequantize(Format.BF16, quantize(Format.BF16, normal(32, 53, columns)), columns)
    weights[7], weights[52, 0] = 0, 60
    matrix = kernels.allocate(Format.BF16, 53, columns)
    kernels.store_rows(matrix, 0, quantize(Format.BF16, weights[:35]))
    kernels.store_rows(matrix, 35, quantize(Format.BF16, weights[35:]))
    x = normal(33, tokens, columns)
    x[0], x[-1, -1] = 0 if tokens > 1 else x[0], -90
    exact = x.astype(np.float64) @ weights.astype(np.float64).T
    w, a = np.abs(weights), np.abs(x)
    off = 2.0**-16 * (a.max(1)[:, None] * w.sum(1) + a.sum(1)[:, None] * w.max(1)) + 1e-6 * (a @ w.T)
    assert (np.abs(kernels.linear(matrix, x) - exact) <= off).all()


@pytest.mark.parametrize("format", list(Format))
def test_embedding_rows_equal_their_definition(native: Sets, format: Format) -> None:
    kernels = native()
    matrix, expected = pair(kernels, format, 37, 512)
    ids = np.array([0, 36, 5, 5, 16], np.int32)
    np.testing.assert_array_equal(kernels.embed(matrix, ids, 3.7), REFERENCE.embed(expected, ids, 3.7))
    with pytest.raises(ValueError, match="outside"):
        kernels.embed(matrix, np.array([37], np.int32), 1.0)


@pytest.mark.parametrize("format", list(Format))
def test_a_row_does_not_depend_on_its_neighbours_nor_on_threads(native: Sets, format: Format) -> None:
    kernels = native(threads=2)
    matrix, _ = pair(kernels, format, 53, 256)
    x = normal(5, 40, 256)
    together = kernels.linear(matrix, x)
    for company in (1, 2, 5, 6, 7, 13):
        for row in range(0, len(x), company):
            found = kernels.linear(matrix, x[row : row + company])
            np.testing.assert_array_equal(found, together[row : row + company])
    np.testing.assert_array_equal(native(threads=1).linear(matrix, x), together)
    native(threads=2)


@pytest.mark.parametrize("format", [Format.F32, Format.F16])
def test_more_rows_than_a_cache_holds_are_multiplied_as_each_alone(native: Sets, format: Format) -> None:
    kernels = native()
    matrix, _ = pair(kernels, format, 9, 6000)
    x = normal(6, 45, 6000)
    together = kernels.linear(matrix, x)
    for row in range(len(x)):
        np.testing.assert_array_equal(kernels.linear(matrix, x[row : row + 1])[0], together[row])


@pytest.mark.parametrize("isa", SETS)  # an emulated processor cannot see this process' files
@pytest.mark.parametrize("format", Format)
def test_rows_come_from_a_file_as_from_memory(isa: str, format: Format, tmp_path: Path) -> None:
    kernels = Native(2, isa)
    raw = raw_rows(format, 53, 512)
    matrix, loaded = kernels.allocate(format, 53, 512), kernels.allocate(format, 53, 512)
    kernels.store_rows(matrix, 0, raw)
    defined = REFERENCE.allocate(format, 53, 512)
    (tmp_path / "file").write_bytes(b"head" + raw[21:].tobytes() + raw[:21].tobytes())
    with (tmp_path / "file").open("rb") as file:
        for first, count, offset in ((0, 21, 4 + raw[21:].nbytes), (21, 32, 4)):
            for owner, target in ((kernels, loaded), (REFERENCE, defined)):
                owner.load_rows(target, first, count, file.fileno(), offset)
        np.testing.assert_array_equal(loaded.data, matrix.data)
        np.testing.assert_array_equal(defined.raw, raw)
        for owner, target in ((kernels, loaded), (REFERENCE, defined)):
            with pytest.raises(EOFError):
                owner.load_rows(target, 0, 53, file.fileno(), 5)
        with pytest.raises(ValueError, match="do not fit"):
            kernels.load_rows(loaded, 22, 32, file.fileno(), 4)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernels.load_rows(loaded, 0, 1, 10_000, 0)


THREADS = """
import numpy as np
from bezel.kernels.interface import Format, KVView, Segment
from bezel.kernels.library import Native

rng = np.random.default_rng(1)
x, q = rng.standard_normal((7, 512)).astype(np.float32), rng.standard_normal((9, 6, 40)).astype(np.float32)
keys, values = rng.standard_normal((2, 40, 32, 2, 40)).astype(np.float32)
view = KVView(keys, values, (np.arange(40, dtype=np.int32),), Format.F32)
results = []
for threads in (5, 3, 2, 1):
    kernels = Native(threads)
    assert kernels.threads == threads
    outputs = [kernels.attention(q, view, [Segment(0, start, 9)], 0.3, window, None)
               for start in (1200, 20) for window in (None, 700)]
    for format in Format:
        matrix = kernels.allocate(format, 83, 512)
        raw = np.random.default_rng(2).integers(0, 60, (83, format.row_bytes(512)), np.uint8)
        kernels.store_rows(matrix, 0, raw)
        outputs += [kernels.linear(matrix, x), kernels.linear(matrix, x[:1])]
    results.append(b"".join(output.tobytes() for output in outputs))
assert np.isfinite(np.frombuffer(results[0], np.float32)).all()
print(len(set(results)))
"""


@pytest.mark.parametrize("isa", SETS)
def test_results_do_not_depend_on_how_many_threads_there_are(isa: str) -> None:
    """In a process of its own: no more threads can be had than the first call started."""
    run = subprocess.run([sys.executable, "-c", THREADS], env=os.environ | {"BEZEL_ISA": isa}, capture_output=True)
    assert run.stdout.split() == [b"1"], run.stderr.decode()


@pytest.mark.parametrize("n", [7, 16, 64, 640])
def test_norms_agree(native: Sets, n: int) -> None:
    kernels = native()
    x, weight = normal(6, 5, n), normal(7, n)
    for multiplier in (None, weight):
        wanted = REFERENCE.rms_norm(x, multiplier, 1e-6)
        np.testing.assert_allclose(kernels.rms_norm(x, multiplier, 1e-6), wanted, rtol=2e-6, atol=1e-7)
        ours, theirs = normal(8, 5, n), normal(8, 5, n)
        kernels.add_norm(ours, x, multiplier, 1e-6)
        REFERENCE.add_norm(theirs, x, multiplier, 1e-6)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
def test_rotation_agrees(native: Sets, weighted: bool) -> None:
    kernels = native()
    angles = normal(9, 40, 12)
    rope = Rope(np.cos(angles), np.sin(angles))
    weight = normal(10, 24) if weighted else None
    positions = np.array([0, 39, 7], np.int32)
    ours, theirs = normal(11, 3, 2, 24), normal(11, 3, 2, 24)
    kernels.norm_rope(ours, weight, 1e-6, rope, positions)
    REFERENCE.norm_rope(theirs, weight, 1e-6, rope, positions)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


def cached(
    format: Format, blocks: int, block_size: int, kv_heads: int, head_dim: int, tables: Sequence[np.ndarray]
) -> KVView:
    """A cache full of random elements."""
    shape = (blocks, block_size, kv_heads, cache_width(format, head_dim))
    view = KVView(*(np.zeros(shape, CACHE_FORMATS[format]) for _ in "kv"), tables, format)
    everything = np.arange(blocks, dtype=np.int32)
    k, v = (normal(seed, blocks * block_size, kv_heads, head_dim) for seed in (13, 14))
    REFERENCE.write_cache(k, v, replace(view, tables=[everything]), [Segment(0, 0, len(k))])
    return view


@pytest.mark.parametrize("window", [None, 1, 5, 40])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize(
    ("format", "head_dim"),
    [(Format.F32, 8), (Format.F32, 20), (Format.F16, 20), (Format.F16, 48), (Format.F16, 80), (Format.Q8_0, 96)],
)
@pytest.mark.parametrize("heads", [2, 4, 10])
def test_attention_agrees_and_rows_stand_alone(
    native: Sets, window: int | None, cap: float | None, format: Format, head_dim: int, heads: int
) -> None:
    kernels = native()
    rng, scale = np.random.default_rng(12), 0.8 * head_dim**-0.5
    lengths, starts = (9, 1, 33), (3, 30, 0)
    tables = tuple(
        np.array(rng.permutation(20)[: -(-(s + n) // 8)], np.int32) for s, n in zip(starts, lengths, strict=True)
    )
    view = cached(format, 20, 8, 2, head_dim, tables)
    segments, row = [], 0
    for start, length in zip(starts, lengths, strict=True):
        segments.append(Segment(row, start, length))
        row += length
    q = normal(15, row, heads, head_dim) * 3
    ours = kernels.attention(q, view, segments, scale, window, cap)
    wanted = REFERENCE.attention(q, view, segments, scale, window, cap)
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    for segment, table in zip(segments, tables, strict=True):
        for i in (0, 3, segment.length - 1):
            if i >= segment.length:
                continue
            row, one = segment.row + i, Segment(0, segment.start + i, 1)
            alone = kernels.attention(q[row : row + 1], replace(view, tables=(table,)), [one], scale, window, cap)
            np.testing.assert_array_equal(alone[0], ours[row])
    with pytest.raises(ValueError, match="block table"):
        nowhere = replace(view, tables=(np.array([-1], np.int32),))
        kernels.attention(q[:1], nowhere, [Segment(0, 3, 1)], 0.3, None, None)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (3, 1), (5, 1), (6, 2), (8, 1), (4, 4)])
def test_heads_share_keys_in_any_number(native: Sets, heads: int, kv_heads: int) -> None:
    table = np.array([2, 0, 1], np.int32)
    view = cached(Format.F32, 3, 16, kv_heads, 48, (table,))
    fused = normal(26, 5, 2 * heads, 48)
    segments = [Segment(0, 40, 5)]
    for q in (fused[:, :heads], fused[:, heads:]):
        wanted = REFERENCE.attention(q, view, segments, 0.4, 30, 5.0)
        np.testing.assert_allclose(native().attention(q, view, segments, 0.4, 30, 5.0), wanted, atol=3e-6)


@pytest.mark.parametrize(
    ("format", "head_dim"), [(Format.F32, 4), (Format.F16, 20), (Format.F16, 64), (Format.Q8_0, 96)]
)
def test_the_cache_is_written_where_the_table_says_as_defined(native: Sets, format: Format, head_dim: int) -> None:
    kernels = native()
    scale = 10.0 ** np.random.default_rng(16).uniform(-9, 9, (7, 2, head_dim))
    k, v = ((normal(seed, 7, 2, head_dim) * scale).astype(np.float32) for seed in (17, 18))
    k[3], v[3, 0] = 0, np.inf
    k[4, 0, :4] = [1 + 2.0**-11, 1 + 3 * 2.0**-11, -(2.0**-25), 3 * 2.0**-25]  # halfway between two halves
    views = [cached(format, 4, 4, 2, head_dim, (np.array([3, 1], np.int32),)) for _ in range(2)]
    kernels.write_cache(k, v, views[0], [Segment(0, 1, 7)])
    REFERENCE.write_cache(k, v, views[1], [Segment(0, 1, 7)])
    np.testing.assert_array_equal(views[0].keys, views[1].keys)
    np.testing.assert_array_equal(views[0].values, views[1].values)


@pytest.mark.parametrize("n", [1, 15, 16, 4095, 4113, 20000])
def test_sums_of_powers_agree(native: Sets, n: int) -> None:
    x = normal(30, n) * 20
    x[n // 2] = -np.inf if n > 1 else 3.0
    assert native().log_sum_exp(x) == pytest.approx(REFERENCE.log_sum_exp(x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n", [1, 15, 16, 4113])
@pytest.mark.parametrize("count", [1, 2, 17, 64, 5000])
def test_the_largest_come_in_their_order(native: Sets, n: int, count: int) -> None:
    x = np.round(normal(31, n) * 8)  # many are equal
    np.testing.assert_array_equal(native().largest(x, count), REFERENCE.largest(x, count))


def test_gates_and_caps_agree_out_to_their_limits(native: Sets) -> None:
    kernels = native()
    gate_up = np.concatenate([normal(18, 3, 2 * 37), np.float32([[-1e4] * 37 + [1] * 37, [1e4] * 37 + [2] * 37])])
    np.testing.assert_allclose(kernels.geglu(gate_up), REFERENCE.geglu(gate_up), rtol=3e-6, atol=1e-6)
    ours, theirs = normal(19, 5, 9) * 100, normal(19, 5, 9) * 100
    kernels.soft_cap(ours, 30.0)
    REFERENCE.soft_cap(theirs, 30.0)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6)


def test_a_forked_process_has_its_own_threads() -> None:
    kernels = Native(threads=2)
    matrix, _ = pair(kernels, Format.Q8_0, 64, 64)
    x = normal(20, 3, 64)
    expected = kernels.linear(matrix, x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(kernels.linear(matrix, x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_settings_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="avx9000"):
        Native(isa="avx9000")
    monkeypatch.setenv("BEZEL_THREADS", "many")
    with pytest.raises(InvalidRequestError, match="BEZEL_THREADS"):
        Native()
    with pytest.raises(ValueError, match="contiguous"):
        kernels = Native(threads=1)
        kernels.linear(kernels.allocate(Format.F32, 4, 4), normal(21, 4, 4).T)


@pytest.mark.parametrize("window", [None, 600])
@pytest.mark.parametrize("format", CACHE_FORMATS)
@pytest.mark.parametrize("heads", [1, 3, 4, 18])
def test_long_attention_agrees_however_it_is_shared_out(
    native: Sets, window: int | None, format: Format, heads: int
) -> None:
    kernels = native(threads=3)
    positions, block = 700, 32
    blocks = -(-positions // block)
    table = np.random.default_rng(20).permutation(blocks).astype(np.int32)
    view = cached(format, blocks, block, 1, 32, (table,))
    q = normal(23, 40, heads, 32) * 2
    segment = Segment(0, positions - 40, 40)
    together = kernels.attention(q, view, [segment], 0.4, window, None)
    np.testing.assert_allclose(together, REFERENCE.attention(q, view, [segment], 0.4, window, None), atol=2e-5)
    for first, count in ((0, 1), (17, 1), (38, 2), (5, 5)):
        part = Segment(0, segment.start + first, count)
        some = kernels.attention(q[first : first + count], view, [part], 0.4, window, None)
        np.testing.assert_array_equal(some, together[first : first + count])
    np.testing.assert_array_equal(native(threads=1).attention(q, view, [segment], 0.4, window, None), together)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_row_is_untouched_by_what_stands_behind_it(native: Sets, heads: int) -> None:
    kernels = native(threads=2)
    view = cached(Format.F32, 3, 32, 1, 64, (np.array([2, 0, 1], np.int32),))
    view.values[0, 10:] = np.inf  # positions 42 and behind
    out = kernels.attention(normal(24, 16, heads, 64), view, [Segment(0, 34, 16)], 0.3, None, None)
    assert np.isfinite(out[:8]).all() and np.isinf(out[8:]).all()
