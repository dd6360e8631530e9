"""MobileNetV5, Gemma 3n's image tower: blocks of MobileNetV4 (Qin et al. 2024) and a fusion of its last scales.

Names, and what the paper leaves open, are of timm's `mobilenetv5_300m_enc`. An image is [height, width, channels].
Blocks widen it in bands of rows, since all of what is inside of one would be over 100 MB at 768 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from bezel.errors import ModelFileError
from bezel.kernels.interface import F32
from bezel.models.interface import Weights
from bezel.models.vision.mobilenetv5_layout import WIDTH, Attending, Block, Edge, Inverted, Layout

EPS = 1e-6
"""Of every norm; the config has none."""
BAND = 4 << 20
"""Elements inside of a block that are there together, or those of one row where that has more."""
GROUP = 32
"""Columns that quantised products round together."""
LANES = 16
"""Columns that products take at once."""


@dataclass(frozen=True)
class Window:
    """What a place of a convolution sees, with as much 0 around the image as "same" asks for: less before than behind.

    All of it is the same along rows and columns.
    """

    size: int
    stride: int

    def count(self, given: int) -> int:
        """Places along a side of `given`."""
        return -(-given // self.stride)

    def before(self, given: int) -> int:
        """How much 0 stands before the first of `given`."""
        return max(0, (self.count(given) - 1) * self.stride + self.size - given) // 2

    def reach(self, given: int, first: int, end: int) -> tuple[slice, int]:
        """Rows that places first ... end - 1 see, and how many rows of 0 before those."""
        begin = first * self.stride - self.before(given)
        return slice(max(0, begin), min(given, begin + (end - 1 - first) * self.stride + self.size)), max(0, -begin)


def _bands(rows: int, elements: int) -> Iterator[tuple[int, int]]:
    """First and end of runs of rows, each of `elements`."""
    step = max(1, BAND // elements)
    return ((first, min(rows, first + step)) for first in range(0, rows, step))


class Convolution:
    """Every channel of every place, as a product with what the place sees."""

    def __init__(self, weights: Weights, name: str, inputs: int, outputs: int, window: Window) -> None:
        columns = inputs * window.size**2
        self.missing = -columns % LANES
        if self.missing and (columns + self.missing) % GROUP == 0:
            self.missing += LANES  # such columns are the pixels' own, and 8 bits of them would be rounded to 7
        shape = outputs, columns + self.missing
        self.weight = weights.matrix(f"{name}.weight", shape=shape, padded=self.missing > 0)
        self.window, self.ops = window, weights.kernels

    def __call__(self, x: F32, first: int, end: int) -> F32:
        """Rows first ... end - 1 of the result for x [height, width, inputs]: [places, outputs]."""
        height, width, _ = x.shape
        (rows, top), left = self.window.reach(height, first, end), self.window.before(width)
        shape = end - first, self.window.count(width)
        seen = self.ops.windows(x[rows], self.window.size, self.window.stride, (top, left), shape)
        return self.ops.linear(self.weight, np.pad(seen, ((0, 0), (0, self.missing))) if self.missing else seen)


class Depthwise:
    """A convolution of every channel by itself."""

    def __init__(self, weights: Weights, name: str, channels: int, window: Window) -> None:
        taps = weights.array(f"{name}.weight", (channels, window.size**2))
        self.weight = np.ascontiguousarray(taps.T).reshape(window.size, window.size, channels)
        self.window, self.ops = window, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [height, width, channels] -> what comes out, as places [n, channels]."""
        return self.band(x, len(x), 0, 0, self.window.count(len(x)))

    def band(self, x: F32, height: int, begin: int, first: int, end: int) -> F32:
        """Rows first ... end - 1 of the result for an image of `height` rows, of which x has those from `begin` on."""
        width, channels = x.shape[1:]
        _, top = self.window.reach(height, first, end)
        shape = end - first, self.window.count(width)
        corner = top, self.window.before(width)
        return self.ops.depthwise(x, self.weight, self.window.stride, corner, shape).reshape(-1, channels)


