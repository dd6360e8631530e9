"""Every format bit for bit against the gguf package."""

import numpy as np
import pytest

from bezel.errors import UnsupportedModelError
from bezel.kernels.formats import dequantize, exactly_q8_0, quantize
from bezel.kernels.interface import Format

gguf = pytest.importorskip("gguf")
QUANTISED = [Format.Q4_0, Format.Q5_0, Format.Q8_0, Format.Q4_K, Format.Q5_K, Format.Q6_K]


def random_rows(format: Format, rows: int, columns: int) -> np.ndarray:
    """Random bytes whose float16 scales are finite."""
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 256, (rows, format.row_bytes(columns)), np.uint8)
    blocks = raw.reshape(-1, format.block_bytes)
    halves = {Format.Q6_K: [208], Format.Q4_K: [0, 2], Format.Q5_K: [0, 2]}.get(format, [0])
    for offset in halves:
        scales = rng.normal(0, 0.1, (len(blocks), 1)).astype("<f2")
        blocks[:, offset : offset + 2] = scales.view(np.uint8)
    return raw


@pytest.mark.parametrize("format", QUANTISED)
def test_widening_equals_the_gguf_package(format: Format) -> None:
    raw = random_rows(format, 3, 512)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[format.name])
    np.testing.assert_array_equal(dequantize(format, raw, 512), expected)


@pytest.mark.parametrize("format", [Format.Q4_0, Format.Q8_0, Format.BF16, Format.F16, Format.F32])
def test_rounding_equals_the_gguf_package(format: Format) -> None:
    x = np.random.default_rng(1).normal(0, 3, (7, 96)).astype(np.float32)
    x[2, :32] = 0
    x[3, 5] = x[3, 9] = 11.5
    x[4] = np.round(x[4] * 2) / 2
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType[format.name])
    np.testing.assert_array_equal(quantize(format, x), np.ascontiguousarray(expected).view(np.uint8))


@pytest.mark.parametrize(("format", "step"), [(Format.Q4_0, 0.13), (Format.Q8_0, 0.005), (Format.BF16, 0.005)])
def test_a_round_trip_stays_within_a_step_of_the_largest(format: Format, step: float) -> None:
    x = np.random.default_rng(2).normal(0, 1, (16, 64)).astype(np.float32)
    error = np.abs(dequantize(format, quantize(format, x), 64) - x).reshape(-1, 32)
    assert (error <= step * np.abs(x.reshape(-1, 32)).max(axis=1, keepdims=True)).all()


def test_k_formats_are_never_written() -> None:
    with pytest.raises(UnsupportedModelError, match="choose Q4_0"):
        quantize(Format.Q4_K, np.zeros((1, 256), np.float32))


def test_rows_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="bytes a row"):
        dequantize(Format.Q8_0, np.zeros((1, 33), np.uint8), 32)


@pytest.mark.parametrize("format", [Format.Q4_0, Format.Q5_0, Format.Q8_0])
def test_small_formats_are_exactly_q8_0(format: Format) -> None:
    raw = np.random.default_rng(5).integers(0, 256, (3, format.row_bytes(64)), np.uint8)
    raw[:, :2] = raw[:, format.block_bytes : format.block_bytes + 2] = np.full((3, 1), 0.01, np.float16).view(np.uint8)
    same = exactly_q8_0(format, raw, 64)
    np.testing.assert_array_equal(dequantize(Format.Q8_0, same, 64), dequantize(format, raw, 64))
