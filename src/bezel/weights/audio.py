"""Where the audio tower of a checkpoint lies, and its names: in the folder with the text model, or in a GGUF file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bezel.errors import UnknownModelError, UnsupportedModelError
from bezel.models.leaves import field_of
from bezel.weights.checkpoint import Checkpoint
from bezel.weights.gguf import GGUFFile

_GGUF = {
    "a.conv1d.0": "audio_tower.subsample_conv_projection.conv_0.conv",
    "a.conv1d.0.norm": "audio_tower.subsample_conv_projection.conv_0.norm",
    "a.conv1d.1": "audio_tower.subsample_conv_projection.conv_1.conv",
    "a.conv1d.1.norm": "audio_tower.subsample_conv_projection.conv_1.norm",
    "a.pre_encode.out": "audio_tower.subsample_conv_projection.input_proj_linear",
    "mm.a.embedding": "embed_audio.embedding",
    "mm.a.hard_emb_norm": "embed_audio.hard_embedding_norm",
    "mm.a.soft_emb_norm": "embed_audio.soft_embedding_norm",
    "mm.a.input_projection": "embed_audio.embedding_projection",
}
_GGUF_BLOCK = {
    "ffn_norm": "ffw_layer_start.pre_layer_norm",
    "ffn_up": "ffw_layer_start.ffw_layer_1",
    "ffn_down": "ffw_layer_start.ffw_layer_2",
    "ffn_post_norm": "ffw_layer_start.post_layer_norm",
    "ln1": "attention.pre_attn_norm",
    "attn_q": "attention.attn.q_proj",
    "attn_k": "attention.attn.k_proj",
    "attn_v": "attention.attn.v_proj",
    "linear_pos": "attention.attn.relative_position_embedding.pos_proj",
    "attn_out": "attention.post",
    "ln2": "attention.post_norm",
    "conv_norm": "lconv1d.pre_layer_norm",
    "conv_pw1": "lconv1d.linear_start",
    "conv_dw": "lconv1d.depthwise_conv1d",
    "norm_conv": "lconv1d.conv_norm",
    "conv_pw2": "lconv1d.linear_end",
    "ffn_norm_1": "ffw_layer_end.pre_layer_norm",
    "ffn_up_1": "ffw_layer_end.ffw_layer_1",
    "ffn_down_1": "ffw_layer_end.ffw_layer_2",
    "ffn_post_norm_1": "ffw_layer_end.post_layer_norm",
    "layer_pre_norm": "norm",
}


def from_hugging_face(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of Gemma 3n's audio tower and its projection."""
    names = {name.removeprefix("model."): name for name in stored}
    return {name: names[name] for name in names if name.startswith(("audio_tower.", "embed_audio."))}


def from_gguf(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of the tensors that llama.cpp's converter writes of the same."""
    found = {}
    for name in stored:
        block = re.fullmatch(r"a\.blk\.(\d{1,6})\.(\w+?)(?:\.weight)?", name)
        whole = name.removesuffix(".weight")
        if whole in _GGUF:
            found[f"{_GGUF[whole]}.weight"] = name
        elif block and block[2] == "per_dim_scale":
            found[f"audio_tower.conformer.{block[1]}.attention.attn.per_dim_scale"] = name
        elif block and block[2] in _GGUF_BLOCK:
            found[f"audio_tower.conformer.{block[1]}.{_GGUF_BLOCK[block[2]]}.weight"] = name
    return found


def audio_of(checkpoint: Checkpoint, beside: Path | None = None) -> Checkpoint | None:
    """A view of the tower and projection of Gemma 3n, closed as any checkpoint; None where there are none.

    Of a GGUF file the view is llama.cpp's `mmproj` file, which has to be named: `beside`. Raises ModelFileError,
    UnsupportedModelError, and UnknownModelError where `beside` does not exist.
    """
    if beside is not None and not beside.is_file():
        raise UnknownModelError(f"{beside}: no such file; give the mmproj file of the model")
    if beside is not None:
        return open_audio(beside)
    stored = from_hugging_face(checkpoint.source.tensors)
    if checkpoint.config["model_type"] != "gemma3n" or not stored:
        return None
    return replace(checkpoint, stored_names=stored, norms_lack_one=False)


def open_audio(path: Path) -> Checkpoint:
    """Open llama.cpp's file of a tower. Raises ModelFileError, and UnsupportedModelError for one of another model."""
    file = GGUFFile.open(path)
    kind = file.metadata.get("clip.audio.projector_type", file.metadata.get("clip.projector_type"))
    if file.metadata.get("general.architecture") != "clip" or kind != "gemma3na":
        raise UnsupportedModelError(f"{path}: projector {kind!r} is no audio tower of Gemma 3n")
    view = Checkpoint(path, {}, file, from_gguf(file.tensors), norms_lack_one=False, metadata=file.metadata)
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
    audio = {name: field_of(view.metadata, f"clip.audio.{key}", int) for name, key in fields.items()}
    audio["sscp_conv_channel_size"] = tuple(view.info(tower.format(i)).columns for i in range(2))
    audio["vocab_size"] = view.info("embed_audio.embedding.weight").shape[0]
    hidden = field_of(view.metadata, "clip.audio.projection_dim", int)
    return {"model_type": "gemma3n", "audio_config": audio, "text_config": {"hidden_size": hidden}}
