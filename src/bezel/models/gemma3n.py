"""Gemma 3n, text: Gemma 3's attention on four residual streams, with inputs of each layer's own and a sparse gate.

Published as checkpoints and Transformers' `gemma3n`. AltUp: Baykal et al. 2023; LAuReL: Menghani et al. 2024; the
Gaussian top-k gate: Spark Transformer, You et al. 2025. The last layers keep no keys and values of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32, I32, Access, Rope
from bezel.models.interface import Batch, CacheSpec, CacheView, LayerCache, Weights
from bezel.models.leaves import embedding_scale, field_of
from bezel.models.rope import RopeTable, reach

MOST_STREAMS = 8


@dataclass(frozen=True)
class Config:
    """What the forward pass needs of a `gemma3n_text` config; names as in the checkpoint where it has them.

    `intermediate_sizes`, `sparsity` (the share of the gate that is cut off, 0 for none) and `shared_with` (the layer
    whose keys and values are read instead of its own) have one entry a layer.
    """

    vocab_size: int
    hidden_size: int
    intermediate_sizes: tuple[int, ...]
    heads: int
    kv_heads: int
    head_dim: int
    sliding: tuple[bool, ...]
    window: int
    shared_with: tuple[int | None, ...]
    sparsity: tuple[float, ...]
    eps: float
    context: int
    rope_theta: float
    rope_local_theta: float
    final_soft_cap: float | None
    embedding_scale: float
    tied: bool
    altup_num_inputs: int
    altup_active_idx: int
    altup_correct_scale: bool
    laurel_rank: int
    per_layer_size: int
    per_layer_vocabulary: int

    @property
    def layers(self) -> int:
        return len(self.sliding)

    @property
    def first_shared(self) -> int:
        """The first layer without keys and values of its own; all behind it have none either."""
        return self.layers - sum(source is not None for source in self.shared_with)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face config, of Transformers 4 or 5; ModelFileError names a field that is wrong."""
        layers = field_of(config, "num_hidden_layers", int)
        kinds = config.get("layer_types")
        if kinds is None:
            kinds = ["sliding_attention" if (i + 1) % 5 else "full_attention" for i in range(layers)]
        if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
            raise ModelFileError(f"config: layer_types does not name {layers} full or sliding layers")
        ropes = config.get("rope_parameters") or {}
        full, local = ropes.get("full_attention") or {}, ropes.get("sliding_attention") or {}
        if any(kind.get("rope_type", "default") != "default" for kind in (full, local)) or config.get("rope_scaling"):
            raise ModelFileError("config: Gemma 3n is not known to scale its rotary positions")
        streams = field_of(config, "altup_num_inputs", int, 4)
        active = config.get("altup_active_idx", 0)
        if not 2 <= streams <= MOST_STREAMS or type(active) is not int or not 0 <= active < streams:
            raise ModelFileError(f"config: altup_num_inputs is {streams} and altup_active_idx {active!r}")
        return cls(
            vocab_size=field_of(config, "vocab_size", int),
            hidden_size=field_of(config, "hidden_size", int),
            intermediate_sizes=_widths(config.get("intermediate_size"), layers),
            heads=field_of(config, "num_attention_heads", int),
            kv_heads=field_of(config, "num_key_value_heads", int),
            head_dim=field_of(config, "head_dim", int, 256),
            sliding=tuple(kind == "sliding_attention" for kind in kinds),
            window=field_of(config, "sliding_window", int),
            shared_with=_sharing(kinds, config.get("num_kv_shared_layers", 0)),
            sparsity=_sparsity(config.get("activation_sparsity_pattern"), layers),
            eps=field_of(config, "rms_norm_eps", float, 1e-6),
            context=field_of(config, "max_position_embeddings", int, 32768),
            rope_theta=float(full.get("rope_theta") or field_of(config, "rope_theta", float, 1e6)),
            rope_local_theta=float(local.get("rope_theta") or field_of(config, "rope_local_base_freq", float, 1e4)),
            final_soft_cap=config.get("final_logit_softcapping"),
            embedding_scale=embedding_scale(config),
            tied=bool(config.get("tie_word_embeddings", True)),
            altup_num_inputs=streams,
            altup_active_idx=active,
            altup_correct_scale=bool(config.get("altup_correct_scale", True)),
            laurel_rank=field_of(config, "laurel_rank", int, 64),
            per_layer_size=field_of(config, "hidden_size_per_layer_input", int, 256),
            per_layer_vocabulary=field_of(config, "vocab_size_per_layer_input", int, 262144),
        )


