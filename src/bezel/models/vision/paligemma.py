"""How PaliGemma sees (PaliGemma report, section 3.1): SigLIP, and a linear projection of every patch to a soft token.

Soft tokens stand in the place of scaled token embeddings as they are projected. Images come first in a prompt; all of
it is a prefix whose rows see each other, and the answer is causal. The text half is Gemma 1 or 2 (`models.registry`).
Transformers counts positions from 1 and this engine from 0, which a rotary embedding cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.leaves import field_of
from bezel.models.vision import siglip


@dataclass(frozen=True)
class Config:
    """What the tower and its projector need of a `paligemma` config. `hidden_size` is the text model's."""

    tower: siglip.Config
    hidden_size: int

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config with a `vision_config`; ModelFileError names a field that is wrong."""
        vision, text = config.get("vision_config"), config.get("text_config")
        if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
            raise ModelFileError("config: vision_config or text_config is not an object")
        return cls(siglip.Config.from_hf(vision), field_of(text, "hidden_size", int))

    @property
    def tokens(self) -> int:
        """Soft tokens of an image: one a patch."""
        return self.tower.patches_per_side**2


class PaliGemmaVision:
    """From pixels to soft tokens."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = Config.from_hf(config)
        self.vision_tower = siglip.Siglip(self.config.tower, weights)
        shape = (self.config.hidden_size, self.config.tower.hidden_size)
        self.multi_modal_projector = siglip.Linear(weights, "multi_modal_projector.linear", shape=shape)

    def __call__(self, pixels: F32) -> F32:
        """Normalised pixels [image_size, image_size, 3] -> soft tokens [patches, hidden]."""
        return self.multi_modal_projector(self.vision_tower(pixels))
