"""What the towers need: SigLIP's at 896 pixels, MobileNetV5's at 768, and the USM conformer's for 30 seconds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from bench.kernel_rows import Row
from bezel.kernels.interface import F32
from bezel.kernels.library import Native

PATCHES, WIDTH, HEADS, HEAD_DIM = 4096, 1152, 16, 72
QUERIES = 512
FRAMES, USM_WIDTH, USM_HEADS, USM_HEAD_DIM, LEFT, TAPS = 750, 1536, 8, 192, 12, 5


def _random(*shape: int) -> F32:
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def siglip_rows(kernels: Native) -> Iterator[Row]:
    """Layer norm, biases, and an eighth of a layer's attention."""
    x, weight, bias = _random(PATCHES, WIDTH), _random(WIDTH), _random(WIDTH)
    q, k, v = (_random(n, HEADS, HEAD_DIM) for n in (QUERIES, PATCHES, PATCHES))
    made = 4 * HEADS * HEAD_DIM * QUERIES * PATCHES
    yield Row(f"layer_norm, {PATCHES} patches", lambda: kernels.layer_norm(x, weight, bias, 1e-6))
    yield Row(f"add_bias, {PATCHES} patches", lambda: kernels.add_bias(x, bias))
    yield Row(f"add_bias with GELU, {PATCHES} patches", lambda: kernels.add_bias(x, bias, gelu=True))
    yield Row(
        f"full_attention, {QUERIES} of {PATCHES} patches", lambda: kernels.full_attention(q, k, v, 0.118), 0, made
    )


def mobilenet_rows(kernels: Native) -> Iterator[Row]:
    """Convolutions of one channel each, what other convolutions see, and the norm with GELU."""
    for side, channels, size, stride in ((192, 512, 3, 2), (96, 768, 5, 1), (48, 1920, 5, 1)):
        x, weight = _random(side, side, channels), _random(size, size, channels)
        shape, pad = (side // stride, side // stride), (size - 1) // 2
        made = 2 * shape[0] * shape[1] * channels * size * size
        yield Row(
            f"depthwise {size} by {size}, stride {stride}, {side} pixels, {channels} channels",
            partial(kernels.depthwise, x, weight, stride, (pad, pad), shape),
            0,
            made,
        )
    pixels, scale = _random(192, 192, 128), _random(128)
    yield Row(
        "windows 3 by 3, stride 2, 192 pixels, 128 channels", lambda: kernels.windows(pixels, 3, 2, (0, 0), (96, 96))
    )
    flat = pixels.reshape(-1, 128)
    yield Row("norm_gelu, 192 by 192 pixels, 128 channels", lambda: kernels.norm_gelu(flat, scale, 1e-6))


def conformer_rows(kernels: Native) -> Iterator[Row]:
    """One call each over all frames of 30 seconds; the cumulative norm over what comes before these."""
    x, both, taps = _random(FRAMES, USM_WIDTH), _random(FRAMES, 2 * USM_WIDTH), _random(TAPS, USM_WIDTH)
    q, k, v = (_random(FRAMES, USM_HEADS, USM_HEAD_DIM) for _ in range(3))
    positions, scale = _random(LEFT + 1, USM_HEADS, USM_HEAD_DIM), np.ones(USM_HEAD_DIM, np.float32)
    early, weight = _random(4 * FRAMES // 2, 64 * 128), np.ones(128, np.float32)
    made = 4 * FRAMES * USM_HEADS * USM_HEAD_DIM * (LEFT + 1)
    yield Row(f"clip, {FRAMES} frames", lambda: kernels.clip(x, 10.0))
    yield Row(f"silu, {FRAMES} frames", lambda: kernels.silu(x))
    yield Row(f"glu, {FRAMES} frames", lambda: kernels.glu(both))
    yield Row(f"causal_conv, {FRAMES} frames", lambda: kernels.causal_conv(x, taps))
    yield Row(
        f"local_attention, {FRAMES} frames",
        lambda: kernels.local_attention(q, k, v, positions, scale, 0, 50.0),
        0,
        made,
    )
    yield Row(
        f"cumulative_norm, {len(early)} frames of 64 bands",
        lambda: kernels.cumulative_norm(early, weight, 1e-3, np.zeros(3)),
    )


ROWS = (siglip_rows, mobilenet_rows, conformer_rows)
