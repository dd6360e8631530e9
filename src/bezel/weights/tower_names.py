"""Tensor names of the towers for images and sounds, in GGUF files and in Hugging Face checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bezel.errors import UnsupportedModelError

_HF_TOWER_PREFIX = re.compile(r"(?:model\.){0,2}")


def vision_from_hugging_face(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of an image tower and its projector."""
    found = {}
    for name in stored:
        canonical = _HF_TOWER_PREFIX.sub("", name, count=1)
        canonical = canonical.replace("vision_tower.vision_model.", "vision_tower.", 1)
        if canonical.startswith(("vision_tower.", "multi_modal_projector.")):
            found[canonical] = name
    return found


def gemma3n_vision_from_hugging_face(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of Gemma 3n's image tower and its projection; empty without a tower."""
    return _tower_of_gemma3n(stored, "vision_tower.", "embed_vision.")


VISION_OF_GEMMA3N = {
    "v.blk.": "vision_tower.timm_model.blocks.",
    "v.": "vision_tower.timm_model.",
    "mm.embedding.": "embed_vision.embedding.",
    "mm.hard_emb_norm.": "embed_vision.hard_embedding_norm.",
    "mm.soft_emb_norm.": "embed_vision.soft_embedding_norm.",
    "mm.input_projection.": "embed_vision.embedding_projection.",
}
"""How names begin in llama.cpp's files and how canonical ones do."""


def gemma3n_vision_from_gguf(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of the tensors that llama.cpp's converter writes of Gemma 3n's image tower."""
    found = {}
    for name in stored:
        prefix = next((prefix for prefix in VISION_OF_GEMMA3N if name.startswith(prefix)), None)
        if prefix:
            found[VISION_OF_GEMMA3N[prefix] + name.removeprefix(prefix)] = name
    return found


_VISION = {
    "v.patch_embd": "vision_tower.embeddings.patch_embedding",
    "v.position_embd": "vision_tower.embeddings.position_embedding",
    "v.post_ln": "vision_tower.post_layernorm",
}
_VISION_LAYER = {
    "ln1": "layer_norm1",
    "ln2": "layer_norm2",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
_VISION_PROJECTOR = {
    "mm.input_projection.weight": "multi_modal_projector.mm_input_projection_weight",
    "mm.soft_emb_norm.weight": "multi_modal_projector.mm_soft_emb_norm.weight",
}


def vision_from_gguf(stored: Iterable[str], swapped: bool = False) -> dict[str, str]:
    """Canonical name -> stored name, of the tensors of llama.cpp's file for Gemma 3's image tower.

    `swapped`: the first such files call the feed-forward's way up `ffn_down`, and its way down `ffn_up`.
    """
    layer = _VISION_LAYER | ({"ffn_down": "mlp.fc1", "ffn_up": "mlp.fc2"} if swapped else {})
    found = {}
    for name in stored:
        whole, _, kind = name.rpartition(".")
        match = re.fullmatch(r"v\.blk\.(\d{1,6})\.(\w+)\.(weight|bias)", name)
        if name in _VISION_PROJECTOR:
            found[_VISION_PROJECTOR[name]] = name
        elif whole in _VISION and kind in ("weight", "bias"):
            found[f"{_VISION[whole]}.{kind}"] = name
        elif match and match[2] in layer:
            found[f"vision_tower.encoder.layers.{match[1]}.{layer[match[2]]}.{match[3]}"] = name
    return found


def vision_to_gguf(canonical: str) -> str:
    """The name in llama.cpp's file of a tensor of Gemma 3's image tower. Raises UnsupportedModelError."""
    layers = {
        f"vision_tower.encoder.layers.{{}}.{name}": f"v.blk.{{}}.{stored}" for stored, name in _VISION_LAYER.items()
    }
    projector = {name: stored for stored, name in _VISION_PROJECTOR.items()}
    return projector.get(canonical) or _inverse(canonical, {name: stored for stored, name in _VISION.items()} | layers)


def audio_to_gguf(canonical: str) -> str:
    """The name in llama.cpp's file of a tensor of Gemma 3n's audio tower. Raises UnsupportedModelError."""
    blocks = {f"audio_tower.conformer.{{}}.{name}": f"a.blk.{{}}.{stored}" for stored, name in _AUDIO_BLOCK.items()}
    scale = re.fullmatch(r"audio_tower\.conformer\.(\d+)\.attention\.attn\.per_dim_scale", canonical)
    if scale:
        return f"a.blk.{scale[1]}.per_dim_scale.weight"
    return _inverse(canonical, {name: stored for stored, name in _AUDIO.items()} | blocks)


def _inverse(canonical: str, stored: Mapping[str, str]) -> str:
    """By a table of names without their ending, and with {} for a layer's number."""
    whole, _, ending = canonical.rpartition(".")
    number = re.search(r"\.(\d+)\.", whole)
    pattern = whole if whole in stored or number is None else whole.replace(number[0], ".{}.", 1)
    if pattern not in stored or ending not in ("weight", "bias"):
        raise UnsupportedModelError(f"tensor {canonical} has no name in llama.cpp's files of towers")
    return f"{stored[pattern].format(number[1] if number else '')}.{ending}"


_AUDIO = {
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
_AUDIO_BLOCK = {
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


def audio_from_hugging_face(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of Gemma 3n's audio tower and its projection; empty without a tower."""
    return _tower_of_gemma3n(stored, "audio_tower.", "embed_audio.")


def _tower_of_gemma3n(stored: Iterable[str], tower: str, projection: str) -> dict[str, str]:
    names = {name.removeprefix("model."): name for name in stored}
    if not any(name.startswith(tower) for name in names):
        return {}
    return {name: names[name] for name in names if name.startswith((tower, projection))}


def audio_from_gguf(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of the tensors that llama.cpp's converter writes of the same."""
    found = {}
    for name in stored:
        block = re.fullmatch(r"a\.blk\.(\d{1,6})\.(\w+?)(?:\.weight)?", name)
        whole = name.removesuffix(".weight")
        if whole in _AUDIO:
            found[f"{_AUDIO[whole]}.weight"] = name
        elif block and block[2] == "per_dim_scale":
            found[f"audio_tower.conformer.{block[1]}.attention.attn.per_dim_scale"] = name
        elif block and block[2] in _AUDIO_BLOCK:
            found[f"audio_tower.conformer.{block[1]}.{_AUDIO_BLOCK[block[2]]}.weight"] = name
    return found
