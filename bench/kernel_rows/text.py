"""Kernels that every text model needs, at the shapes of Gemma 3 1B."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

from bench.kernel_rows import POOL_BYTES, Row, matrices
from bezel.generation.cache import Cache
from bezel.kernels.interface import CACHE_FORMATS, F32, Format
from bezel.kernels.layout import Matrix
from bezel.kernels.library import Native
from bezel.models.interface import Batch, CacheSpec, LayerCache
from bezel.models.rope import RopeTable

HIDDEN, FFN, HEADS, HEAD_DIM, WINDOW, CONTEXT = 1152, 6912, 4, 256, 512, 8448
FORMATS = (Format.Q4_0, Format.Q8_0, Format.Q4_K, Format.Q6_K, Format.BF16)


def linear_rows(kernels: Native) -> Iterator[Row]:
    """The widest product, gate and up, for one token, a few, and a chunk."""
    rng = np.random.default_rng(1)
    for format in FORMATS:
        columns = HIDDEN if format.block_elements < 256 else 1024
        pool = matrices(kernels, format, 2 * FFN, columns)
        for tokens in (1, 4, 512):
            x, turn = rng.standard_normal((tokens, columns), np.float32), iter(range(1 << 30))

            def call(pool: list[Matrix] = pool, x: F32 = x, turn: Iterator[int] = turn) -> object:
                return kernels.linear(pool[next(turn) % len(pool)], x)

            yield Row(f"linear {format.name}, {tokens} tokens", call, pool[0].nbytes, 4 * FFN * columns * tokens)


def attention_rows(kernels: Native) -> Iterator[Row]:
    """Attention of one token at depth and of a chunk, full and sliding; and the cache's writes."""
    rng = np.random.default_rng(2)
    for window, format in product((None, WINDOW), CACHE_FORMATS):
        cache = Cache(CacheSpec((LayerCache(1, HEAD_DIM, window),), format), CONTEXT)
        cache.begin(0)
        for start, tokens in ((0, 512), *((at, 512) for at in range(512, 8192, 512)), (8192, 1)):
            k = rng.standard_normal((tokens, 1, HEAD_DIM), np.float32)
            q = rng.standard_normal((tokens, HEADS, HEAD_DIM), np.float32)
            batch = Batch.of([(range(tokens), start, False)])
            kv = cache.view([(0, start, tokens)]).layer(0)
            kernels.write_cache(k, k, kv, batch.segments)
            kind = f"{format.name}, " + ("full" if window is None else f"window {window}")
            if start == 512 and window is None:
                yield Row(
                    f"write_cache {format.name}, 512 tokens",
                    partial(kernels.write_cache, k, k, kv, batch.segments),
                )
            if start in (512, 8192):
                seen = sum(min(start + i + 1, window or CONTEXT) for i in range(tokens))
                read = 2 * kv.keys.nbytes // (kv.keys.shape[0] * kv.block_size) * min(start + tokens, window or CONTEXT)
                yield Row(
                    f"attention, {kind}, {tokens} tokens at {start}",
                    partial(kernels.attention, q, kv, batch.segments, 0.06, window, None),
                    read,
                    4 * HEADS * HEAD_DIM * seen,
                )


def other_rows(kernels: Native) -> Iterator[Row]:
    """Norms, rotary positions, the gate and the embedding, for one token and for a chunk."""
    rng = np.random.default_rng(3)
    table = RopeTable(CONTEXT, HEAD_DIM, 1e6)
    table.reach(CONTEXT)
    embedding = matrices(kernels, Format.Q8_0, 16384, HIDDEN)[0]
    weight, head_weight = np.ones(HIDDEN, np.float32), np.ones(HEAD_DIM, np.float32)
    for tokens in (1, 512):
        x, residual = (rng.standard_normal((tokens, HIDDEN), np.float32) for _ in range(2))
        heads = rng.standard_normal((tokens, HEADS, HEAD_DIM), np.float32)
        gate_up = rng.standard_normal((tokens, 2 * FFN), np.float32)
        ids = rng.integers(0, 16384, tokens).astype(np.int32)
        positions, last = np.arange(tokens, dtype=np.int32), np.array([tokens - 1], np.int32)
        calls: dict[str, Callable[[], object]] = {
            "embed Q8_0": partial(kernels.embed, embedding, ids, 34.0),
            "rows": partial(kernels.rows, x, last),
            "picked": partial(kernels.picked, positions, last),
            "rms_norm": partial(kernels.rms_norm, x, weight, 1e-6),
            "add_norm": partial(kernels.add_norm, residual, x, weight, 1e-6),
            "norm_rope": partial(kernels.norm_rope, heads, head_weight, 1e-6, table.rope, positions),
            "geglu": partial(kernels.geglu, gate_up),
        }
        for name, call in calls.items():
            yield Row(f"{name}, {tokens} tokens", call)
    logits = rng.standard_normal((1, 262144), np.float32)
    allowed = rng.integers(0, 1 << 32, logits.size // 32, np.uint32)
    yield Row("soft_cap, 262144 logits", lambda: kernels.soft_cap(logits, 30.0))
    yield Row("masked, 262144 logits", lambda: kernels.masked(logits[0], allowed))
    yield Row("largest 64, 262144 logits", lambda: kernels.largest(logits[0], 64))
    yield Row("log_sum_exp, 262144 logits", lambda: kernels.log_sum_exp(logits[0]))
    memory = np.ones(POOL_BYTES // 8)
    yield Row("read (the machine's limit)", lambda: kernels.read(memory), POOL_BYTES)


ROWS = (linear_rows, attention_rows, other_rows)
