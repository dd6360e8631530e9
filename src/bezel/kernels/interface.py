"""What a kernel set offers to the models: a few coarse, fused primitives over float32 rows.

Two sets implement it: `reference.Reference` (NumPy, the definition of every kernel) and
`library.Native` (the compiled library). Activations are C-contiguous float32 throughout, but that the rows of
q, k and v may lie apart, as they do in the product that made all three; a quantised product rounds them to int8
per group of 32 on its own.

Between a kernel's result and its next use a model only reshapes and slices: what kernels did can then be written
down and done again without the model (`tape.Tape`).

Batch invariance: row t of every result depends on row t of the inputs (and on the cache) alone,
bit for bit, however many rows or segments stand beside it and however many threads run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bezel.errors import InvalidRequestError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]


class Format(Enum):
    """A tensor format of GGUF: (type id, elements in a block, bytes in a block)."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q5_0 = (6, 32, 22)
    Q8_0 = (8, 32, 34)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    BF16 = (30, 1, 2)

    def __init__(self, type_id: int, block_elements: int, block_bytes: int) -> None:
        self.type_id = type_id
        self.block_elements = block_elements
        self.block_bytes = block_bytes

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row of `columns` elements; ValueError where blocks do not divide it."""
        if columns % self.block_elements:
            raise ValueError(f"{columns} columns do not divide into {self.name} blocks of {self.block_elements}")
        return columns // self.block_elements * self.block_bytes


class Access(Enum):
    """How a matrix will be read, which decides how it is best laid out in memory."""

    WHOLE = "whole"
    ROWS = "rows"
    COLUMNS = "columns"


CACHE_FORMATS: dict[Format, Any] = {Format.F16: np.float16, Format.Q8_0: np.uint8, Format.F32: np.float32}
"""What cached keys and values may be kept in, the usual one first, with the element type of their arrays."""


def cache_width(format: Format, head_dim: int) -> int:
    """Elements that an array of cached keys has for one head. InvalidRequestError where the format cannot hold it."""
    if format not in CACHE_FORMATS:
        raise InvalidRequestError(f"a cache cannot be kept in {format.name}; choose F16, Q8_0 or F32")
    if head_dim % format.block_elements:
        raise InvalidRequestError(
            f"a {format.name} cache needs heads of a multiple of {format.block_elements} elements; "
            f"this model's have {head_dim}: choose F16"
        )
    return format.row_bytes(head_dim) // int(np.dtype(CACHE_FORMATS[format]).itemsize)


@dataclass(frozen=True)
class Rope:
    """Rotary tables of one kind of layer: `cos` and `sin` are [positions, head_dim / 2] float32.

    Element i of the first half of a head turns with element i of the second half ("NeoX" order).
    """

    cos: F32
    sin: F32


@dataclass(frozen=True)
class Segment:
    """A run of rows of one sequence: rows [row, row + length) stand at positions [start, start + length).

    `spans` are runs of positions (first, end), in rising order, whose rows see each other in both directions. One may
    begin before the segment; none goes on behind it. The rows of the first `prefix` positions, which are such a span,
    see all of it whatever the window is. The rows of a `mutual` segment, which is a whole sequence,
    see each other as far as the window reaches in both directions.
    """

    row: int
    start: int
    length: int
    spans: tuple[tuple[int, int], ...] = ()
    prefix: int = 0
    mutual: bool = False

    def lasts(self, window: int | None = None) -> I32:
        """The last position that each row sees: its own, its span's, or how far a mutual segment goes. int32 [length].

        ValueError for a span that goes on behind the segment, whose keys nobody has yet.
        """
        lasts = np.arange(self.start, self.start + self.length, dtype=np.int32)
        if self.mutual:
            return np.minimum(lasts + (self.length if window is None else window - 1), lasts[-1:])
        for first, end in self.spans:
            if end > self.start + self.length:
                raise ValueError(f"a span to {end} goes on behind {self.start + self.length}, the end of its segment")
            lasts[max(0, first - self.start) : max(0, end - self.start)] = end - 1
        return lasts

    def first(self, position: int, window: int | None) -> int:
        """The first position that the row at `position` sees through a window."""
        return 0 if window is None or position < self.prefix else max(0, position - window + 1)


@dataclass(frozen=True)
class KVView:
    """One layer's keys and values for a batch, in blocks.

    `keys` and `values` are [blocks, block_size, kv_heads, cache_width(format, head_dim)]: float32, float16, or uint8
    in the layout of GGUF's Q8_0, for each 32 elements a float16 scale and 32 int8 codes. `tables[i]` is the int32
    block table of the sequence of segment i: position p stands in block `tables[i][p // block_size]`,
    slot `p % block_size`. Blocks that left a sliding window may be -1 in the table.
    """

    keys: Any
    values: Any
    tables: Sequence[I32]
    format: Format

    @property
    def head_dim(self) -> int:
        size = int(self.keys.shape[3]) * int(self.keys.itemsize)
        return size // self.format.block_bytes * self.format.block_elements

    @property
    def block_size(self) -> int:
        return int(self.keys.shape[1])


class PackedMatrix(Protocol):
    """A weight matrix [rows, columns] in one kernel set's memory layout; opaque to the models."""

    format: Format
    rows: int
    columns: int
    nbytes: int


