"""The audio tower of Gemma 3n: a conformer (Gulati et al. 2020) over log-mel bands, as in USM (Zhang et al. 2023).

Two convolutions take four frames together; blocks of the conformer follow, and every fourth row is kept. Names, and
what the papers leave open, are of Transformers' `gemma3n_audio`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.leaves import field_of

EPS = 1e-6
"""Of the norms for which the config has no other."""
STRIP = 32
"""Rows that come out of the convolutions together. All windows of 30 s at once would be 110 MB."""
LANES = 16
"""Columns that products take at once: windows are filled up to whole ones with 0, as the nine of the first are."""
LONGEST_TIMESCALE = 1e4


@dataclass(frozen=True)
class Convolution:
    """One of the two that sub-sample; kernel and stride are (frames, bands), `bands` is what goes in."""

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    bands: int

    @property
    def bands_out(self) -> int:
        """With one band of 0 on either side."""
        return (self.bands + 2 - self.kernel[1]) // self.stride[1] + 1

    def rows_out(self, rows: int) -> int:
        """With as many rows of 0 behind the last as its window needs."""
        return -(-rows // self.stride[0])


@dataclass(frozen=True)
class Config:
    """What the tower needs of a `gemma3n_audio` config; names as in the checkpoint where it has them.

    A row of attention sees `left` rows before it and `right` behind: what Transformers computes in chunks of
    `conf_attention_chunk_size` is no other.
    """

    bands: int
    hidden_size: int
    layers: int
    heads: int
    left: int
    right: int
    soft_cap: float
    taps: int
    reduction: int
    residual_weight: float
    clipping: float
    eps: float
    group_norm_eps: float
    convolutions: tuple[Convolution, Convolution]

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face `audio_config`; ModelFileError names a field that is wrong."""
        bands = field_of(config, "input_feat_size", int, 128)
        right = config.get("conf_attention_context_right", 0)
        if type(right) is not int or right < 0:
            raise ModelFileError(f"config: conf_attention_context_right is {right!r}; a count of rows is due")
        found = cls(
            bands=bands,
            hidden_size=field_of(config, "hidden_size", int, 1536),
            layers=field_of(config, "conf_num_hidden_layers", int, 12),
            heads=field_of(config, "conf_num_attention_heads", int, 8),
            left=field_of(config, "conf_attention_context_left", int, 13) - 1,
            right=right,
            soft_cap=field_of(config, "conf_attention_logit_cap", float, 50.0),
            taps=field_of(config, "conf_conv_kernel_size", int, 5),
            reduction=field_of(config, "conf_reduction_factor", int, 4),
            residual_weight=field_of(config, "conf_residual_weight", float, 0.5),
            clipping=field_of(config, "gradient_clipping", float, 1e10),
            eps=field_of(config, "rms_norm_eps", float, 1e-6),
            group_norm_eps=field_of(config, "sscp_conv_group_norm_eps", float, 1e-3),
            convolutions=_convolutions(config, bands),
        )
        if found.hidden_size % found.heads or found.hidden_size % 2:
            raise ModelFileError(
                f"config: {found.heads} heads do not divide {found.hidden_size} channels, or those are odd"
            )
        return found

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads

    def rows(self, frames: int) -> int:
        """Rows of the conformer for so many frames."""
        first, second = self.convolutions
        return second.rows_out(first.rows_out(frames))

    def rows_out(self, frames: int) -> int:
        """Rows of the whole tower."""
        return -(-self.rows(frames) // self.reduction)


def _convolutions(config: Mapping[str, Any], bands: int) -> tuple[Convolution, Convolution]:
    channels = _pair(config, "sscp_conv_channel_size", (128, 32))
    kernels = _pair(config, "sscp_conv_kernel_size", ((3, 3), (3, 3)))
    strides = _pair(config, "sscp_conv_stride_size", ((2, 2), (2, 2)))
    sizes = (*channels, *_whole(kernels), *_whole(strides))
    if len(sizes) != 10 or not all(type(size) is int and size > 0 for size in sizes):
        raise ModelFileError(f"config: sscp_conv sizes are {channels}, {kernels} and {strides}; all must be positive")
    first = Convolution(1, channels[0], tuple(kernels[0]), tuple(strides[0]), bands)
    second = Convolution(channels[0], channels[1], tuple(kernels[1]), tuple(strides[1]), max(1, first.bands_out))
    if min(first.bands_out, second.bands_out) < 1 or any(s.stride[0] > s.kernel[0] for s in (first, second)):
        raise ModelFileError(f"config: windows of {kernels} every {strides} do not cover {bands} bands")
    return first, second


def _pair(config: Mapping[str, Any], name: str, default: Any) -> Any:
    value = config.get(name, default)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ModelFileError(f"config: {name} is {value!r}; one entry for each of two convolutions is due")
    return value


def _whole(pairs: Any) -> list[Any]:
    return [size for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2 for size in pair]


class SubSampling:
    """One convolution, the norm over all that was heard so far, and ReLU: a strip of rows at a time."""

    def __init__(self, config: Config, weights: Weights, name: str, shape: Convolution) -> None:
        size = shape.inputs * math.prod(shape.kernel)
        self.missing = -size % LANES
        self.conv = weights.matrix(
            f"{name}.conv.weight", shape=(shape.outputs, size + self.missing), padded=self.missing > 0
        )
        self.norm = weights.norm(f"{name}.norm.weight", shape.outputs)
        self.shape, self.eps, self.ops = shape, config.group_norm_eps, weights.kernels

    def __call__(self, x: F32, sums: Any) -> F32:
        """x [rows, bands, inputs] -> [rows that have a whole window, bands_out, outputs].

        `sums` is what the norm knows of the strips before: see `Kernels.cumulative_norm`.
        """
        kernel, stride = self.shape.kernel, self.shape.stride
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(0, 1))[:: stride[0], :: stride[1]]
        rows, bands = windows.shape[:2]
        unfolded = np.pad(windows.reshape(rows * bands, -1), ((0, 0), (0, self.missing)))
        out = self.ops.linear(self.conv, unfolded).reshape(rows, -1)
        self.ops.cumulative_norm(out, self.norm, self.eps, sums)
        return out.reshape(rows, bands, -1)


