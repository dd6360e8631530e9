"""How the compiled kernels keep a weight matrix in memory, and how many bytes that takes. See native/packing.h."""

from __future__ import annotations

from dataclasses import dataclass

from bezel.kernels.interface import U8, Access, Format
from bezel.kernels.sparse import SPARSE_FORMATS

# Bytes of 16 rows' group of columns, and how many columns that is.
_INTERLEAVED = {
    Format.Q4_0: (256, 32),
    Format.Q5_0: (256 + 64, 32),
    Format.Q8_0: (512, 32),
    Format.BF16: (128, 4),
    Format.Q4_K: (64 + 8 * (32 + 256), 256),
    Format.Q5_K: (64 + 8 * (32 + 256 + 64), 256),
    Format.Q6_K: (64 + 8 * (32 + 256 + 128), 256),
}
_LANES = 16
_LINE = 64  # bytes
_MOST_BF16_COLUMNS = (2**31 - 1) // 127**2  # whose int8 products cannot overflow an int32


@dataclass
class Matrix:
    """A packed weight matrix: GGUF's own layout for F32, F16 and access by rows, else interleaved by 16 rows.

    Q5_0 by rows or columns is kept as Q8_0, of the same values. native/sparse.h has the layout for access by columns.
    """

    format: Format
    rows: int
    columns: int
    data: U8
    access: Access = Access.WHOLE

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes)


def packed(format: Format, rows: int, columns: int, access: Access = Access.WHOLE) -> tuple[Format, Access, int]:
    """How a matrix is kept, and its bytes. ValueError where blocks do not divide the columns, or are too many."""
    if format is Format.BF16 and columns > _MOST_BF16_COLUMNS:
        raise ValueError(f"{columns} columns are more than the {_MOST_BF16_COLUMNS} that a row of BF16 may have")
    if format is Format.Q5_0 and access is not Access.WHOLE:
        format = Format.Q8_0
    access = access if format in SPARSE_FORMATS else Access.WHOLE
    row_bytes = format.row_bytes(columns)
    if access is Access.COLUMNS:
        return format, access, -(-rows // 32) * 32 * row_bytes
    if format not in _INTERLEAVED or access is Access.ROWS:
        return format, access, rows * row_bytes
    size_of_group, group = _INTERLEAVED[format]
    groups = -(-columns // group)
    return format, access, -(-rows // _LANES) * (_head(format, groups) + groups * size_of_group)


def _head(format: Format, groups: int) -> int:
    """Bytes of 16 rows beside their groups: the largest magnitudes of BF16, a line of scales for two groups of 32."""
    if format is Format.BF16:
        return _LINE
    return -(-groups // 2) * _LINE if _INTERLEAVED[format][1] == 32 else 0
