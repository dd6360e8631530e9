"""Gemma 3, text (Gemma 3 Technical Report, section 2): 5 sliding layers to 1 full, QK-norm, four norms a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32, Rope
from bezel.models.interface import Batch, CacheSpec, CacheView, LayerCache, Weights
from bezel.models.leaves import embedding_scale, field_of
from bezel.models.rope import RopeTable, reach


@dataclass(frozen=True)
class Config:
    """What the forward pass needs of a `gemma3_text` config; names as in the checkpoint."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    sliding: tuple[bool, ...]
    window: int
    query_scale: float
    eps: float
    context: int
    rope_theta: float
    rope_local_theta: float
    rope_factor: float
    final_soft_cap: float | None
    embedding_scale: float
    tied: bool
    bidirectional: bool

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config, of Transformers 4 or 5; ModelFileError names a field that is wrong."""
        layers = field_of(config, "num_hidden_layers", int)
        kinds = config.get("layer_types")
        if kinds is None:
            period = field_of(config, "sliding_window_pattern", int, 6)
            kinds = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(layers)]
        if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
            raise ModelFileError(f"config: layer_types does not name {layers} full or sliding layers")
        ropes = config.get("rope_parameters") or {}
        full = ropes.get("full_attention") or config.get("rope_scaling") or {}
        if full.get("rope_type", "default") not in ("default", "linear"):
            raise ModelFileError(f"config: rope_type {full['rope_type']!r} is unknown to Gemma 3")
        local = ropes.get("sliding_attention") or {}
        head_dim = field_of(config, "head_dim", int, 256)
        bidirectional = bool(config.get("use_bidirectional_attention"))
        window = field_of(config, "sliding_window", int)
        return cls(
            vocab_size=field_of(config, "vocab_size", int),
            hidden_size=field_of(config, "hidden_size", int),
            intermediate_size=field_of(config, "intermediate_size", int),
            heads=field_of(config, "num_attention_heads", int),
            kv_heads=field_of(config, "num_key_value_heads", int),
            head_dim=head_dim,
            sliding=tuple(kind == "sliding_attention" for kind in kinds),
            window=window // 2 + 1 if bidirectional else window,  # half of it to each side, and the row itself
            query_scale=field_of(config, "query_pre_attn_scalar", float, float(head_dim)) ** -0.5,
            eps=field_of(config, "rms_norm_eps", float, 1e-6),
            context=field_of(config, "max_position_embeddings", int, 131072),
            rope_theta=float(full.get("rope_theta") or field_of(config, "rope_theta", float, 1e6)),
            rope_local_theta=float(local.get("rope_theta") or field_of(config, "rope_local_base_freq", float, 1e4)),
            rope_factor=float(full.get("factor") or 1.0),
            final_soft_cap=config.get("final_logit_softcapping"),
            embedding_scale=embedding_scale(config),
            tied=bool(config.get("tie_word_embeddings", True)),
            bidirectional=bidirectional,
        )


class Attention:
    """Grouped-query attention with QK-norm; sliding or full by layer."""

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        name = f"layers.{layer}.self_attn"
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = weights.matrix(*(f"{name}.{part}_proj.weight" for part in "qkv"), shape=(rows, config.hidden_size))
        self.o_proj = weights.matrix(f"{name}.o_proj.weight", shape=(config.hidden_size, self.heads * self.head_dim))
        self.q_norm = weights.norm(f"{name}.q_norm.weight", self.head_dim)
        self.k_norm = weights.norm(f"{name}.k_norm.weight", self.head_dim)
        self.layer, self.rope, self.eps, self.scale = layer, rope, config.eps, config.query_scale
        self.window = config.window if config.sliding[layer] else None
        self.ops = weights.kernels

    def __call__(self, x: F32, batch: Batch, cache: CacheView) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        ops, kv = self.ops, cache.layer(self.layer)
        heads = ops.linear(self.qkv, x).reshape(len(x), -1, self.head_dim)
        q, k, v = np.split(heads, [self.heads, self.heads + self.kv_heads], axis=1)
        ops.norm_rope(q, self.q_norm, self.eps, self.rope, batch.positions)
        ops.norm_rope(k, self.k_norm, self.eps, self.rope, batch.positions)
        ops.write_cache(k, v, kv, batch.segments)
        return ops.linear(self.o_proj, ops.attention(q, kv, batch.segments, self.scale, self.window, None))


class MLP:
    """The gated feed-forward: down(gelu(gate x) * up x)."""

    def __init__(self, config: Config, weights: Weights, layer: int) -> None:
        name, hidden, inner = f"layers.{layer}.mlp", config.hidden_size, config.intermediate_size
        self.gate_up = weights.matrix(f"{name}.gate_proj.weight", f"{name}.up_proj.weight", shape=(2 * inner, hidden))
        self.down_proj = weights.matrix(f"{name}.down_proj.weight", shape=(hidden, inner))
        self.ops = weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        return self.ops.linear(self.down_proj, self.ops.geglu(self.ops.linear(self.gate_up, x)))


class Block:
    """Attention and feed-forward, each between a norm before and a norm after."""

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        self.self_attn = Attention(config, weights, layer, rope)
        self.mlp = MLP(config, weights, layer)

        def norm(name: str) -> F32:
            return weights.norm(f"layers.{layer}.{name}.weight", config.hidden_size)

        self.input_layernorm = norm("input_layernorm")
        self.post_attention_layernorm = norm("post_attention_layernorm")
        self.pre_feedforward_layernorm = norm("pre_feedforward_layernorm")
        self.post_feedforward_layernorm = norm("post_feedforward_layernorm")
        self.eps, self.ops = config.eps, weights.kernels

    def __call__(self, x: F32, batch: Batch, cache: CacheView) -> None:
        """Add this block's two terms to x [T, hidden], in place."""
        ops, eps = self.ops, self.eps
        attended = self.self_attn(ops.rms_norm(x, self.input_layernorm, eps), batch, cache)
        ops.add_norm(x, attended, self.post_attention_layernorm, eps)
        fed = self.mlp(ops.rms_norm(x, self.pre_feedforward_layernorm, eps))
        ops.add_norm(x, fed, self.post_feedforward_layernorm, eps)