class Stem:
    """The first convolution, with a bias."""

    def __init__(self, weights: Weights, name: str, channels: int) -> None:
        self.conv = Convolution(weights, f"{name}.conv", 3, channels, Window(3, 2))
        self.bias = weights.vector(f"{name}.conv.bias", channels)
        self.norm, self.ops = weights.norm(f"{name}.bn.weight", channels), weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [side, side, 3] -> [half, half, channels]."""
        side = self.conv.window.count(len(x))
        out = np.empty((side, side, len(self.bias)), np.float32)
        for first, end in _bands(side, side * len(self.bias)):
            band = self.conv(x, first, end)
            self.ops.add_bias(band, self.bias)
            self.ops.norm_gelu(band, self.norm, EPS)
            out[first:end] = band.reshape(-1, side, len(self.bias))
        return out


class EdgeResidual:
    """A convolution that widens, and a product that narrows, each behind a norm."""

    def __init__(self, block: Edge, inputs: int, weights: Weights, name: str) -> None:
        inner, self.channels = inputs * block.expansion, block.channels
        self.conv_exp = Convolution(weights, f"{name}.conv_exp", inputs, inner, Window(block.kernel, block.stride))
        self.bn1 = weights.norm(f"{name}.bn1.weight", inner)
        self.conv_pwl = weights.matrix(f"{name}.conv_pwl.weight", shape=(block.channels, inner))
        self.bn2 = weights.norm(f"{name}.bn2.weight", block.channels)
        self.skip, self.ops = inputs == block.channels and block.stride == 1, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [height, width, inputs] -> [height out, width out, channels]."""
        ops, window = self.ops, self.conv_exp.window
        height, width = map(window.count, x.shape[:2])
        out = np.empty((height, width, self.channels), np.float32)
        for first, end in _bands(height, width * (len(self.bn1) + x.shape[2] * window.size**2)):
            inner = self.conv_exp(x, first, end)
            ops.norm_gelu(inner, self.bn1, EPS)
            out[first:end] = ops.rms_norm(ops.linear(self.conv_pwl, inner), self.bn2, EPS).reshape(-1, *out.shape[1:])
        if self.skip:
            ops.add_norm(out, x, None, EPS)
        return out


class UniversalInvertedResidual:
    """Products that widen and narrow, with convolutions of single channels before or between them."""

    def __init__(self, block: Inverted, inputs: int, weights: Weights, name: str, scaled: bool = True) -> None:
        inner = inputs * block.expansion
        self.channels, self.ops = block.channels, weights.kernels
        self.dw_start = self.dw_mid = None
        if block.start:
            window = Window(block.start, 1 if block.middle else block.stride)
            self.dw_start = Depthwise(weights, f"{name}.dw_start.conv", inputs, window)
            self.start_norm = weights.norm(f"{name}.dw_start.bn.weight", inputs)
        self.pw_exp = weights.matrix(f"{name}.pw_exp.conv.weight", shape=(inner, inputs))
        self.exp_norm = weights.norm(f"{name}.pw_exp.bn.weight", inner)
        if block.middle:
            self.dw_mid = Depthwise(weights, f"{name}.dw_mid.conv", inner, Window(block.middle, block.stride))
            self.mid_norm = weights.norm(f"{name}.dw_mid.bn.weight", inner)
        elif block.stride > 1 and not block.start:
            raise ModelFileError(f"config: nothing in the block {name} halves the image")
        self.pw_proj = weights.matrix(f"{name}.pw_proj.conv.weight", shape=(block.channels, inner))
        self.proj_norm = weights.norm(f"{name}.pw_proj.bn.weight", block.channels)
        if scaled:
            self.proj_norm = self.proj_norm * weights.vector(f"{name}.layer_scale.gamma", block.channels)
        self.skip = inputs == block.channels and block.stride == 1

    def __call__(self, x: F32) -> F32:
        """x [height, width, inputs] -> [height out, width out, channels]."""
        begun = x
        if self.dw_start is not None:
            height, width = map(self.dw_start.window.count, x.shape[:2])
            begun = self.ops.rms_norm(self.dw_start(x), self.start_norm, EPS).reshape(height, width, -1)
        window = self.dw_mid.window if self.dw_mid is not None else Window(1, 1)
        height, width = map(window.count, begun.shape[:2])
        out = np.empty((height, width, self.channels), np.float32)
        for first, end in _bands(height, window.stride * begun.shape[1] * len(self.exp_norm)):
            rows, _ = window.reach(len(begun), first, end)
            inner = self.widened(begun[rows].reshape(-1, begun.shape[2]))
            if self.dw_mid is not None:
                image = inner.reshape(-1, begun.shape[1], len(self.exp_norm))
                inner = self.dw_mid.band(image, len(begun), rows.start, first, end)
                self.ops.norm_gelu(inner, self.mid_norm, EPS)
            out[first:end] = self.narrowed(inner).reshape(-1, width, self.channels)
        if self.skip:
            self.ops.add_norm(out, x, None, EPS)
        return out

    def widened(self, x: F32) -> F32:
        """x [T, inputs] -> [T, inner]."""
        inner = self.ops.linear(self.pw_exp, x)
        self.ops.norm_gelu(inner, self.exp_norm, EPS)
        return inner

    def narrowed(self, inner: F32) -> F32:
        """[T, inner] -> [T, channels]."""
        return self.ops.rms_norm(self.ops.linear(self.pw_proj, inner), self.proj_norm, EPS)


