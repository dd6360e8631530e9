"""Where the audio tower of a checkpoint lies: in the folder with the text model, or in a GGUF file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bezel.errors import UnknownModelError, UnsupportedModelError
from bezel.models.leaves import field_of
from bezel.weights import tower_names
from bezel.weights.checkpoint import Checkpoint
from bezel.weights.gguf import GGUFFile
from bezel.weights.projectors import projectors

SOFT_TOKENS = "bezel.audio.soft_tokens"
"""GGUF's key for how many soft tokens a sound has, where those are not the 188 of published models."""


def audio_of(checkpoint: Checkpoint, beside: Path | None = None) -> Checkpoint | None:
    """A view of the tower and projection of Gemma 3n, closed as any checkpoint; None where there are none.

    Of a GGUF file the view is llama.cpp's `mmproj` file, which has to be named: `beside`. Raises ModelFileError,
    UnsupportedModelError, and UnknownModelError where `beside` does not exist.
    """
    if beside is not None and not beside.is_file():
        raise UnknownModelError(f"{beside}: no such file; give the mmproj file of the model")
    if beside is not None:
        return open_audio(beside)
    stored = tower_names.audio_from_hugging_face(checkpoint.source.tensors)
    if checkpoint.config.get("model_type") != "gemma3n" or not stored:
        return None
    return replace(checkpoint, stored_names=stored, norms_lack_one=False)


def open_audio(path: Path) -> Checkpoint:
    """Open llama.cpp's file of a tower. Raises ModelFileError, and UnsupportedModelError for one of another model."""
    file = GGUFFile.open(path)
    kind = projectors(file.metadata).get("audio")
    if kind != "gemma3na":
        raise UnsupportedModelError(f"{path}: projector {kind!r} is no audio tower of Gemma 3n")
    view = Checkpoint(
        path, {}, file, tower_names.audio_from_gguf(file.tensors), norms_lack_one=False, metadata=file.metadata
    )
    with view.named_in_errors():
        return replace(view, config=_config(view))


def _config(view: Checkpoint) -> Mapping[str, Any]:
    """The Hugging Face config, as far as metadata and tensors tell; the rest is as in all published models.

    The epsilon of the metadata is the converter's own, and no norm of the tower has it.
    """
    tower = "audio_tower.subsample_conv_projection.conv_{}.norm.weight"
    fields = {
        "hidden_size": "embedding_length",
        "conf_num_hidden_layers": "block_count",
        "conf_num_attention_heads": "attention.head_count",
        "input_feat_size": "num_mel_bins",
    }
    audio = {field: field_of(view.metadata, f"clip.audio.{key}", int) for field, key in fields.items()}
    audio["sscp_conv_channel_size"] = tuple(view.info(tower.format(i)).columns for i in range(2))
    audio["vocab_size"] = view.info("embed_audio.embedding.weight").shape[0]
    hidden = field_of(view.metadata, "clip.audio.projection_dim", int)
    config = {"model_type": "gemma3n", "audio_config": audio, "text_config": {"hidden_size": hidden}}
    if SOFT_TOKENS in view.metadata:
        config["audio_soft_tokens_per_image"] = field_of(view.metadata, SOFT_TOKENS, int)
    return config
