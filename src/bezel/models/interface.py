"""The contract between a model, the weights it is built from and whoever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from bezel.kernels.interface import F32, I32, Access, Format, Kernels, KVView, Segment, cache_width
from bezel.models.rope import RopeTable


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps per position. `window` None means full attention.

    `shared_with` names the layer whose keys and values this layer reads instead of its own.
    """

    kv_heads: int
    head_dim: int
    window: int | None = None
    shared_with: int | None = None


@dataclass(frozen=True)
class CacheSpec:
    """The cache of a whole model, one entry a layer. Models declare it and never allocate it.

    `format` is what keys and values are kept in, one of `CACHE_FORMATS`: the user's choice, made on the model's
    declaration. InvalidRequestError where it cannot hold the layers' heads.
    """

    layers: tuple[LayerCache, ...]
    format: Format = Format.F16

    def __post_init__(self) -> None:
        for layer in self.layers:
            cache_width(self.format, layer.head_dim)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Every window that a layer with a cache of its own has, once, in the layers' order; None is full attention."""
        return tuple(dict.fromkeys(layer.window for layer in self.layers if layer.shared_with is None))

    def bytes_per_sequence(self, context: int) -> int:
        """Bytes that one sequence of `context` positions holds: sliding layers stop at their window."""
        return sum(
            2 * layer.kv_heads * self.format.row_bytes(layer.head_dim) * min(context, layer.window or context)
            for layer in self.layers
            if layer.shared_with is None
        )


Key = int | tuple[bytes, int]
"""What stands at a position: a token, or a place in a soft span by that span's key."""


@dataclass(frozen=True, eq=False)
class SoftSpan:
    """Positions start ... start + length - 1 of a sequence, which hold embeddings (an image's, say) instead of tokens.

    Their rows see each other in both directions unless the span is `causal`, so all of them that are not in the cache
    yet are computed in one segment. Spans with the same `key`, a hash of the content, are alike. `embed` gives float32
    [length, hidden]; it is called when rows are to be computed, maybe more than once. Where `soft` is given, only so
    many positions at the span's start hold embeddings, float32 [soft, hidden]; tokens stand at the others.

    A `prefix` begins at 0, and its rows see all of it in layers with a shorter window, too.
    """

    start: int
    length: int
    key: bytes
    embed: Callable[[], F32]
    causal: bool = False
    soft: int | None = None
    prefix: bool = False

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def soft_end(self) -> int:
        """The position behind the last one that holds an embedding."""
        return self.end if self.soft is None else self.start + self.soft


@dataclass(frozen=True)
class Batch:
    """A flat run of T tokens made of segments that follow each other without gaps.

    ids: int32 [T]. positions: int32 [T]. logit_rows: int32 [R], the rows whose logits are wanted. Where rows hold
    embeddings instead of tokens: soft_rows int32 [S], and soft float32 [S, hidden].
    """

    ids: I32
    positions: I32
    segments: tuple[Segment, ...]
    logit_rows: I32
    soft_rows: I32 | None = None
    soft: F32 | None = None

    @classmethod
    def of(
        cls, parts: Sequence[tuple[Sequence[int], int, bool]], spans: Sequence[Sequence[SoftSpan]] | None = None
    ) -> Batch:
        """Build from (token ids, start position, logits of every row?) per sequence; else only of the last row.

        `spans`: all soft spans of each sequence.
        """
        ids: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        segments, places, rows = [], [], []
        for (tokens, start, every_row), soft in zip(parts, spans or [()] * len(parts), strict=True):
            row, length = len(ids), len(tokens)
            end = start + length
            seen = [span for span in soft if span.start < end and start < span.end]
            open_spans = tuple((span.start, span.end) for span in seen if not span.causal)
            prefix = max((span.end for span in seen if span.prefix), default=0)
            segments.append(Segment(row, start, length, open_spans, prefix))
            ids.extend(tokens)
            positions.extend(range(start, end))
            wanted.extend(range(row if every_row else row + length - 1, row + length))
            for span in seen:
                first, last = max(start, span.start), min(end, span.soft_end)
                if first >= last:
                    continue
                places.append(np.arange(row + first - start, row + last - start, dtype=np.int32))
                rows.append(span.embed()[first - span.start : last - span.start])
        found = (np.concatenate(places), np.concatenate(rows)) if rows else (None, None)
        numbers = [np.array(each, np.int32) for each in (ids, positions, wanted)]
        return cls(numbers[0], numbers[1], tuple(segments), numbers[2], *found)


class CacheView(Protocol):
    """The cache as a forward pass sees it: `layer(i)` for the sequences of the batch, in segment order."""

    @property
    def tables(self) -> Sequence[Sequence[I32]]:
        """The block tables that the layers share, one list for each kind of layer, always in the same order."""

    def layer(self, index: int) -> KVView: ...


Part = TypeVar("Part")


class Weights(Protocol):
    """Tensors of a checkpoint under their Hugging Face names, without "model." or "language_model." in front.

    For example "embed_tokens.weight", "layers.0.self_attn.q_proj.weight", "vision_tower.post_layernorm.bias".
    Every read is checked: a missing tensor or a wrong shape raises ModelFileError naming file and tensor.
    """

    kernels: Kernels

    def matrix(
        self,
        *names: str,
        shape: tuple[int, int],
        access: Access = Access.WHOLE,
        transposed: bool = False,
        padded: bool = False,
    ) -> Any:
        """One packed matrix from one tensor, or from several stacked by rows (fused projections).

        `shape` is that of the whole result: (rows, columns). `access`: see `Kernels.allocate`. A convolution's tensor,
        of three or four sizes, is taken as a matrix of its outermost. With `transposed` it is one, stored by columns;
        with `padded` it is one that may be smaller, and 0 where it ends.
        """

    def array(self, name: str, shape: tuple[int, int]) -> F32:
        """A small matrix in float32, for kernels that want its numbers; a convolution's tensor as in `matrix`."""

    def table(self, name: str, shape: tuple[int, int]) -> Any:
        """A matrix (rows, columns) that stays on disk, for `Kernels.read_rows`."""

    def vector(self, name: str, size: int) -> F32:
        """A bias, or the weight of a layer norm: float32 [size], as it is stored."""

    def norm(self, name: str, size: int) -> F32:
        """The multiplier of an RMSNorm, float32 [size]; the "1 +" of Gemma 1-3 is already added."""

    def in_turn(self, builders: Sequence[Callable[[], Part]]) -> Iterable[Part]:
        """Parts of a model that are used one behind the other: made once and kept, or each when its turn comes."""

    def __contains__(self, name: str) -> bool: ...


class Bounds(Protocol):
    """What a model can take: ids below `vocabulary`, and `context` of them."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def context(self) -> int: ...


class TextModel(Protocol):
    """A causal language model of one family."""

    config: Any
    ops: Kernels
    cache_spec: CacheSpec
    vocabulary: int
    context: int

    @property
    def ropes(self) -> Sequence[RopeTable]:
        """They must hold the rows of a batch's positions before kernels read them, as `forward` sees to."""

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """Run the batch, writing keys and values to the cache: logits float32 [R, vocabulary]."""


class Family(Protocol):
    """What a model file registers: it reads a Hugging Face text config and builds itself from weights."""

    def __call__(self, config: Mapping[str, Any], weights: Weights, context: int | None = None) -> TextModel: ...