def _widths(value: Any, layers: int) -> tuple[int, ...]:
    """One width for all layers, or one each."""
    widths = [value] * layers if type(value) is int else value
    if not isinstance(widths, list | tuple) or len(widths) != layers:
        raise ModelFileError(f"config: intermediate_size is {value!r}; one size, or one for each of {layers} layers")
    if not all(type(width) is int and width > 0 for width in widths):
        raise ModelFileError(f"config: intermediate_size is {value!r}; sizes are positive whole numbers")
    return tuple(widths)


def _sharing(kinds: list[str], count: Any) -> tuple[int | None, ...]:
    """The last `count` layers read what the last layer of their kind before them keeps."""
    first = len(kinds) - count if type(count) is int else 0
    if type(count) is not int or not 0 < first <= len(kinds):
        raise ModelFileError(f"config: num_kv_shared_layers is {count!r}; fewer than {len(kinds)} layers can share")
    keepers = {kind: i for i, kind in enumerate(kinds[:first])}
    if not set(kinds[first:]) <= set(keepers):
        raise ModelFileError("config: num_kv_shared_layers leaves a kind of layer without keys and values")
    return (*[None] * first, *(keepers[kind] for kind in kinds[first:]))


def _sparsity(value: Any, layers: int) -> tuple[float, ...]:
    if value is None:
        sparse = 10 if layers > 10 else 0
        value = [0.95] * sparse + [0.0] * (layers - sparse)
    shares = [value] * layers if isinstance(value, int | float) else value
    if not isinstance(shares, list | tuple) or len(shares) != layers:
        raise ModelFileError(f"config: activation_sparsity_pattern does not give {layers} layers a share")
    if not all(isinstance(share, int | float) and 0 <= share < 1 for share in shares):
        raise ModelFileError(f"config: activation_sparsity_pattern is {value!r}; shares lie between 0 and 1")
    return tuple(float(share) for share in shares)


class AltUp:
    """Alternating updates: a layer works on one stream, and the others follow by small, input-dependent mixtures.

    `altup_coef_clip` of the config holds the coefficients down in training alone, as in Transformers.
    """

    def __init__(self, config: Config, weights: Weights, layer: int) -> None:
        name, hidden, streams = f"layers.{layer}.altup", config.hidden_size, config.altup_num_inputs
        norm = weights.norm(f"{name}.router_norm.weight", hidden)
        router = weights.array(f"{name}.modality_router.weight", (streams, hidden))
        self.router = router * (norm / np.float32(hidden))
        self.prediction_coefs = weights.array(f"{name}.prediction_coefs.weight", (streams * streams, streams))
        self.correction_coefs = weights.array(f"{name}.correction_coefs.weight", (streams, streams))
        scaled = config.altup_correct_scale
        self.correct_output_scale = weights.norm(f"{name}.correct_output_scale", hidden) if scaled else None
        self.active, self.eps, self.ops = config.altup_active_idx, config.eps, weights.kernels

    def predict(self, streams: F32, norm: F32) -> tuple[F32, F32]:
        """[T, S, hidden] -> what the layer is expected to leave, and its active stream after `norm` [T, hidden]."""
        return self.ops.altup_predict(streams, self.router, self.prediction_coefs, self.active, norm, self.eps)

    def correct(self, predictions: F32, mixed: F32, fed: F32, norm: F32) -> F32:
        """Move the predictions by what the layer found, `mixed` + norm(fed), in place: the scaled active stream."""
        coefs, scale = self.correction_coefs, self.correct_output_scale
        how = norm, self.router, coefs, self.active, scale, self.eps
        return self.ops.altup_correct(predictions, mixed, fed, *how)


