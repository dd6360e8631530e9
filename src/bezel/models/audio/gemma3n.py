"""How Gemma 3n hears: a conformer, projected to 6.25 soft tokens a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bezel.errors import InvalidRequestError
from bezel.kernels.interface import F32
from bezel.models import embedder
from bezel.models.audio import usm
from bezel.models.interface import Weights
from bezel.models.leaves import field_of


class Gemma3nAudio:
    """From log-mel bands to soft tokens, which stand in the place of token embeddings as they are.

    `tokens`: what the model was given of every sound, however short: those of 30 s. `end` [1, hidden] is the embedding
    of the id that stands behind a sound: it lies above the text's, as all in `embed_audio.hard` do.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = embedder.Config.from_hf(config, "audio_config")
        self.tokens = field_of(config, "audio_soft_tokens_per_image", int, 188)
        self.audio_tower = usm.Conformer(usm.Config.from_hf(config["audio_config"]), weights)
        end_id = field_of(config, "eoa_token_id", int, 262_272)
        self.embed_audio = embedder.MultimodalEmbedder(self.config, weights, "embed_audio.", end_id)
        self.end = self.embed_audio.end

    def __call__(self, features: F32, frames: int | None = None) -> F32:
        """Log-mel bands [frames, bands] -> the sound's own soft tokens [rows, hidden]; `frames`: see the tower."""
        return self.embed_audio(self.audio_tower(features, frames))

    def filled(self, features: F32, frames: int | None = None) -> F32:
        """The soft tokens with padding behind them, as the model was given them: [tokens, hidden].

        InvalidRequestError for a sound that has more, which a caller cuts first.
        """
        soft = self(features, frames)
        if len(soft) > self.tokens:
            raise InvalidRequestError(
                f"a sound of {len(features)} frames has {len(soft)} soft tokens; cut it to parts of {self.tokens}"
            )
        return np.concatenate([soft, np.repeat(self.embed_audio.hard[-1:], self.tokens - len(soft), axis=0)])

    def span(self, features: F32) -> F32:
        """What stands in a prompt: `filled`, and the end of the sound: [tokens + 1, hidden]."""
        return np.concatenate([self.filled(features), self.end])
