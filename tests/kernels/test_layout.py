"""How many bytes a packed matrix takes."""

from __future__ import annotations

import pytest

from bezel.kernels.interface import Access, Format
from bezel.kernels.layout import packed

# Beside what they are in a file: small scales and minima of a byte instead of six bits; half a line beside the scales
# of Q6_K; the head of a block of BF16.
MORE_BITS = {Format.Q4_K: 0.125, Format.Q5_K: 0.125, Format.Q6_K: 0.0625, Format.BF16: 64 * 8 / (16 * 1024)}


@pytest.mark.parametrize("format", Format)
def test_a_packed_matrix_has_the_bits_of_its_file(format: Format) -> None:
    kept, access, size = packed(format, 64, 1024)
    bits = 8 * format.block_bytes / format.block_elements + MORE_BITS.get(format, 0)
    assert (kept, access, size) == (format, Access.WHOLE, 64 * 1024 * bits / 8)
    assert packed(format, 49, 1024)[2] == (size if format not in (Format.F32, Format.F16) else size // 64 * 49)


def test_scales_of_two_groups_share_a_line() -> None:
    assert [packed(Format.Q4_0, 16, columns)[2] for columns in (32, 64, 96)] == [320, 576, 896]


def test_rows_and_columns_of_q5_0_are_read_apart_as_q8_0() -> None:
    for access in (Access.ROWS, Access.COLUMNS):
        assert packed(Format.Q5_0, 64, 1024, access) == (Format.Q8_0, access, 64 * Format.Q8_0.row_bytes(1024))


def test_rows_of_bf16_have_an_end() -> None:
    assert packed(Format.BF16, 1, 133144)[2] == 64 + 133144 * 32
    with pytest.raises(ValueError, match="133145 columns are more"):
        packed(Format.BF16, 1, 133145)
