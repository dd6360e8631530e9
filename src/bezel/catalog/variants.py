"""The family as data: every released variant, its size, what it takes in, and what it is for (variants.toml)."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from bezel.errors import UnknownModelError


@dataclass(frozen=True)
class Shape:
    """The size of a text model; counts of parameters and cache bytes follow from it.

    `full_every` n: every n-th layer attends to the whole context and the others to `window` positions
    (None: all attend to all); `full` says it layer by layer where there is no such rule. `ffn` is the widest layer's,
    `widths` each one's where they differ. `per_layer_*` describe the embeddings that Gemma 3n keeps on disk.
    """

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    window: int | None = None
    full_every: int = 1
    shared_kv_layers: int = 0
    per_layer_vocabulary: int = 0
    per_layer_size: int = 0
    widths: tuple[int, ...] = ()
    full: tuple[bool, ...] = ()

    @property
    def parameters(self) -> int:
        """Parameters held in memory: all but the per-layer table (norm vectors are left out, under 0.1%)."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        per_layer = 0
        if self.per_layer_size:
            altup_and_laurel = 4 * 4 * 2 + self.hidden * (4 + 2 * 64)
            per_layer = self.layers * (3 * self.hidden * self.per_layer_size + altup_and_laurel)
            per_layer += 6 * self.hidden * self.hidden
        ffns = sum(self.widths) or self.layers * self.ffn
        return self.layers * attention + 3 * self.hidden * ffns + self.vocabulary * self.hidden + per_layer

    @property
    def parameters_on_disk(self) -> int:
        """Parameters of the per-layer table, read from disk row by row."""
        return self.per_layer_vocabulary * self.per_layer_size * self.layers

    def cut(self, widths: Sequence[int]) -> Shape:
        """The shape of a slice: one FFN width for each layer, 0 where it is left out."""
        kept = [layer for layer, width in enumerate(widths) if width]
        owners = self.layers - self.shared_kv_layers
        return replace(
            self,
            layers=len(kept),
            ffn=max(widths),
            widths=tuple(width for width in widths if width),
            full=tuple(self._is_full(layer) for layer in kept),
            shared_kv_layers=sum(layer >= owners for layer in kept),
        )

    def _is_full(self, layer: int) -> bool:
        return self.full[layer] if self.full else (layer + 1) % self.full_every == 0

    def cache_elements(self, context: int, segment: int = 0) -> int:
        """Keys and values held for one sequence of `context` positions, computed `segment` positions a step.

        Sliding layers stop at their window and a segment.
        """
        elements = 0
        for layer in range(self.layers - self.shared_kv_layers):
            positions = context if self._is_full(layer) or self.window is None else min(context, self.window + segment)
            elements += 2 * self.kv_heads * self.head_dim * positions
        return elements


@dataclass(frozen=True)
class Variant:
    """One released checkpoint; see variants.toml for what the fields mean."""

    id: str
    family: str
    context: int
    modalities: tuple[str, ...]
    architecture: str
    languages: int
    licence: str
    shape: Shape | None = None
    needs: tuple[str, ...] = ()
    rank: int = 0
    vision_parameters: int = 0
    audio_parameters: int = 0
    whole_parameters: int | None = None
    base: str | None = None
    quantised: str | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The id without its owner."""
        return self.id.rpartition("/")[2]

    @property
    def parameters(self) -> int:
        """All parameters of the checkpoint, towers and per-layer embeddings included."""
        if self.whole_parameters is not None:
            return self.whole_parameters
        assert self.shape is not None
        return self.shape.parameters + self.shape.parameters_on_disk + self.vision_parameters + self.audio_parameters


@cache
def catalogue() -> tuple[Variant, ...]:
    """Every variant, in the order of variants.toml."""
    data = tomllib.loads(resources.files("bezel.catalog").joinpath("variants.toml").read_text("utf-8"))
    shapes = {name: Shape(**fields) for name, fields in data["shapes"].items()}
    return tuple(
        Variant(
            id=row["id"],
            family=row["family"],
            context=row["context"],
            modalities=tuple(row["modalities"]),
            architecture=row["architecture"],
            languages=row["languages"],
            licence=row["licence"],
            shape=shapes[row["shape"]] if "shape" in row else None,
            needs=tuple(row.get("needs", ())),
            rank=row.get("rank", 0),
            vision_parameters=row.get("vision_parameters", 0),
            audio_parameters=row.get("audio_parameters", 0),
            whole_parameters=row.get("parameters"),
            base=row.get("base"),
            quantised=row.get("quantised"),
            note=row.get("note"),
        )
        for row in data["variants"]
    )


def _normal(name: str) -> str:
    return name.lower().removeprefix("google/").replace("_", "-").replace(" ", "-")


def find(name: str) -> Variant:
    """The variant of that id, with or without its owner, in any case; also by its base checkpoint.

    Raises UnknownModelError naming the nearest real ids: "Gemma 1.5" and "Gemma-VL" were never released.
    """
    wanted = _normal(name)
    for variant in catalogue():
        if wanted in {_normal(each) for each in (variant.id, variant.base, variant.quantised) if each}:
            return variant
    raise UnknownModelError(f"{name!r} is not a released Gemma; the nearest are {', '.join(nearest(name))}")


def nearest(name: str, count: int = 3) -> list[str]:
    """The `count` real ids that are most like `name`."""
    wanted = _normal(name)
    for never, real in _NEVER_RELEASED.items():
        if wanted.startswith(never):
            wanted = wanted.replace(never, real, 1)
    ids = {_normal(variant.id): variant.id for variant in catalogue()}
    close = difflib.get_close_matches(wanted, ids, n=count, cutoff=0.0)
    return [ids[each] for each in close]


# Names that people use for what was released under another one.
_NEVER_RELEASED = {
    "gemma-1.5": "gemma-1.1",
    "gemma-vl": "paligemma",
    "gemma-vision": "paligemma",
    "gemma-3b": "gemma-3",
}
