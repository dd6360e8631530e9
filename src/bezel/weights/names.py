"""The one renaming table: tensor names of text models in GGUF files and in Hugging Face checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bezel.errors import UnsupportedModelError

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
NORMS_ARE_WHOLE = ("gemma3n", "gemma3n_text")
"""Model types whose Hugging Face checkpoints store the whole multiplier of a norm, not what it has over 1."""
# Of a text model alone, and beside towers as Transformers wrote it before its version 5 and since; a classifier
# (ShieldGemma 2) has it behind one or two "model." more.
_HF_PREFIX = re.compile(r"(?:model\.){1,3}(?:language_model\.)?(?:model\.)?|language_model\.model\.")


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
