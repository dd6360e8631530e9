"""The one renaming table: tensor names of GGUF and of Hugging Face checkpoints, and GGUF's config keys."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from statistics import NormalDist
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
_TOP_OF_GEMMA3N = _TOP | {
    "per_layer_token_embd.weight": "embed_tokens_per_layer.weight",
    "per_layer_model_proj.weight": "per_layer_model_projection.weight",
    "per_layer_proj_norm.weight": "per_layer_projection_norm.weight",
}
# One tensor of three sizes in GGUF, a matrix for each stream but the first here.
_STACKED = {"altup_proj.weight": "altup_projections", "altup_unembd_proj.weight": "altup_unembed_projections"}
_LAYER_OF_GEMMA3N = {
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
    "altup_correct_coef": "altup.correction_coefs",
    "altup_predict_coef": "altup.prediction_coefs",
    "altup_router": "altup.modality_router",
    "altup_router_norm": "altup.router_norm",
    "laurel_l": "laurel.linear_left",
    "laurel_r": "laurel.linear_right",
    "laurel_post_norm": "laurel.post_laurel_norm",
}
# The only layer's tensor whose name in Hugging Face checkpoints does not end in ".weight".
_SCALE_OF_ALTUP = "altup_correct_scale", "altup.correct_output_scale"
_MODEL_TYPE = {"gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "gemma3n": "gemma3n_text"}
NORMS_ARE_WHOLE = ("gemma3n", "gemma3n_text")
"""Model types whose Hugging Face checkpoints store the whole multiplier of a norm, not what it has over 1."""
# Of a text model alone, and beside towers as Transformers wrote it before its version 5 and since; a classifier
# (ShieldGemma 2) has it behind one or two "model." more.
_HF_PREFIX = re.compile(r"(?:model\.){1,3}(?:language_model\.)?(?:model\.)?|language_model\.model\.")
_HF_TOWER_PREFIX = re.compile(r"(?:model\.){0,2}")


def _layer_names(architecture: str) -> dict[str, str]:
    names = _LAYER | (_NORMS_OF_GEMMA1 if architecture == "gemma" else _NORMS_SINCE_GEMMA2)
    return names | _LAYER_OF_GEMMA3N if architecture == "gemma3n" else names


def _top_names(architecture: str) -> dict[str, str]:
    return _TOP_OF_GEMMA3N if architecture == "gemma3n" else _TOP


def from_gguf(architecture: str, stored: Iterable[str], streams: int = 4) -> dict[str, str]:
    """Canonical name -> GGUF name, for every tensor that the table knows; others are left out.

    A tensor that stacks matrices, of all `streams` but the first, stands under the name of each: see `part_of`.
    """
    top, layer_names = _top_names(architecture), _layer_names(architecture)
    names = {}
    for name in stored:
        match = re.fullmatch(r"blk\.(\d{1,6})\.(\w+)\.weight", name)
        if name in top:
            names[top[name]] = name
        elif match and match[2] in layer_names:
            names[f"layers.{match[1]}.{layer_names[match[2]]}.weight"] = name
        elif architecture == "gemma3n" and match and match[2] == _SCALE_OF_ALTUP[0]:
            names[f"layers.{match[1]}.{_SCALE_OF_ALTUP[1]}"] = name
        elif architecture == "gemma3n" and name in _STACKED:
            names |= {f"{_STACKED[name]}.{part}.weight": name for part in range(streams - 1)}
    return names


def part_of(canonical: str) -> int | None:
    """Which matrix of a GGUF tensor that stacks several has this name; None where it has a tensor of its own."""
    match = re.fullmatch(rf"(?:{'|'.join(_STACKED.values())})\.(\d+)\.weight", canonical)
    return int(match[1]) if match else None


def to_gguf(architecture: str, canonical: str) -> str:
    """The GGUF name of a canonical one; UnsupportedModelError where the table has none."""
    for stored, name in _top_names(architecture).items():
        if name == canonical:
            return stored
    if architecture == "gemma3n" and part_of(canonical) is not None:
        return next(stored for stored, name in _STACKED.items() if canonical.startswith(f"{name}."))
    scale = re.fullmatch(rf"layers\.(\d+)\.{re.escape(_SCALE_OF_ALTUP[1])}", canonical)
    if scale and architecture == "gemma3n":
        return f"blk.{scale[1]}.{_SCALE_OF_ALTUP[0]}.weight"
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
        prefix = _HF_PREFIX.match(name)
        if re.fullmatch(r"(?:model\.){0,2}(?:language_model\.)?lm_head\.weight", name):
            names["lm_head.weight"] = name
        elif prefix:
            names[name[prefix.end() :]] = name
        elif name.startswith(("embed_tokens.", "layers.", "norm.")):  # a text model without a head, as embeddings have
            names[name] = name
    return names


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


_VISION_OF_GEMMA3N = {
    "v.blk.": "vision_tower.timm_model.blocks.",
    "v.": "vision_tower.timm_model.",
    "mm.embedding.": "embed_vision.embedding.",
    "mm.hard_emb_norm.": "embed_vision.hard_embedding_norm.",
    "mm.soft_emb_norm.": "embed_vision.soft_embedding_norm.",
    "mm.input_projection.": "embed_vision.embedding_projection.",
}


def gemma3n_vision_from_gguf(stored: Iterable[str]) -> dict[str, str]:
    """Canonical name -> stored name, of the tensors that llama.cpp's converter writes of Gemma 3n's image tower."""
    found = {}
    for name in stored:
        prefix = next((prefix for prefix in _VISION_OF_GEMMA3N if name.startswith(prefix)), None)
        if prefix:
            found[_VISION_OF_GEMMA3N[prefix] + name.removeprefix(prefix)] = name
    return found


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