class DiskTable(Protocol):
    """A matrix [rows, columns] whose rows stay on disk until ids name them (`tables.RowTable`)."""

    format: Format
    rows: int
    columns: int


class Kernels(Protocol):
    """The kernel set that a model is given."""

    name: str

    def allocate(self, format: Format, rows: int, columns: int, access: Access = Access.WHOLE) -> Any:
        """An empty packed matrix, whose format may be another of the same values (Q5_0 by rows or columns: Q8_0).

        Fill it with `store_rows` or, for access as a whole, `load_rows`. Access to ROWS or COLUMNS is a wish, for
        `sparse_mlp`: a format that cannot be read in parts is laid out whole.
        """

    def store_rows(self, matrix: Any, first_row: int, raw: U8) -> None:
        """Pack rows in GGUF byte layout: `raw` is [n, format.row_bytes(columns)] uint8."""

    def load_rows(self, matrix: Any, first_row: int, count: int, file: int, offset: int) -> None:
        """Pack rows of the matrix' format that lie in an open file, by its descriptor, from byte `offset` on.

        EOFError where the file ends before them, OSError where it cannot be read.
        """

    def linear(self, matrix: Any, x: F32) -> F32:
        """x [T, columns] -> [T, rows]: x @ W.T.

        Q4_0, Q5_0, Q8_0: x is rounded per group of 32 to int8 (scale = amax / 127, round half to even); the dot
        of a group is exact int32, multiplied by (weight scale * x scale) and added in group order.
        Q4_K, Q5_K, Q6_K: x is rounded alike; the rest is float32. Other formats: weights widened to float32, products
        added in float32; where the processor has dot products of BF16, BF16 as `reference.pair_dots` says.
        """

    def embed(self, matrix: Any, ids: I32, scale: float) -> F32:
        """Rows `ids` [T] of the table, widened to float32 and times `scale`: [T, columns]."""

    def rows(self, x: F32, index: I32) -> F32:
        """Rows `index` [R] of x [T, n]: [R, n]."""

    def picked(self, positions: I32, index: I32) -> I32:
        """Elements `index` [R] of positions [T]: [R]."""

    def expect_rows(self, table: Any, ids: I32) -> None:
        """Say that rows `ids` of a table on disk are about to be read, so that the disk works meanwhile."""

    def read_rows(self, table: Any, ids: I32, scale: float) -> F32:
        """Rows `ids` [T] of a table on disk, widened to float32 and times `scale`: [T, columns].

        An id behind the table has row 0. ModelFileError where the file cannot be read any more.
        """

    def rms_norm(self, x: F32, weight: F32 | None, eps: float) -> F32:
        """x / sqrt(mean(x^2) + eps) * weight along the last axis: [..., n]. `weight` is the whole multiplier."""

    def add_norm(self, residual: F32, x: F32, weight: F32 | None, eps: float) -> None:
        """residual += rms_norm(x, weight, eps), in place; with weight None: residual += x. Both [T, n]."""

    def norm_rope(self, x: F32, weight: F32 | None, eps: float, rope: Rope, positions: I32) -> None:
        """In place on x [T, heads, head_dim]: rms_norm per head where weight is given, then rotary."""

    def write_cache(self, k: F32, v: F32, kv: KVView, segments: Sequence[Segment]) -> None:
        """Store k, v [T, kv_heads, head_dim] at the positions of their segments, rounded to the cache's format.

        F16: to nearest even; what is beyond a half's range is kept as +-65504, so that nothing becomes infinite.
        Q8_0: as `formats.quantize`; elements beyond 127 * 65504 are kept as that.
        """

    def attention(
        self,
        q: F32,
        kv: KVView,
        segments: Sequence[Segment],
        scale: float,
        window: int | None,
        soft_cap: float | None,
        index: I32 | None = None,
    ) -> F32:
        """Causal grouped-query attention, q [T, heads, head_dim] -> [T, heads * head_dim].

        With `index` [R], q [R, heads, head_dim] holds those rows of the segments alone: [R, heads * head_dim].

        The row at position p sees the cached positions max(0, p - window + 1) ... p, inside a span of its segment to
        the end of that, inside its segment's prefix from 0 on, in a mutual segment to p + window - 1. Keys and values
        are widened to float32, which is exact for F16; a Q8_0 element is code * scale in float32. Scores are
        q.k * scale, then soft_cap * tanh(score / soft_cap) where a soft cap is given, then soft-max.
        """

    def geglu(self, gate_up: F32) -> F32:
        """[T, 2n] -> [T, n]: gelu_tanh(first half) * second half."""

    def log_sum_exp(self, x: F32) -> float:
        """log(sum of e^x) of x [n], n at least 1."""

    def largest(self, x: F32, count: int) -> I32:
        """Places of the `count` largest of x [n], falling, of equal ones the first first: int32 [min(count, n)]."""

    def masked(self, x: F32, allowed: U32) -> F32:
        """x [n] where bit i % 32 of word i / 32 is set, else -infinity: [n]. `allowed` is uint32 [ceil(n / 32)]."""

    def soft_cap(self, x: F32, cap: float) -> None:
        """x = cap * tanh(x / cap), in place."""

    def norm_heads(self, x: F32, weight: F32 | None, eps: float) -> None:
        """In place on x [T, heads, head_dim]: rms_norm per head."""

    def layer_norm(self, x: F32, weight: F32, bias: F32, eps: float) -> F32:
        """(x - mean) / sqrt(variance + eps) * weight + bias along the last axis: x [T, n] -> [T, n]."""

    def add_bias(self, x: F32, bias: F32, gelu: bool = False) -> None:
        """In place: x [T, n] += bias [n], and with `gelu` x = gelu_tanh(x) of that."""

    def full_attention(self, q: F32, k: F32, v: F32, scale: float) -> F32:
        """soft-max(q.k * scale) times v over all keys, every head by itself: q [T, heads, head_dim], k and v
        [S, heads, head_dim], S at least 1 -> [T, heads * head_dim]."""

    def depthwise(self, x: F32, weight: F32, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        """A convolution of every channel by itself: x [height, width, n], weight [k, k, n] -> [*shape, n].

        out[i, j] = sum over a, b of weight[a, b] * x[i stride + a - top, j stride + b - left], `corner` = (top, left),
        with 0 where x has no such place.
        """

    def windows(self, x: F32, size: int, stride: int, corner: tuple[int, int], shape: tuple[int, int]) -> F32:
        """What a convolution of size by size sees at each place: x [height, width, n] -> [places, n size size].

        Places as in `depthwise`, row by row; a window's order is channel, row, column, as in a convolution's weights.
        """

    def norm_gelu(self, x: F32, weight: F32, eps: float) -> None:
        """In place: x [T, n] = gelu_tanh(rms_norm(x, weight, eps))."""

    def clip(self, x: F32, limit: float) -> F32:
        """x held within -limit ... limit, in an array of its own."""

    def silu(self, x: F32) -> None:
        """In place: x = x * sigmoid(x)."""

    def glu(self, x: F32) -> F32:
        """[T, 2n] -> [T, n]: first half * sigmoid(second half)."""

    def cumulative_norm(self, x: F32, weight: F32, eps: float, sums: F64) -> None:
        """In place on rows of one sequence, x [T, n]: ReLU((x - mean) / sqrt(variance + eps) * weight).

        Mean and variance of a row are over the elements of all rows up to it, where each of those stands about the mean
        that its own row had. `weight` [channels] is repeated along a row. `sums` [3], zeros before the first row of a
        sequence, holds what later rows need of these, so that a sequence may come in parts.
        """

    def causal_conv(self, x: F32, weight: F32) -> F32:
        """out[t] = sum over i of weight[i] * x[t - K + 1 + i], with 0 before the first row: x [T, n], weight [K, n]."""

    def local_attention(self, q: F32, k: F32, v: F32, positions: F32, scale: F32, right: int, soft_cap: float) -> F32:
        """Attention of one sequence to what is near, every head by itself: three of [T, heads, head_dim] ->
        [T, heads * head_dim].

        `positions` [left + 1 + right, heads, head_dim]: row t sees rows t - left ... t + right. The score of row s is
        (q[t] * scale) . (k[s] + positions[s - t + left]), scale [head_dim], then soft_cap * tanh(score / soft_cap),
        then soft-max.
        """

    def sparse_mlp(self, gate: F32, x: F32, up: Any, down: Any, multiplier: float) -> F32:
        """down(gelu_tanh(over) * up(x)), x [T, n] -> [T, n], where `over` is what gate [T, m] has over its cut.

        The cut of a row is mean + multiplier * standard deviation of its gate; what lies under it is 0. `up` [m, n] is
        best allocated for ROWS and `down` [n, m] for COLUMNS. Products are those of `linear`, bit for bit.
        """

    def altup_expand(self, x: F32, projected: F32) -> F32:
        """x [T, n] and its S - 1 projections [T, (S - 1) n], scaled to x's root mean square: streams [T, S, n]."""

    def altup_predict(
        self, streams: F32, router: F32, coefs: F32, active: int, weight: F32, eps: float
    ) -> tuple[F32, F32]:
        """The streams as a layer will leave them, [T, S, n], and the rms_norm (weight) of the active one, [T, n].

        modal = tanh(router . x / rms(x)), x the active stream; prediction o = stream o + sum over i of
        (coefs[o S + i] . modal) stream i. `router` [S, n] has its norm's multiplier and 1 / n in it; coefs [S S, S].
        """

    def laurel(
        self, predictions: F32, active: int, normed: F32, attended: F32, low: F32, norms: Sequence[F32], eps: float
    ) -> tuple[F32, F32]:
        """mixed = (prediction + norm 0 (attended) + normed + norm 1 (low)) / sqrt(2), and norm 2 (mixed): two [T, n].

        predictions [T, S, n], of which `active` is meant; the others [T, n]; `norms` are multipliers [n] of rms_norm.
        """

    def altup_correct(
        self,
        predictions: F32,
        mixed: F32,
        fed: F32,
        weight: F32,
        router: F32,
        coefs: F32,
        active: int,
        scale: F32 | None,
        eps: float,
    ) -> F32:
        """In place: mixed += rms_norm(fed, weight); prediction s += (1 + coefs[s] . modal) (mixed - prediction active).

        `modal` is of `mixed`, as in `altup_predict`; coefs [S, S]. Returns the active stream times scale [n]: [T, n].
        """

    def altup_inject(self, streams: F32, x: F32, weight: F32, eps: float) -> None:
        """In place: every stream [T, S, n] but the first gains rms_norm(x, weight), x [T, n]."""

    def altup_split(self, streams: F32) -> F32:
        """[T, S, n] -> [S, T, n]."""

    def altup_merge(self, first: F32, others: Sequence[F32]) -> F32:
        """The mean of `first` and `others` [T, n], these scaled to the root mean square of `first`: [T, n]."""

    def gelu_gate(self, x: F32, inputs: F32, layer: int) -> None:
        """In place: x [T, n] = gelu_tanh(x) * inputs[:, layer], inputs [T, L, n]."""
