"""SigLIP's image tower (Zhai et al. 2023): a vision transformer (Dosovitskiy et al. 2021) without a class token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.leaves import field_of

GROUP = 32
"""Columns that quantised products round together."""


@dataclass(frozen=True)
class Config:
    """What the tower needs of a `siglip_vision_model` config; names as in the checkpoint. Sizes are in pixels."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    channels: int
    eps: float

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Config:
        """Read a Hugging Face `vision_config`; ModelFileError names a field that is wrong."""
        found = cls(
            hidden_size=field_of(config, "hidden_size", int, 768),
            intermediate_size=field_of(config, "intermediate_size", int, 3072),
            layers=field_of(config, "num_hidden_layers", int, 12),
            heads=field_of(config, "num_attention_heads", int, 12),
            image_size=field_of(config, "image_size", int, 224),
            patch_size=field_of(config, "patch_size", int, 16),
            channels=field_of(config, "num_channels", int, 3),
            eps=field_of(config, "layer_norm_eps", float, 1e-6),
        )
        if config.get("hidden_act", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
            raise ModelFileError(f"config: hidden_act {config['hidden_act']!r} is unknown to SigLIP")
        if found.hidden_size % found.heads or found.image_size % found.patch_size:
            raise ModelFileError(
                f"config: {found.heads} heads do not divide {found.hidden_size} channels, or patches of "
                f"{found.patch_size} pixels not an image of {found.image_size}"
            )
        return found

    @property
    def patches_per_side(self) -> int:
        return self.image_size // self.patch_size


class Linear:
    """A product and a bias; several of the checkpoint's stacked by rows are one product.

    `shape` is (rows, columns), `stored` the rows that the checkpoint has where a single one is smaller: see `MLP`.
    """

    def __init__(self, weights: Weights, *names: str, shape: tuple[int, int], stored: int | None = None) -> None:
        matrices = [f"{name}.weight" for name in names]
        self.matrix = weights.matrix(*matrices, shape=shape, padded=stored is not None)
        rows = stored or shape[0] // len(names)
        bias = np.concatenate([weights.vector(f"{name}.bias", rows) for name in names])
        self.bias = np.pad(bias, (0, shape[0] - len(bias)))
        self.ops = weights.kernels

    def __call__(self, x: F32, gelu: bool = False) -> F32:
        """x [T, columns] -> [T, rows], or GELU of that."""
        out = self.ops.linear(self.matrix, x)
        self.ops.add_bias(out, self.bias, gelu)
        return out


class LayerNorm:
    """Layer norm with weight and bias."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        self.weight = weights.vector(f"{name}.weight", config.hidden_size)
        self.bias = weights.vector(f"{name}.bias", config.hidden_size)
        self.eps, self.ops = config.eps, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        return self.ops.layer_norm(x, self.weight, self.bias, self.eps)


class Attention:
    """Every patch sees every patch."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        hidden = config.hidden_size
        self.qkv = Linear(weights, *(f"{name}.{part}_proj" for part in "qkv"), shape=(3 * hidden, hidden))
        self.out_proj = Linear(weights, f"{name}.out_proj", shape=(hidden, hidden))
        self.heads, self.head_dim, self.ops = config.heads, hidden // config.heads, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        q, k, v = np.split(self.qkv(x).reshape(len(x), -1, self.head_dim), 3, axis=1)
        return self.out_proj(self.ops.full_attention(q, k, v, self.head_dim**-0.5))


class MLP:
    """fc2(gelu(fc1 x)). In between is room for whole groups of 32, which 4304 is not, with 0 in what is over."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        hidden, inner = config.hidden_size, config.intermediate_size
        width = -(-inner // GROUP) * GROUP
        self.fc1 = Linear(weights, f"{name}.fc1", shape=(width, hidden), stored=inner)
        self.fc2 = Linear(weights, f"{name}.fc2", shape=(hidden, width), stored=hidden)

    def __call__(self, x: F32) -> F32:
        """x [T, hidden] -> [T, hidden]."""
        return self.fc2(self.fc1(x, gelu=True))


class Layer:
    """Attention and feed-forward, each behind a norm and added to what was there."""

    def __init__(self, config: Config, weights: Weights, name: str) -> None:
        self.layer_norm1 = LayerNorm(config, weights, f"{name}.layer_norm1")
        self.self_attn = Attention(config, weights, f"{name}.self_attn")
        self.layer_norm2 = LayerNorm(config, weights, f"{name}.layer_norm2")
        self.mlp = MLP(config, weights, f"{name}.mlp")
        self.eps, self.ops = config.eps, weights.kernels

    def __call__(self, x: F32) -> None:
        """Add this layer's two terms to x [T, hidden], in place."""
        self.ops.add_norm(x, self.self_attn(self.layer_norm1(x)), None, self.eps)
        self.ops.add_norm(x, self.mlp(self.layer_norm2(x)), None, self.eps)


class Siglip:
    """The tower. `prefix` stands before the tensors' names."""

    def __init__(self, config: Config, weights: Weights, prefix: str = "vision_tower.") -> None:
        self.config, self.ops = config, weights.kernels
        columns = config.channels * config.patch_size**2
        embedding = f"{prefix}embeddings.patch_embedding"
        self.patch_embedding = Linear(weights, embedding, shape=(config.hidden_size, columns))
        self.position_embedding = weights.array(
            f"{prefix}embeddings.position_embedding.weight", (config.patches_per_side**2, config.hidden_size)
        )
        self.layers = [Layer(config, weights, f"{prefix}encoder.layers.{i}") for i in range(config.layers)]
        self.post_layernorm = LayerNorm(config, weights, f"{prefix}post_layernorm")

    def __call__(self, pixels: F32) -> F32:
        """Normalised pixels [image_size, image_size, channels] -> [patches, hidden], row by row of the image."""
        x = self.patch_embedding(self._patches(pixels))
        self.ops.add_norm(x, self.position_embedding, None, self.config.eps)
        for layer in self.layers:
            layer(x)
        return self.post_layernorm(x)

    def _patches(self, pixels: F32) -> F32:
        """[H, W, C] -> [patches, C * patch * patch], each in the order of a convolution's weights."""
        size, side, channels = self.config.patch_size, self.config.patches_per_side, self.config.channels
        if pixels.shape != (side * size, side * size, channels) or pixels.dtype != np.float32:
            raise ValueError(f"pixels {pixels.dtype} {pixels.shape} are no image for a tower of {side * size} pixels")
        grid = pixels.reshape(side, size, side, size, channels).transpose(0, 2, 4, 1, 3)
        return np.ascontiguousarray(grid).reshape(side * side, -1)