class Seen:
    """Keys, or values: of all places, or of fewer that a convolution makes of them."""

    def __init__(self, block: Attending, channels: int, weights: Weights, name: str) -> None:
        self.down_conv, self.ops = None, weights.kernels
        if block.reduction > 1:
            window = Window(block.kernel, block.reduction)
            self.down_conv = Depthwise(weights, f"{name}.down_conv", channels, window)
            self.norm = weights.norm(f"{name}.norm.weight", channels)
        self.proj = weights.matrix(f"{name}.proj.weight", shape=(block.head_dim, channels))

    def __call__(self, x: F32) -> F32:
        """x [height, width, channels] -> [places, 1, head_dim]."""
        rows = x.reshape(-1, x.shape[2])
        if self.down_conv is not None:
            rows = self.ops.rms_norm(self.down_conv(x), self.norm, EPS)
        found = self.ops.linear(self.proj, rows)
        return found.reshape(len(found), 1, -1)


class MobileAttention:
    """Multi-query attention (Shazeer 2019): all heads of a place ask the same keys."""

    def __init__(self, block: Attending, inputs: int, weights: Weights, name: str) -> None:
        self.norm = weights.norm(f"{name}.norm.weight", inputs)
        self.query = weights.matrix(f"{name}.attn.query.proj.weight", shape=(block.heads * block.head_dim, inputs))
        self.key = Seen(block, inputs, weights, f"{name}.attn.key")
        self.value = Seen(block, inputs, weights, f"{name}.attn.value")
        self.output = weights.matrix(
            f"{name}.attn.output.proj.weight", shape=(block.channels, block.heads * block.head_dim)
        )
        self.scale = weights.vector(f"{name}.layer_scale.gamma", block.channels)
        if block.stride > 1:
            raise ModelFileError(f"config: the block {name} attends and cannot halve the image")
        self.skip, self.head_dim, self.ops = inputs == block.channels, block.head_dim, weights.kernels

    def __call__(self, x: F32) -> F32:
        """x [height, width, inputs] -> [height, width, channels]."""
        ops, rows = self.ops, x.reshape(-1, x.shape[2])
        normed = ops.rms_norm(rows, self.norm, EPS)
        asked = ops.linear(self.query, normed).reshape(-1, 1, self.head_dim)
        image = normed.reshape(x.shape)
        seen = ops.full_attention(asked, self.key(image), self.value(image), self.head_dim**-0.5)
        out = ops.linear(self.output, seen.reshape(len(rows), -1))
        out *= self.scale
        if self.skip:
            ops.add_norm(out, rows, None, EPS)
        return out.reshape(*x.shape[:2], -1)