class SubSampleConvProjection:
    """Two convolutions, which take frames and bands together, and a projection to the conformer's width."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        self.config, self.ops = config, weights.kernels
        first, second = config.convolutions
        self.conv_0 = SubSampling(config, weights, f"{name}.conv_0", first)
        self.conv_1 = SubSampling(config, weights, f"{name}.conv_1", second)
        self.input_proj_linear = weights.matrix(
            f"{name}.input_proj_linear.weight", shape=(config.hidden_size, second.bands_out * second.outputs)
        )

    def __call__(self, features: F32) -> F32:
        """features [frames, bands] -> [rows, hidden]."""
        strips = [strip.reshape(len(strip), -1) for strip in self._strips(features)]
        return self.ops.linear(self.input_proj_linear, np.concatenate(strips))

    def _strips(self, features: F32) -> Iterator[F32]:
        """The second convolution's rows, each strip computed from the frames that its windows cover alone."""
        first, second = self.config.convolutions
        rows = second.rows_out(between := first.rows_out(len(features)))
        sums, kept = np.zeros((2, 3)), np.zeros((0, first.bands_out, first.outputs), np.float32)
        done = 0  # rows of the first convolution
        for row in range(0, rows, STRIP):
            begin, end = row * second.stride[0], (min(rows, row + STRIP) - 1) * second.stride[0] + second.kernel[0]
            kept = kept[len(kept) - max(0, done - begin) :]
            if (until := min(end, between)) > done:
                frames = _behind(features, done * first.stride[0], (until - 1) * first.stride[0] + first.kernel[0])
                kept = np.concatenate([kept, self.conv_0(frames[:, :, None], sums[0])])
                done = until
            yield self.conv_1(_behind(kept, 0, end - begin), sums[1])


def _behind(x: F32, first: int, end: int) -> F32:
    """Rows first ... end - 1, with 0 behind the last that there is."""
    missing = end - max(first, min(end, len(x)))
    return np.pad(x[first:end], [(0, missing), *[(0, 0)] * (x.ndim - 1)])


class FeedForward:
    """Half a step: x += share * norm(ffw_2(silu(ffw_1(norm(x)))))."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        hidden, self.clipping, self.ops = config.hidden_size, config.clipping, weights.kernels
        self.pre_layer_norm = weights.norm(f"{name}.pre_layer_norm.weight", hidden)
        self.ffw_layer_1 = weights.matrix(f"{name}.ffw_layer_1.weight", shape=(4 * hidden, hidden))
        self.ffw_layer_2 = weights.matrix(f"{name}.ffw_layer_2.weight", shape=(hidden, 4 * hidden))
        share = np.float32(config.residual_weight)
        self.post_layer_norm = weights.norm(f"{name}.post_layer_norm.weight", hidden) * share

    def __call__(self, x: F32) -> None:
        """Add to x [T, hidden], in place."""
        ops = self.ops
        inner = ops.linear(self.ffw_layer_1, ops.rms_norm(ops.clip(x, self.clipping), self.pre_layer_norm, EPS))
        ops.silu(inner)
        ops.add_norm(x, ops.clip(ops.linear(self.ffw_layer_2, inner), self.clipping), self.post_layer_norm, EPS)


class Attention:
    """Attention to what is near, with relative positions (Dai et al. 2019, without biases) and capped scores."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        c, hidden, self.ops = config, config.hidden_size, weights.kernels
        self.heads, self.head_dim, self.right = c.heads, c.head_dim, c.right
        self.clipping, self.soft_cap = c.clipping, c.soft_cap
        self.pre_attn_norm = weights.norm(f"{name}.pre_attn_norm.weight", hidden)
        projections = (f"{name}.attn.{part}_proj.weight" for part in "qkv")
        self.qkv = weights.matrix(*projections, shape=(3 * hidden, hidden))
        position = f"{name}.attn.relative_position_embedding.pos_proj.weight"
        projected = self.ops.linear(weights.matrix(position, shape=(hidden, hidden)), _sinusoids(c))
        self.positions = projected.reshape(-1, c.heads, c.head_dim)
        per_dim = weights.vector(f"{name}.attn.per_dim_scale", c.head_dim)
        # softplus, over that of 0
        self.scale = np.logaddexp(np.float32(0), per_dim) * np.float32(c.head_dim**-0.5 / math.log(2))
        self.post = weights.matrix(f"{name}.post.weight", shape=(hidden, hidden))
        self.post_norm = weights.norm(f"{name}.post_norm.weight", hidden)

    def __call__(self, x: F32) -> None:
        """Add to x [T, hidden], in place."""
        ops = self.ops
        qkv = ops.linear(self.qkv, ops.rms_norm(ops.clip(x, self.clipping), self.pre_attn_norm, EPS))
        q, k, v = np.split(qkv.reshape(len(x), -1, self.head_dim), 3, axis=1)
        seen = ops.local_attention(q, k, v, self.positions, self.scale, self.right, self.soft_cap)
        ops.add_norm(x, ops.clip(ops.linear(self.post, seen), self.clipping), self.post_norm, EPS)


