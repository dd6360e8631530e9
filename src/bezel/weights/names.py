"""The one renaming table: tensor names of GGUF and of Hugging Face checkpoints, and GGUF's config keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError

_TOP = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORMS_OF_GEMMA1 = {"ffn_norm": "post_attention_layernorm"}
_NORMS_SINCE_GEMMA2 = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_MODEL_TYPE = {"gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text"}
_HF_PREFIXES = ("language_model.model.", "model.language_model.", "model.")


def _layer_names(architecture: str) -> dict[str, str]:
    return _LAYER | (_NORMS_OF_GEMMA1 if architecture == "gemma" else _NORMS_SINCE_GEMMA2)


def from_gguf(architecture: str, stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> GGUF name, for every tensor that the table knows; others are left out."""
    layer_names = _layer_names(architecture)
    names = {}
    for name in stored:
        match = re.fullmatch(r"blk\.(\d{1,6})\.(\w+)\.weight", name)
        if name in _TOP:
            names[_TOP[name]] = name
        elif match and match[2] in layer_names:
            names[f"layers.{match[1]}.{layer_names[match[2]]}.weight"] = name
    return names


def to_gguf(architecture: str, canonical: str) -> str:
    """The GGUF name of a canonical one; UnsupportedModelError where the table has none."""
    for stored, name in _TOP.items():
        if name == canonical:
            return stored
    match = re.fullmatch(r"layers\.(\d+)\.([\w.]+)\.weight", canonical)
    if match:
        for stored, name in _layer_names(architecture).items():
            if name == match[2]:
                return f"blk.{match[1]}.{stored}.weight"
    raise UnsupportedModelError(f"tensor {canonical} has no name in GGUF's {architecture} architecture")


def from_hugging_face(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of the text part of a Hugging Face checkpoint."""
    names = {}
    for name in stored:
        if name in ("lm_head.weight", "language_model.lm_head.weight"):
            names["lm_head.weight"] = name
            continue
        for prefix in _HF_PREFIXES:
            if name.startswith(prefix):
                names[name.removeprefix(prefix)] = name
                break
    return names


def config_from_gguf(metadata: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The Hugging Face text config that GGUF metadata describe.

    GGUF has no query scale: llama.cpp derives it from the size (hidden / heads for the 27B models,
    else the head size), and so does this. Raises ModelFileError or UnsupportedModelError.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in _MODEL_TYPE:
        known = ", ".join(_MODEL_TYPE)
        raise UnsupportedModelError(f"{path}: architecture {architecture!r} is not supported; supported: {known}")

    def need(key: str, kind: type) -> Any:
        value = metadata.get(f"{architecture}.{key}")
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ModelFileError(f"{path}: metadata {architecture}.{key} is {value!r}; a {kind.__name__} is needed")
        return value

    def optional(key: str, kind: type, default: Any) -> Any:
        return need(key, kind) if f"{architecture}.{key}" in metadata else default

    heads, hidden, layers = (need(key, int) for key in ("attention.head_count", "embedding_length", "block_count"))
    if heads < 1 or hidden < 1:
        raise ModelFileError(f"{path}: {heads} heads over {hidden} channels; both must be positive")
    head_dim = optional("attention.key_length", int, hidden // heads)
    config: dict[str, Any] = {
        "model_type": _MODEL_TYPE[architecture],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": need("feed_forward_length", int),
        "num_attention_heads": heads,
        "num_key_value_heads": optional("attention.head_count_kv", int, heads),
        "head_dim": head_dim,
        "rms_norm_eps": need("attention.layer_norm_rms_epsilon", float),
        "max_position_embeddings": need("context_length", int),
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": optional("rope.freq_base", float, 1e6 if architecture == "gemma3" else 1e4),
    }
    if architecture == "gemma":
        return config
    largest = {"gemma2": 46, "gemma3": 62}[architecture]
    config["query_pre_attn_scalar"] = hidden // heads if layers == largest else head_dim
    config["sliding_window"] = need("attention.sliding_window", int)
    config["layer_types"] = _layer_types(architecture, layers, metadata, path)
    if architecture == "gemma2":
        config["attn_logit_softcapping"] = optional("attn_logit_softcapping", float, 50.0)
        config["final_logit_softcapping"] = optional("final_logit_softcapping", float, 30.0)
    else:
        config["rope_local_base_freq"] = optional("rope.freq_base_swa", float, 1e4)
        config["final_logit_softcapping"] = optional("final_logit_softcapping", float, None)
        if optional("rope.scaling.type", str, "none") == "linear":
            config["rope_scaling"] = {"rope_type": "linear", "factor": need("rope.scaling.factor", float)}
    return config


def _layer_types(architecture: str, layers: int, metadata: Mapping[str, Any], path: str) -> list[str]:
    """Which layers slide: an array of flags (true slides), or a period whose last layer is full."""
    if not 1 <= layers <= 1024:
        raise ModelFileError(f"{path}: metadata {architecture}.block_count is {layers}; 1 to 1024 are possible")
    key = f"{architecture}.attention.sliding_window_pattern"
    pattern = metadata.get(key, {"gemma2": 2, "gemma3": 6}[architecture])
    if type(pattern) is int and pattern >= 1:
        slides = [i % pattern < pattern - 1 for i in range(layers)]
    elif isinstance(pattern, list) and len(pattern) == layers and all(type(flag) is bool for flag in pattern):
        slides = pattern
    else:
        raise ModelFileError(f"{path}: metadata {key} is neither a period nor {layers} flags")
    return ["sliding_attention" if flag else "full_attention" for flag in slides]
