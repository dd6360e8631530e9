"""The Hugging Face configs that GGUF metadata describe, and what published configs leave out."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError

_MODEL_TYPE = {"gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "gemma3n": "gemma3n_text"}

_TEXT_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "gemma2": {
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
    },
    "gemma": {
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24_576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
    },
}
_TEXT_HALF = {"gemma3": "gemma3_text", "shieldgemma2": "gemma3_text", "paligemma": "gemma"}


def text_defaults(model_type: Any, text_type: Any) -> Mapping[str, Any] | None:
    """What a `text_config` of this type stands for where it leaves a field out; None for a model without a tower.

    They are Transformers' of that type: the published configs of models with a tower say only what differs.
    """
    half = _TEXT_HALF.get(model_type) if isinstance(model_type, str) else None
    if half is None:
        return None
    known = isinstance(text_type, str) and text_type in _TEXT_DEFAULTS
    return {"model_type": half, **_TEXT_DEFAULTS[text_type if known else half]}


class _Metadata:
    """GGUF metadata of one architecture; a key that is missing or of another type is named by ModelFileError."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, path: str) -> None:
        self._metadata, self._architecture, self._path = metadata, architecture, path

    def need(self, key: str, kind: type) -> Any:
        value = self._metadata.get(f"{self._architecture}.{key}")
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.fail(key, f"is {value!r}; a {kind.__name__} is needed")
        return value

    def optional(self, key: str, kind: type, default: Any) -> Any:
        return self.need(key, kind) if f"{self._architecture}.{key}" in self._metadata else default

    def each(self, key: str, kind: type, layers: int) -> list[Any]:
        """One number for each layer, from a list of them or a single one."""
        value = self._metadata.get(f"{self._architecture}.{key}")
        if not isinstance(value, list | array):
            return [self.need(key, kind)] * layers
        if len(value) != layers or not all(type(one) is kind for one in value):
            raise self.fail(key, f"does not give {layers} layers a {kind.__name__} each")
        return list(value)

    def fail(self, key: str, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: metadata {self._architecture}.{key} {what}")


def config_from_gguf(metadata: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The Hugging Face text config that GGUF metadata describe.

    GGUF has no query scale: llama.cpp derives it from the size (hidden / heads for the 27B models,
    else the head size), and so does this. Raises ModelFileError or UnsupportedModelError.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in _MODEL_TYPE:
        known = ", ".join(_MODEL_TYPE)
        raise UnsupportedModelError(f"{path}: architecture {architecture!r} is not supported; supported: {known}")
    found = _Metadata(metadata, architecture, path)
    need, optional = found.need, found.optional
    heads, hidden, layers = (need(key, int) for key in ("attention.head_count", "embedding_length", "block_count"))
    if heads < 1 or hidden < 1:
        raise ModelFileError(f"{path}: {heads} heads over {hidden} channels; both must be positive")
    head_dim = optional("attention.key_length", int, hidden // heads)
    since_gemma3 = architecture in ("gemma3", "gemma3n")
    config: dict[str, Any] = {
        "model_type": _MODEL_TYPE[architecture],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": optional("attention.head_count_kv", int, heads),
        "head_dim": head_dim,
        "rms_norm_eps": need("attention.layer_norm_rms_epsilon", float),
        "max_position_embeddings": need("context_length", int),
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": optional("rope.freq_base", float, 1e6 if since_gemma3 else 1e4),
    }
    if architecture != "gemma":
        config["sliding_window"] = need("attention.sliding_window", int)
        config["layer_types"] = _layer_types(architecture, layers, metadata, path)
    if since_gemma3:
        config["rope_local_base_freq"] = optional("rope.freq_base_swa", float, 1e4)
    if architecture == "gemma3n":
        return config | _config_of_gemma3n(found, layers)
    config["intermediate_size"] = need("feed_forward_length", int)
    if architecture == "gemma":
        return config
    largest = {"gemma2": 46, "gemma3": 62}[architecture]
    config["query_pre_attn_scalar"] = hidden // heads if layers == largest else head_dim
    if architecture == "gemma2":
        config["attn_logit_softcapping"] = optional("attn_logit_softcapping", float, 50.0)
        config["final_logit_softcapping"] = optional("final_logit_softcapping", float, 30.0)
    else:
        config["final_logit_softcapping"] = optional("final_logit_softcapping", float, None)
        if optional("rope.scaling.type", str, "none") == "linear":
            config["rope_scaling"] = {"rope_type": "linear", "factor": need("rope.scaling.factor", float)}
    return config


def _config_of_gemma3n(found: _Metadata, layers: int) -> dict[str, Any]:
    """What Gemma 3n alone has. GGUF keeps the quantile at which a gate is cut, the config the share cut off."""
    quantiles = found.each("activation_sparsity_scale", float, layers)
    return {
        "intermediate_size": found.each("feed_forward_length", int, layers),
        "final_logit_softcapping": found.optional("final_logit_softcapping", float, 30.0),
        "altup_active_idx": found.optional("altup.active_idx", int, 0),
        "altup_num_inputs": found.optional("altup.num_inputs", int, 4),
        "hidden_size_per_layer_input": found.need("embedding_length_per_layer_input", int),
        "num_kv_shared_layers": found.need("attention.shared_kv_layers", int),
        "activation_sparsity_pattern": [round(NormalDist().cdf(quantile), 6) for quantile in quantiles],
    }


def vision_config_from_gguf(metadata: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The Hugging Face config, and the fields of its preprocessor, that the metadata of Gemma 3's image tower describe.

    Raises ModelFileError.
    """
    need = _Metadata(metadata, "clip.vision", path).need
    optional = _Metadata(metadata, "clip.vision", path).optional
    vision = {
        "hidden_size": need("embedding_length", int),
        "intermediate_size": need("feed_forward_length", int),
        "num_hidden_layers": need("block_count", int),
        "num_attention_heads": need("attention.head_count", int),
        "image_size": need("image_size", int),
        "patch_size": need("patch_size", int),
        "layer_norm_eps": need("attention.layer_norm_epsilon", float),
    }
    pooled = optional("projector.scale_factor", int, 4)
    if min(pooled, vision["patch_size"]) < 1:
        raise ModelFileError(f"{path}: patches of {vision['patch_size']}, pooled by {pooled}; both must be positive")
    side = vision["image_size"] // vision["patch_size"] // pooled
    normal = {f"image_{name}": metadata.get(f"clip.vision.image_{name}") for name in ("mean", "std")}
    return {
        "model_type": "gemma3",
        "vision_config": vision,
        "text_config": {"hidden_size": need("projection_dim", int)},
        "mm_tokens_per_image": side * side,
    } | {name: list(value) for name, value in normal.items() if isinstance(value, array)}


def _layer_types(architecture: str, layers: int, metadata: Mapping[str, Any], path: str) -> list[str]:
    """Which layers slide: an array of flags (true slides), or a period whose last layer is full."""
    if not 1 <= layers <= 1024:
        raise ModelFileError(f"{path}: metadata {architecture}.block_count is {layers}; 1 to 1024 are possible")
    key = f"{architecture}.attention.sliding_window_pattern"
    pattern = metadata.get(key, {"gemma2": 2, "gemma3": 6, "gemma3n": 5}[architecture])
    if type(pattern) is int and pattern >= 1:
        slides = [i % pattern < pattern - 1 for i in range(layers)]
    elif isinstance(pattern, list) and len(pattern) == layers and all(type(flag) is bool for flag in pattern):
        slides = pattern
    else:
        raise ModelFileError(f"{path}: metadata {key} is neither a period nor {layers} flags")
    return ["sliding_attention" if flag else "full_attention" for flag in slides]
