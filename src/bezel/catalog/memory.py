"""The memory arithmetic: what a variant needs at each level and context, in bytes of the whole process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bezel.catalog.variants import Variant
from bezel.errors import InvalidRequestError

LEVEL_BITS = {"Q4_0": 4.5, "Q8_0": 8.5, "BF16": 16.0}
"""Bits per weight of each level, block scales included."""

CACHE_BYTES = 2
"""Bytes of one cached key or value element (16 bit)."""

PROCESS_BYTES = 60 << 20
"""Python, NumPy and the library before a model is loaded."""

WORKSPACE_SHARE = 0.03
"""Activations and tables, as a share of the weights."""

DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Footprint:
    """Bytes of a running model, and those of it that stay on disk."""

    weights: int
    towers: int
    cache: int
    workspace: int
    on_disk: int

    @property
    def total(self) -> int:
        """Bytes in memory."""
        return self.weights + self.towers + self.cache + self.workspace


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
    if variant.shape is None:
        held, on_disk, cache = variant.parameters, 0, 0
    else:
        held, on_disk = variant.shape.parameters, variant.shape.parameters_on_disk
        cache = variant.shape.cache_elements(context) * CACHE_BYTES
    weights = int(held * bytes_each)
    tower_parameters = variant.vision_parameters * ("vision" in towers) + variant.audio_parameters * ("audio" in towers)
    tower_bytes = int(tower_parameters * bytes_each)
    workspace = PROCESS_BYTES + int((weights + tower_bytes) * WORKSPACE_SHARE)
    return Footprint(weights, tower_bytes, cache, workspace, int(on_disk * bytes_each))