class Gemma3:
    """Gemma 3 text; also FunctionGemma, MedGemma, TranslateGemma and ShieldGemma 2, which share its shape."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, context: int | None = None) -> None:
        self.config = c = Config.from_hf(config)
        self.vocabulary = c.vocab_size
        self.context = c.context if context is None else context
        self.ops = weights.kernels
        full = RopeTable(self.context, c.head_dim, c.rope_theta, c.rope_factor)
        local = RopeTable(self.context, c.head_dim, c.rope_local_theta)
        self.ropes = (full, local)
        self.embed_tokens = weights.matrix("embed_tokens.weight", shape=(c.vocab_size, c.hidden_size))
        self.layers = [Block(c, weights, i, (local if slides else full).rope) for i, slides in enumerate(c.sliding)]
        self.norm = weights.norm("norm.weight", c.hidden_size)
        self.lm_head = (
            self.embed_tokens if c.tied else weights.matrix("lm_head.weight", shape=(c.vocab_size, c.hidden_size))
        )
        self.cache_spec = CacheSpec(
            tuple(LayerCache(c.kv_heads, c.head_dim, c.window if slides else None) for slides in c.sliding)
        )

    def hidden(self, batch: Batch, cache: CacheView) -> F32:
        """The rows of which logits are wanted, behind the last norm: float32 [R, hidden]."""
        reach(self.ropes, batch.positions)
        x = self.ops.embed(self.embed_tokens, batch.ids, self.config.embedding_scale)
        if batch.soft is not None:
            x[batch.soft_rows] = batch.soft
        for layer in self.layers:
            layer(x, batch, cache)
        return self.ops.rms_norm(self.ops.rows(x, batch.logit_rows), self.norm, self.config.eps)

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """See `models.interface.TextModel.forward`."""
        logits = self.ops.linear(self.lm_head, self.hidden(batch, cache))
        if self.config.final_soft_cap is not None:
            self.ops.soft_cap(logits, self.config.final_soft_cap)
        return logits
