"""What the files of Gemma 3n hold: tensors and their shapes, precisions, and GGUF metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from statistics import NormalDist

from bezel.kernels.interface import Format
from bezel.models.gemma3n import Config
from bezel.weights.gguf_writer import Kind, Typed

Shapes = dict[str, tuple[int, ...]]

TABLE = "embed_tokens_per_layer.weight"
_SMALL = re.compile(r"layers\.\d+\.altup\.\w+\.weight")
_FINE = re.compile(r"altup_(unembed_)?projections\.\d+|layers\.\d+\.laurel\.linear_\w+|per_layer_model_projection")


def shapes(config: Config) -> Shapes:
    """Canonical tensor name -> shape, of all that the model reads."""
    hidden, rank, size = config.hidden_size, config.laurel_rank, config.per_layer_size
    queries, keys, streams = config.heads * config.head_dim, config.kv_heads * config.head_dim, config.altup_num_inputs
    found: Shapes = {
        "embed_tokens.weight": (config.vocab_size, hidden),
        TABLE: (config.per_layer_vocabulary, config.layers * size),
        "per_layer_model_projection.weight": (config.layers * size, hidden),
        "per_layer_projection_norm.weight": (size,),
        "norm.weight": (hidden,),
    }
    for which in ("altup_projections", "altup_unembed_projections"):
        found |= {f"{which}.{i}.weight": (hidden, hidden) for i in range(streams - 1)}
    if not config.tied:
        found["lm_head.weight"] = (config.vocab_size, hidden)
    for i, width in enumerate(config.intermediate_sizes):
        layer: Shapes = {
            "input_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (queries, hidden),
            "self_attn.q_norm.weight": (config.head_dim,),
            "self_attn.o_proj.weight": (hidden, queries),
            "post_attention_layernorm.weight": (hidden,),
            "pre_feedforward_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (width, hidden),
            "mlp.up_proj.weight": (width, hidden),
            "mlp.down_proj.weight": (hidden, width),
            "post_feedforward_layernorm.weight": (hidden,),
            "altup.router_norm.weight": (hidden,),
            "altup.modality_router.weight": (streams, hidden),
            "altup.prediction_coefs.weight": (streams * streams, streams),
            "altup.correction_coefs.weight": (streams, streams),
            "laurel.linear_left.weight": (rank, hidden),
            "laurel.linear_right.weight": (hidden, rank),
            "laurel.post_laurel_norm.weight": (hidden,),
            "per_layer_input_gate.weight": (size, hidden),
            "per_layer_projection.weight": (hidden, size),
            "post_per_layer_input_norm.weight": (hidden,),
        }
        if config.altup_correct_scale:
            layer["altup.correct_output_scale"] = (hidden,)
        if config.shared_with[i] is None:
            layer |= _keys_and_values(keys, hidden, config.head_dim)
        found |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return found


def unused_shapes(config: Config) -> Shapes:
    """Keys and values of layers that share others': Google's files have them, Transformers leaves them out when it
    saves, nothing reads them, and llama.cpp loads no file without them."""
    one = _keys_and_values(config.kv_heads * config.head_dim, config.hidden_size, config.head_dim)
    shared = [i for i, source in enumerate(config.shared_with) if source is not None]
    return {f"layers.{i}.{name}": shape for i in shared for name, shape in one.items()}


def _keys_and_values(keys: int, hidden: int, head: int) -> Shapes:
    return {
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.k_norm.weight": (head,),
    }


def format_at(name: str, level: Format) -> Format:
    """The format of a matrix at a level. What mixes the streams is small, so it is kept finer than the rest."""
    if _SMALL.fullmatch(name):
        return Format.F32
    return Format.Q8_0 if level is Format.Q4_0 and _FINE.match(name) else level


def metadata(config: Config) -> Mapping[str, Typed]:
    """GGUF's keys that Gemma 3n alone has, without the architecture in front."""
    widths = config.intermediate_sizes
    quantiles = [NormalDist().inv_cdf(share) if share else -math.inf for share in config.sparsity]
    return {
        "feed_forward_length": Typed(Kind.UINT32, widths[0] if len(set(widths)) == 1 else list(widths)),
        "attention.sliding_window": Typed(Kind.UINT32, config.window),
        "attention.sliding_window_pattern": Typed(Kind.BOOL, list(config.sliding)),
        "attention.shared_kv_layers": Typed(Kind.UINT32, config.layers - config.first_shared),
        "rope.freq_base_swa": Typed(Kind.FLOAT32, config.rope_local_theta),
        "altup.active_idx": Typed(Kind.UINT32, config.altup_active_idx),
        "altup.num_inputs": Typed(Kind.UINT32, config.altup_num_inputs),
        "embedding_length_per_layer_input": Typed(Kind.UINT32, config.per_layer_size),
        "activation_sparsity_scale": Typed(Kind.FLOAT32, quantiles),
    }
