"""How Gemma 3 sees (Gemma 3 Technical Report, section 2.1): SigLIP, pooled and projected to soft tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.leaves import field_of
from bezel.models.vision import siglip


@dataclass(frozen=True)
class Config:
    """What the tower and its projector need of a `gemma3` config. `hidden_size` is the text model's."""

    tower: siglip.Config
    tokens: int
    hidden_size: int

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config with a `vision_config`; ModelFileError names a field that is wrong."""
        vision, text = config.get("vision_config"), config.get("text_config")
        if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
            raise ModelFileError("config: vision_config or text_config is not an object")
        tower = siglip.Config.from_hf(vision)
        tokens = field_of(config, "mm_tokens_per_image", int, 256)
        side = math.isqrt(tokens)
        if side * side != tokens or tower.patches_per_side % side:
            raise ModelFileError(
                f"config: mm_tokens_per_image is {tokens}; {tower.patches_per_side} patches a side are not pooled to it"
            )
        return cls(tower, tokens, field_of(text, "hidden_size", int))


class Projector:
    """Patches to soft tokens: mean over squares of patches, RMS norm, projection to the text model's width."""

    def __init__(self, config: Config, weights: Weights, prefix: str = "multi_modal_projector.") -> None:
        width = config.tower.hidden_size
        self.soft_emb_norm = weights.norm(f"{prefix}mm_soft_emb_norm.weight", width)
        self.projection = weights.matrix(
            f"{prefix}mm_input_projection_weight", shape=(config.hidden_size, width), transposed=True
        )
        self.patches, self.tokens = config.tower.patches_per_side, math.isqrt(config.tokens)  # a side
        self.eps, self.ops = config.tower.eps, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [patches, width] -> [tokens, hidden]."""
        size = self.patches // self.tokens
        pooled = x.reshape(self.tokens, size, self.tokens, size, -1).mean(axis=(1, 3), dtype=np.float32)
        normed = self.ops.rms_norm(pooled.reshape(self.tokens**2, -1), self.soft_emb_norm, self.eps)
        return self.ops.linear(self.projection, normed)


class Gemma3Vision:
    """From pixels to soft tokens, which stand in the place of token embeddings as they are."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = Config.from_hf(config)
        self.vision_tower = siglip.Siglip(self.config.tower, weights)
        self.multi_modal_projector = Projector(self.config, weights)

    def __call__(self, pixels: F32) -> F32:
        """Normalised pixels [image_size, image_size, 3] -> soft tokens [tokens, hidden]."""
        return self.multi_modal_projector(self.vision_tower(pixels))
