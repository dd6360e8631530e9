"""The memory arithmetic: what a model needs at each precision and context, in bytes of the whole process.

Every prediction is made here, from a `Shape`; what a checkpoint's own tensors weigh is added up in `weights.memory`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from bezel.catalog.slices import widths_of
from bezel.catalog.variants import Shape, Variant
from bezel.errors import InvalidRequestError

LEVEL_BITS = {"Q4_0": 4.5, "Q8_0": 8.5, "BF16": 16.0}
"""Bits per weight of each level, block scales included."""

CACHE_BYTES = 2.0
"""Bytes of one cached key or value element (16 bit)."""

PROCESS_BYTES = 52 << 20
"""Python, NumPy, the command line and the library before a model is loaded, measured."""

PIECE_BYTES = 205
"""Bytes of one piece of the vocabulary: its text, its ids and where it merges; measured on 262,144 pieces."""

CHUNK = 512
"""Most tokens of a prompt that are read in one step."""

BLOCK = 32
"""Positions that the cache keeps together."""

UNKNOWN_WORKSPACE_SHARE = 0.03
"""Activations and tables of a variant whose shape the catalogue does not hold, as a share of its weights."""

DEFAULT_CONTEXT = 4096

_ALTUP_STREAMS = 4


@dataclass(frozen=True)
class Footprint:
    """Bytes of a running model by what they are for, and those of it that stay on disk.

    `cache` is that of one sequence as long as the context, `rows` the rows of the per-layer table that are kept,
    `process` the interpreter, its libraries and the vocabulary.
    """

    weights: int
    towers: int
    cache: int
    rows: int
    workspace: int
    process: int
    on_disk: int

    @property
    def total(self) -> int:
        """Bytes in memory."""
        return self.weights + self.towers + self.cache + self.rows + self.workspace + self.process

    def table(self) -> dict[str, int]:
        """Name -> bytes, for people: the parts that are not empty, then the total and what stays on disk."""
        parts = {
            "weights": self.weights,
            "towers": self.towers,
            "cache": self.cache,
            "per-layer rows": self.rows,
            "workspace": self.workspace,
            "interpreter": self.process,
        }
        found = {name: size for name, size in parts.items() if size} | {"total": self.total}
        return found | ({"on disk": self.on_disk} if self.on_disk else {})


def predict(
    shape: Shape,
    weights: int,
    context: int,
    cache_bytes: float = CACHE_BYTES,
    towers: int = 0,
    on_disk: int = 0,
    rows: int = 0,
) -> Footprint:
    """Peak bytes of a process that holds `weights` bytes of matrices and fills `context` tokens of one sequence."""
    cache = int(shape.cache_elements(context, CHUNK + BLOCK) * cache_bytes)
    process = PROCESS_BYTES + shape.vocabulary * PIECE_BYTES
    return Footprint(weights, towers, cache, rows, workspace(shape, context), process, on_disk)


def workspace(shape: Shape, context: int) -> int:
    """Bytes of activations while a chunk is read, of logits, and of the rotary tables of `context` positions."""
    tokens = min(CHUNK, context)
    elements = 3 * shape.hidden + 3 * shape.ffn
    if shape.per_layer_size:
        elements += (2 * _ALTUP_STREAMS + 2) * shape.hidden + 2 * shape.layers * shape.per_layer_size
    codes = tokens * shape.ffn * 3 // 2
    ropes = (1 if shape.window is None else 2) * context * shape.head_dim * 4
    return 4 * tokens * elements + codes + 4 * 4 * shape.vocabulary + ropes


def footprint(
    variant: Variant, level: str, context: int = DEFAULT_CONTEXT, towers: Collection[str] = ("vision", "audio")
) -> Footprint:
    """Bytes that `variant` needs at `level` with one sequence of `context` tokens.

    `towers` names the parts beside the text model that are loaded, of those that the variant has. Raises
    InvalidRequestError for an unknown level or a context that the variant cannot hold.
    """
    if level not in LEVEL_BITS:
        raise InvalidRequestError(f"unknown level {level!r}; choose one of {', '.join(LEVEL_BITS)}")
    if not 0 < context <= variant.context:
        raise InvalidRequestError(f"{variant.id} holds 1 to {variant.context} tokens of context, not {context}")
    bytes_each = LEVEL_BITS[level] / 8
    tower_parameters = variant.vision_parameters * ("vision" in towers) + variant.audio_parameters * ("audio" in towers)
    tower_bytes = int(tower_parameters * bytes_each)
    if variant.shape is None:
        weights = int(variant.parameters * bytes_each)
        return Footprint(weights, tower_bytes, 0, 0, int(weights * UNKNOWN_WORKSPACE_SHARE), PROCESS_BYTES, 0)
    on_disk = int(variant.shape.parameters_on_disk * bytes_each)
    weights = int(variant.shape.parameters * bytes_each)
    return predict(variant.shape, weights, context, towers=tower_bytes, on_disk=on_disk)


def sized_footprint(variant: Variant, level: str, context: int, size: str | None = None) -> Footprint:
    """`footprint` of a variant's text model, cut to a MatFormer size where one is given.

    Raises InvalidRequestError for a size that the variant cannot be cut to.
    """
    if size is None:
        return footprint(variant, level, context, towers=())
    widths, shape = widths_of(size), variant.shape
    if shape is None or not shape.per_layer_size or len(widths) != shape.layers or max(widths) > shape.ffn:
        raise InvalidRequestError(f"{variant.id} cannot be cut to {size}; published sizes are cut from Gemma 3n E4B")
    return footprint(replace(variant, shape=shape.cut(widths)), level, context, towers=())


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_memory(text: str) -> int:
    """Bytes from "3GB", "512 MB", "1.5g" (as memory is sold: 1 GB is 2^30 bytes). InvalidRequestError otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not match or float(match[1]) <= 0:
        raise InvalidRequestError(f"{text!r} is not an amount of memory; write it like 3GB or 512MB")
    return int(float(match[1]) * _UNITS[match[2]])
