"""Which model file runs which `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.models.gemma import Gemma1
from bezel.models.gemma2 import Gemma2
from bezel.models.gemma3 import Gemma3
from bezel.models.gemma3n import Gemma3n
from bezel.models.interface import Family, TextModel, Weights


def _paligemma(config: Mapping[str, Any], weights: Weights, context: int | None = None) -> TextModel:
    """The text half of a PaliGemma, which is a Gemma 1, or of a PaliGemma 2."""
    halves: Mapping[str, Family] = {"gemma": Gemma1, "gemma2": Gemma2}
    kind = config.get("model_type", "gemma")
    if kind not in halves:
        raise UnsupportedModelError(
            f"text_config.model_type {kind!r} is no text half of PaliGemma; it is gemma or gemma2"
        )
    return halves[kind](config, weights, context)


FAMILIES: Mapping[str, Family] = {
    "gemma": Gemma1,
    "gemma2": Gemma2,
    "gemma3_text": Gemma3,
    "gemma3": Gemma3,
    "gemma3n_text": Gemma3n,
    "gemma3n": Gemma3n,
    "paligemma": _paligemma,
    "shieldgemma2": Gemma3,
}


def build(config: Mapping[str, Any], weights: Weights, context: int | None = None) -> TextModel:
    """The text model of a Hugging Face config; of a multimodal one, its `text_config`.

    Raises UnsupportedModelError for a `model_type` without an implementation, ModelFileError for a bad config.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnsupportedModelError(f"model_type {model_type!r} is not supported; supported: {', '.join(FAMILIES)}")
    text_config = config.get("text_config", config)
    if not isinstance(text_config, Mapping):
        raise ModelFileError("config: text_config is not an object")
    return FAMILIES[model_type](text_config, weights, context)