class Attention:
    """Grouped-query attention with norms on queries, keys and values, and scores that are not scaled.

    A layer that shares reads what an earlier layer of its kind has written.
    """

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        name = f"layers.{layer}.self_attn"
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.shares = config.shared_with[layer] is not None
        parts, kv_heads = ("q", 0) if self.shares else ("qkv", 2 * self.kv_heads)
        rows = (self.heads + kv_heads) * self.head_dim
        self.qkv = weights.matrix(*(f"{name}.{part}_proj.weight" for part in parts), shape=(rows, config.hidden_size))
        self.o_proj = weights.matrix(f"{name}.o_proj.weight", shape=(config.hidden_size, self.heads * self.head_dim))
        self.q_norm = weights.norm(f"{name}.q_norm.weight", self.head_dim)
        self.k_norm = None if self.shares else weights.norm(f"{name}.k_norm.weight", self.head_dim)
        self.layer, self.rope, self.eps = layer, rope, config.eps
        self.window = config.window if config.sliding[layer] else None
        self.ops = weights.kernels

    def __call__(self, x: F32, rows: Rows, cache: CacheView) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        ops, kv = self.ops, cache.layer(self.layer)
        heads = ops.linear(self.qkv, x).reshape(len(x), -1, self.head_dim)
        q, k, v = np.split(heads, [self.heads, self.heads + self.kv_heads], axis=1)
        ops.norm_rope(q, self.q_norm, self.eps, self.rope, rows.positions)
        if not self.shares:
            ops.norm_rope(k, self.k_norm, self.eps, self.rope, rows.positions)
            ops.norm_heads(v, None, self.eps)
            ops.write_cache(k, v, kv, rows.batch.segments)
        attended = ops.attention(q, kv, rows.batch.segments, 1.0, self.window, None, rows.index)
        return ops.linear(self.o_proj, attended)


class MLP:
    """The gated feed-forward; in sparse layers what a gate has over a quantile of its row alone comes through."""

    def __init__(self, config: Config, weights: Weights, layer: int) -> None:
        name, hidden, inner = f"layers.{layer}.mlp", config.hidden_size, config.intermediate_sizes[layer]
        gate, up, down = (f"{name}.{part}_proj.weight" for part in ("gate", "up", "down"))
        self.sparse, self.ops = config.sparsity[layer] > 0, weights.kernels
        if self.sparse:
            self.multiplier = NormalDist().inv_cdf(config.sparsity[layer])
            self.gate_proj = weights.matrix(gate, shape=(inner, hidden))
            self.up_proj = weights.matrix(up, shape=(inner, hidden), access=Access.ROWS)
            self.down_proj = weights.matrix(down, shape=(hidden, inner), access=Access.COLUMNS)
        else:
            self.gate_up = weights.matrix(gate, up, shape=(2 * inner, hidden))
            self.down_proj = weights.matrix(down, shape=(hidden, inner))

    def __call__(self, x: F32) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        ops = self.ops
        if self.sparse:
            return ops.sparse_mlp(ops.linear(self.gate_proj, x), x, self.up_proj, self.down_proj, self.multiplier)
        return ops.linear(self.down_proj, ops.geglu(ops.linear(self.gate_up, x)))


