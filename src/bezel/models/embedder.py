"""Gemma 3n's way from a tower into the language model, the same for images and sounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.leaves import field_of


@dataclass(frozen=True)
class Config:
    """`width` is the tower's, `hidden_size` the text model's. `vocabulary` ids from `offset` on are the embedder's."""

    width: int
    hidden_size: int
    vocabulary: int
    offset: int
    eps: float

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], tower: str) -> Config:
        """Read a `gemma3n` config; `tower` is "audio_config" or "vision_config". ModelFileError names a wrong field."""
        part, text = config.get(tower), config.get("text_config")
        if not isinstance(part, Mapping) or not isinstance(text, Mapping):
            raise ModelFileError(f"config: {tower} or text_config is not an object")
        audio = tower == "audio_config"
        return cls(
            width=field_of(part, "hidden_size", int, 1536 if audio else 2048),
            hidden_size=field_of(text, "hidden_size", int, 2048),
            vocabulary=field_of(part, "vocab_size", int, 128),
            offset=field_of(part, "vocab_offset", int, 262_272 if audio else 262_144),
            eps=field_of(part, "rms_norm_eps", float, 1e-6),
        )


class MultimodalEmbedder:
    """Soft tokens from a tower's rows; and `hard` [vocabulary, hidden], embeddings of the ids above the text's.

    `end` [1, hidden] is the one of `end_id`, which stands behind the soft tokens of an image or a sound.
    """

    def __init__(self, config: Config, weights: Weights, prefix: str, end_id: int) -> None:
        self.config, self.ops = config, weights.kernels
        self.soft_embedding_norm = weights.norm(f"{prefix}soft_embedding_norm.weight", config.width)
        self.embedding_projection = weights.matrix(
            f"{prefix}embedding_projection.weight", shape=(config.hidden_size, config.width)
        )
        embedding = weights.matrix(f"{prefix}embedding.weight", shape=(config.vocabulary, config.width))
        rows = self.ops.embed(embedding, np.arange(config.vocabulary, dtype=np.int32), 1.0)
        self.hard = self._projected(rows, weights.norm(f"{prefix}hard_embedding_norm.weight", config.width))
        if not 0 <= end_id - config.offset < config.vocabulary:
            raise ModelFileError(
                f"config: the end of a span has the id {end_id}, which is not among the {config.vocabulary} ids from "
                f"{config.offset} on"
            )
        self.end = self.hard[end_id - config.offset :][:1]

    def __call__(self, x: F32) -> F32:
        """x [T, width] -> [T, hidden]."""
        return self._projected(x, self.soft_embedding_norm)

    def _projected(self, x: F32, norm: F32) -> F32:
        eps = self.config.eps
        projected = self.ops.linear(self.embedding_projection, self.ops.rms_norm(x, norm, eps))
        return self.ops.rms_norm(projected, None, eps)