def _sinusoids(config: Config) -> F32:
    """Of distances left, left - 1 ... -right: sines and cosines side by side, [left + 1 + right, hidden]."""
    count = config.hidden_size // 2
    timescales = np.exp(np.arange(count) * (-math.log(LONGEST_TIMESCALE) / max(1, count - 1)))
    turns = np.arange(config.left, -config.right - 1, -1)[:, None] * timescales
    return np.concatenate([np.sin(turns), np.cos(turns)], axis=1).astype(np.float32)


class LightConv:
    """A gate, a depthwise convolution over what came before, and a way back."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        hidden, self.clipping, self.eps, self.ops = config.hidden_size, config.clipping, config.eps, weights.kernels
        self.pre_layer_norm = weights.norm(f"{name}.pre_layer_norm.weight", hidden)
        self.linear_start = weights.matrix(f"{name}.linear_start.weight", shape=(2 * hidden, hidden))
        taps = weights.array(f"{name}.depthwise_conv1d.weight", (hidden, config.taps))
        self.depthwise_conv1d = np.ascontiguousarray(taps.T)
        self.conv_norm = weights.norm(f"{name}.conv_norm.weight", hidden)
        self.linear_end = weights.matrix(f"{name}.linear_end.weight", shape=(hidden, hidden))

    def __call__(self, x: F32) -> None:
        """Add to x [T, hidden], in place."""
        ops = self.ops
        gated = ops.glu(ops.linear(self.linear_start, ops.rms_norm(x, self.pre_layer_norm, self.eps)))
        mixed = ops.clip(ops.causal_conv(gated, self.depthwise_conv1d), self.clipping)
        normed = ops.rms_norm(mixed, self.conv_norm, self.eps)
        ops.silu(normed)
        ops.add_norm(x, ops.linear(self.linear_end, normed), None, self.eps)


class Block:
    """Half a feed-forward step, attention, convolution, and the other half, each added to what was there."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        self.ffw_layer_start = FeedForward(config, weights, f"{name}.ffw_layer_start")
        self.attention = Attention(config, weights, f"{name}.attention")
        self.lconv1d = LightConv(config, weights, f"{name}.lconv1d")
        self.ffw_layer_end = FeedForward(config, weights, f"{name}.ffw_layer_end")
        self.norm = weights.norm(f"{name}.norm.weight", config.hidden_size)
        self.clipping, self.ops = config.clipping, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [T, hidden], which is used up -> [T, hidden]."""
        self.ffw_layer_start(x)
        self.attention(x)
        self.lconv1d(x)
        self.ffw_layer_end(x)
        return self.ops.rms_norm(self.ops.clip(x, self.clipping), self.norm, EPS)


class Conformer:
    """The tower. `prefix` stands before the tensors' names."""

    def __init__(self, config: Config, weights: Weights, prefix: str = "audio_tower.") -> None:
        self.config, self.ops = config, weights.kernels
        self.subsample_conv_projection = SubSampleConvProjection(config, weights, f"{prefix}subsample_conv_projection")
        names = (f"{prefix}conformer.{i}" for i in range(config.layers))
        self.conformer = weights.in_turn([partial(Block, config, weights, name) for name in names])

    def __call__(self, features: F32, frames: int | None = None) -> F32:
        """Log-mel bands [frames, bands] of one sound -> [rows_out(frames), hidden].

        `frames`: how many are the sound's, where what is behind them fills it up. No other row sees rows of these.
        """
        bands = self.config.bands
        if features.ndim != 2 or features.shape[1] != bands or features.dtype != np.float32:
            raise ValueError(f"features {features.dtype} {features.shape} are no sound for a tower of {bands} bands")
        count = self.config.rows(len(features) if frames is None else frames)
        if not count:
            return np.zeros((0, self.config.hidden_size), np.float32)
        x = np.ascontiguousarray(self.subsample_conv_projection(features)[:count])
        for block in self.conformer:
            x = block(x)
        return np.ascontiguousarray(x[:: self.config.reduction])