def _block(block: Block, inputs: int, weights: Weights, name: str) -> Callable[[F32], F32]:
    if isinstance(block, Edge):
        return EdgeResidual(block, inputs, weights, name)
    if isinstance(block, Inverted):
        return UniversalInvertedResidual(block, inputs, weights, name)
    return MobileAttention(block, inputs, weights, name)


class FusionAdapter:
    """The multi-scale fusion adapter (MSFA): scales side by side in the largest's places, mixed, pooled to one side."""

    def __init__(self, layout: Layout, weights: Weights, name: str) -> None:
        inputs = sum(layout.stages[place][-1].channels for place in layout.fused)
        self.ffn = UniversalInvertedResidual(Inverted(WIDTH, 2), inputs, weights, f"{name}.ffn", scaled=False)
        self.norm, self.side, self.ops = weights.norm(f"{name}.norm.weight", WIDTH), layout.side, weights.kernels

    def __call__(self, scales: list[F32]) -> F32:
        """Images [side, side, channels], the largest first -> [places, WIDTH], row by row."""
        largest = len(scales[0])
        size = largest // self.side  # of the squares that are pooled
        near = [np.arange(largest) * len(scale) // largest for scale in scales]
        out = np.empty((self.side, self.side, WIDTH), np.float32)
        for first, end in _bands(self.side, size * largest * len(self.ffn.exp_norm)):
            parts = [
                scale[rows[first * size : end * size, None], rows] for scale, rows in zip(scales, near, strict=True)
            ]
            rows = np.concatenate(parts, axis=2).reshape((end - first) * size * largest, -1)
            mixed = self.ffn.narrowed(self.ffn.widened(rows))
            squares = mixed.reshape(end - first, size, self.side, size, WIDTH)
            squares.mean(axis=(1, 3), dtype=np.float32, out=out[first:end])
        return self.ops.rms_norm(out.reshape(-1, WIDTH), self.norm, EPS)


class MobileNetV5:
    """The tower. `prefix` stands before the tensors' names."""

    def __init__(self, layout: Layout, weights: Weights, prefix: str = "vision_tower.timm_model.") -> None:
        self.layout = layout
        self.conv_stem = Stem(weights, f"{prefix}conv_stem", layout.stem)
        builders, inputs = [], layout.stem
        for stage, blocks in enumerate(layout.stages):
            for place, block in enumerate(blocks):
                name = f"{prefix}blocks.{stage}.{place}"
                builders.append(partial(_block, block, inputs, weights, name))
                inputs = block.channels
        self.blocks = weights.in_turn(builders)
        self.msfa = FusionAdapter(layout, weights, f"{prefix}msfa")

    def __call__(self, pixels: F32) -> F32:
        """Pixels [side, side, 3] from 0 to 1 -> [layout.side ** 2, WIDTH], row by row of the image."""
        check_side(self.layout, len(pixels))
        if pixels.shape != (len(pixels), len(pixels), 3) or pixels.dtype != np.float32:
            raise ValueError(f"pixels {pixels.dtype} {pixels.shape} are no image for this tower")
        x, scales = self.conv_stem(pixels), []
        ends = [sum(map(len, self.layout.stages[: place + 1])) for place in self.layout.fused]
        for done, block in enumerate(self.blocks, 1):
            x = block(x)
            if done in ends:
                scales.append(x)
        return self.msfa(scales)


def check_side(layout: Layout, side: int) -> None:
    """ModelFileError unless images of `side` pixels are pooled to the side that the tower has at its end."""
    largest = -(-side // 2 ** (layout.fused[0] + 2))
    if side < 1 or largest % layout.side:
        raise ModelFileError(
            f"config: images of {side} pixels have {largest} places a side, which {layout.side} do not divide; "
            f"the size has to be a multiple of {layout.side * 2 ** (layout.fused[0] + 2)}"
        )