class PerLayerInput:
    """A token's own input to a layer: gated by the active stream, added to all streams but the first."""

    def __init__(self, config: Config, weights: Weights, layer: int) -> None:
        name, hidden, size = f"layers.{layer}", config.hidden_size, config.per_layer_size
        self.gate = weights.matrix(f"{name}.per_layer_input_gate.weight", shape=(size, hidden))
        self.projection = weights.matrix(f"{name}.per_layer_projection.weight", shape=(hidden, size))
        self.norm = weights.norm(f"{name}.post_per_layer_input_norm.weight", hidden)
        self.layer, self.eps, self.ops = layer, config.eps, weights.kernels

    def __call__(self, streams: F32, active: F32, inputs: F32) -> None:
        """Add to streams [T, S, hidden], in place; active [T, hidden], inputs [T, layers, size]."""
        gated = self.ops.linear(self.gate, active)
        self.ops.gelu_gate(gated, inputs, self.layer)
        self.ops.altup_inject(streams, self.ops.linear(self.projection, gated), self.norm, self.eps)


class Block:
    """Attention with a learned low-rank residual beside it (LAuReL), then the feed-forward, within AltUp."""

    def __init__(self, config: Config, weights: Weights, layer: int, rope: Rope) -> None:
        name, hidden, rank = f"layers.{layer}", config.hidden_size, config.laurel_rank
        self.altup = AltUp(config, weights, layer)
        self.self_attn = Attention(config, weights, layer, rope)
        self.linear_left = weights.matrix(f"{name}.laurel.linear_left.weight", shape=(rank, hidden))
        self.linear_right = weights.matrix(f"{name}.laurel.linear_right.weight", shape=(hidden, rank))
        self.mlp = MLP(config, weights, layer)
        self.per_layer_input = PerLayerInput(config, weights, layer)

        def norm(which: str) -> F32:
            return weights.norm(f"{name}.{which}.weight", hidden)

        self.input_layernorm = norm("input_layernorm")
        mixing = "post_attention_layernorm", "laurel.post_laurel_norm", "pre_feedforward_layernorm"
        self.mixing_norms = tuple(norm(which) for which in mixing)
        self.post_feedforward_layernorm = norm("post_feedforward_layernorm")
        self.eps, self.ops = config.eps, weights.kernels

    def __call__(self, streams: F32, rows: Rows, cache: CacheView) -> tuple[F32, F32]:
        """[T, S, hidden] -> the streams, corrected, and the active one, scaled [T, hidden]."""
        ops = self.ops
        predictions, normed = self.altup.predict(streams, self.input_layernorm)
        low = ops.linear(self.linear_right, ops.linear(self.linear_left, normed))
        attended = self.self_attn(normed, rows, cache)
        mixed, x = ops.laurel(predictions, self.altup.active, normed, attended, low, self.mixing_norms, self.eps)
        active = self.altup.correct(predictions, mixed, self.mlp(x), self.post_feedforward_layernorm)
        return predictions, active


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that are computed: all of them, or those of `index` [R]. positions: int32, one a row."""

    batch: Batch
    positions: I32
    index: I32 | None = None


class Gemma3n:
    """Gemma 3n's text model. The table of per-layer embeddings, larger than all the rest, stays on disk."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, context: int | None = None) -> None:
        self.config = c = Config.from_hf(config)
        self.vocabulary = c.vocab_size
        self.context = c.context if context is None else context
        self.ops = weights.kernels
        hidden, others, inputs = c.hidden_size, range(c.altup_num_inputs - 1), c.layers * c.per_layer_size
        full, local = (RopeTable(self.context, c.head_dim, theta) for theta in (c.rope_theta, c.rope_local_theta))
        self.ropes = (full, local)
        self.embed_tokens = weights.matrix("embed_tokens.weight", shape=(c.vocab_size, hidden))
        self.embed_tokens_per_layer = weights.table("embed_tokens_per_layer.weight", (c.per_layer_vocabulary, inputs))
        self.per_layer_model_projection = weights.matrix("per_layer_model_projection.weight", shape=(inputs, hidden))
        # The norm's part of the inputs and the table's are each scaled by sqrt(1/2), and not their sum.
        self.per_layer_projection_norm = weights.norm("per_layer_projection_norm.weight", c.per_layer_size)
        self.per_layer_projection_norm = self.per_layer_projection_norm * np.float32(math.sqrt(0.5))
        self.altup_projections = weights.matrix(
            *(f"altup_projections.{i}.weight" for i in others), shape=(len(others) * hidden, hidden)
        )
        self.altup_unembed_projections = [
            weights.matrix(f"altup_unembed_projections.{i}.weight", shape=(hidden, hidden)) for i in others
        ]
        self.layers = [Block(c, weights, i, (local if slides else full).rope) for i, slides in enumerate(c.sliding)]
        self.norm = weights.norm("norm.weight", hidden)
        self.lm_head = self.embed_tokens if c.tied else weights.matrix("lm_head.weight", shape=(c.vocab_size, hidden))
        self.cache_spec = CacheSpec(
            tuple(
                LayerCache(c.kv_heads, c.head_dim, c.window if slides else None, source)
                for slides, source in zip(c.sliding, c.shared_with, strict=True)
            )
        )

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """See `models.interface.TextModel.forward`. Layers that share are computed for rows with logits alone."""
        ops, c = self.ops, self.config
        reach(self.ropes, batch.positions)
        ids = self._ids(batch)
        ops.expect_rows(self.embed_tokens_per_layer, ids)
        x = ops.embed(self.embed_tokens, ids, c.embedding_scale)
        if batch.soft is not None:
            x[batch.soft_rows] = batch.soft
        projected = ops.linear(self.per_layer_model_projection, x)
        streams = ops.altup_expand(x, ops.linear(self.altup_projections, x))
        rows, inputs = Rows(batch, batch.positions), None
        for i, layer in enumerate(self.layers):
            if i == c.first_shared and inputs is not None and len(batch.logit_rows) < len(batch.ids):
                streams, inputs = (self._wanted(array, batch.logit_rows) for array in (streams, inputs))
                rows = Rows(batch, ops.picked(batch.positions, batch.logit_rows), batch.logit_rows)
            if not len(rows.positions):
                break
            streams, active = layer(streams, rows, cache)
            if inputs is None:  # as late as can be, since the disk works meanwhile
                inputs = self._per_layer_inputs(projected, ids)
            layer.per_layer_input(streams, active, inputs)
        first, *others = ops.altup_split(streams)
        others = [ops.linear(matrix, x) for matrix, x in zip(self.altup_unembed_projections, others, strict=True)]
        x = ops.altup_merge(first, others)
        if rows.index is None:
            x = ops.rows(x, batch.logit_rows)
        logits = ops.linear(self.lm_head, ops.rms_norm(x, self.norm, c.eps))
        if c.final_soft_cap is not None:
            ops.soft_cap(logits, c.final_soft_cap)
        return logits

    def _ids(self, batch: Batch) -> I32:
        """The batch's ids; where soft tokens stand, that of the row of per-layer inputs that all of them have."""
        if batch.soft_rows is None:
            return batch.ids
        ids = batch.ids.copy()
        ids[batch.soft_rows] = 0
        return ids

    def _wanted(self, array: F32, index: I32) -> F32:
        """Rows `index` [R] of [T, m, n]: [R, m, n]."""
        return self.ops.rows(array.reshape(len(array), -1), index).reshape(len(index), *array.shape[1:])

    def _per_layer_inputs(self, projected: F32, ids: I32) -> F32:
        """sqrt(1/2) * (norm(projected / sqrt(hidden)) + rows of the table): [T, layers, size]."""
        c = self.config
        inputs = self.ops.read_rows(self.embed_tokens_per_layer, ids, math.sqrt(c.per_layer_size / 2))
        shape = len(ids) * c.layers, c.per_layer_size
        # The scale of what is normed matters to eps alone.
        eps = c.eps * c.hidden_size
        self.ops.add_norm(inputs.reshape(shape), projected.reshape(shape), self.per_layer_projection_norm, eps)
        return inputs.reshape(len(ids), c.layers, c.per_layer_size)
