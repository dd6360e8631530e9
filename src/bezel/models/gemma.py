"""Gemma 1 and 1.1 (Gemma report, section 2): full attention in every layer, two norms a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.kernels.interface import F32, Rope
from bezel.models.interface import Batch, CacheSpec, CacheView, LayerCache, Weights
from bezel.models.leaves import embedding_scale, field_of
from bezel.models.rope import RopeTable, reach


@dataclass(frozen=True)
class Config:
    """What the forward pass needs of a `gemma` config; names as in the checkpoint."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    eps: float
    context: int
    rope_theta: float
    embedding_scale: float
    tied: bool

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config, of Transformers 4 or 5; ModelFileError names a field that is wrong."""
        rope = config.get("rope_parameters") or {}
        return cls(
            vocab_size=field_of(config, "vocab_size", int),
            hidden_size=field_of(config, "hidden_size", int),
            intermediate_size=field_of(config, "intermediate_size", int),
            heads=field_of(config, "num_attention_heads", int),
            kv_heads=field_of(config, "num_key_value_heads", int),
            head_dim=field_of(config, "head_dim", int, 256),
            layers=field_of(config, "num_hidden_layers", int),
            eps=field_of(config, "rms_norm_eps", float, 1e-6),
            context=field_of(config, "max_position_embeddings", int, 8192),
            rope_theta=float(rope.get("rope_theta") or field_of(config, "rope_theta", float, 1e4)),
            embedding_scale=embedding_scale(config),
            tied=bool(config.get("tie_word_embeddings", True)),
        )


class Attention:
    """Multi-head (7B) or multi-query (2B) attention over everything before."""

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        name = f"layers.{layer}.self_attn"
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        rows = (self.heads + 2 * self.kv_heads) * self.head_dim
        self.qkv = weights.matrix(*(f"{name}.{part}_proj.weight" for part in "qkv"), shape=(rows, config.hidden_size))
        self.o_proj = weights.matrix(f"{name}.o_proj.weight", shape=(config.hidden_size, self.heads * self.head_dim))
        self.layer, self.rope, self.scale = layer, rope, config.head_dim**-0.5
        self.ops = weights.kernels

    def __call__(self, x: F32, batch: Batch, cache: CacheView) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        ops, kv = self.ops, cache.layer(self.layer)
        heads = ops.linear(self.qkv, x).reshape(len(x), -1, self.head_dim)
        q, k, v = np.split(heads, [self.heads, self.heads + self.kv_heads], axis=1)
        ops.norm_rope(q, None, 0.0, self.rope, batch.positions)
        ops.norm_rope(k, None, 0.0, self.rope, batch.positions)
        ops.write_cache(k, v, kv, batch.segments)
        return ops.linear(self.o_proj, ops.attention(q, kv, batch.segments, self.scale, None, None))


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
    """Attention and feed-forward, each after a norm."""

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        self.self_attn = Attention(config, weights, layer, rope)
        self.mlp = MLP(config, weights, layer)

        def norm(name: str) -> F32:
            return weights.norm(f"layers.{layer}.{name}.weight", config.hidden_size)

        self.input_layernorm = norm("input_layernorm")
        self.post_attention_layernorm = norm("post_attention_layernorm")
        self.eps, self.ops = config.eps, weights.kernels

    def __call__(self, x: F32, batch: Batch, cache: CacheView) -> None:
        """Add this block's two terms to x [T, hidden], in place."""
        ops, eps = self.ops, self.eps
        attended = self.self_attn(ops.rms_norm(x, self.input_layernorm, eps), batch, cache)
        ops.add_norm(x, attended, None, eps)
        fed = self.mlp(ops.rms_norm(x, self.post_attention_layernorm, eps))
        ops.add_norm(x, fed, None, eps)


class Gemma1:
    """Gemma 1 and 1.1; also CodeGemma and the text half of PaliGemma, which have its shape."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, context: int | None = None) -> None:
        self.config = c = Config.from_hf(config)
        self.vocabulary = c.vocab_size
        self.context = c.context if context is None else context
        self.ops = weights.kernels
        rope = RopeTable(self.context, c.head_dim, c.rope_theta)
        self.ropes = (rope,)
        self.embed_tokens = weights.matrix("embed_tokens.weight", shape=(c.vocab_size, c.hidden_size))
        self.layers = [Block(c, weights, i, rope.rope) for i in range(c.layers)]
        self.norm = weights.norm("norm.weight", c.hidden_size)
        self.lm_head = (
            self.embed_tokens if c.tied else weights.matrix("lm_head.weight", shape=(c.vocab_size, c.hidden_size))
        )
        self.cache_spec = CacheSpec((LayerCache(c.kv_heads, c.head_dim),) * c.layers)

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """See `models.interface.TextModel.forward`."""
        reach(self.ropes, batch.positions)
        x = self.ops.embed(self.embed_tokens, batch.ids, self.config.embedding_scale)
        if batch.soft is not None:
            x[batch.soft_rows] = batch.soft
        for layer in self.layers:
            layer(x, batch, cache)
        return self.ops.linear(
            self.lm_head, self.ops.rms_norm(self.ops.rows(x, batch.logit_rows), self.norm, self.config.eps)
        )
