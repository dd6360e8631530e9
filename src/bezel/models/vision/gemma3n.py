"""How Gemma 3n sees: MobileNetV5, projected to soft tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models import embedder
from bezel.models.interface import Weights
from bezel.models.leaves import field_of
from bezel.models.vision.mobilenetv5 import MobileNetV5
from bezel.models.vision.mobilenetv5_layout import WIDTH, Layout


@dataclass(frozen=True)
class Config:
    """What the tower and its embedder need of a `gemma3n` config. `tokens` are an image's, without the end behind."""

    layout: Layout
    embedder: embedder.Config
    tokens: int
    end_id: int

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config with a `vision_config`. Raises ModelFileError and UnsupportedModelError."""
        projected = embedder.Config.from_hf(config, "vision_config")
        layout = Layout.from_hf(config["vision_config"])
        tokens = field_of(config, "vision_soft_tokens_per_image", int, 256)
        if tokens != layout.side**2 or projected.width != WIDTH:
            raise ModelFileError(
                f"config: {tokens} soft tokens of {projected.width} channels are no square of side {layout.side} of "
                f"{WIDTH} channels"
            )
        return cls(layout, projected, tokens, field_of(config, "eoi_token_id", int, 262_144))


class Gemma3nVision:
    """From pixels to soft tokens, which stand in the place of token embeddings as they are."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = Config.from_hf(config)
        self.vision_tower = MobileNetV5(self.config.layout, weights)
        self.embed_vision = embedder.MultimodalEmbedder(
            self.config.embedder, weights, "embed_vision.", self.config.end_id
        )

    def __call__(self, pixels: F32) -> F32:
        """Pixels [side, side, 3] from 0 to 1 -> soft tokens [tokens, hidden]."""
        return self.embed_vision(self.vision_tower(pixels) * np.float32(WIDTH**0.5))

    def span(self, pixels: F32) -> F32:
        """What stands in a prompt: the soft tokens, and the end of the image: [tokens + 1, hidden]."""
        return np.concatenate([self(pixels), self.embed_vision.end])
