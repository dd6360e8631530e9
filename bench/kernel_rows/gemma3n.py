"""What Gemma 3n's text model needs besides, at the shapes of E2B."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.kernel_rows import Row, matrices
from bezel.kernels.interface import F32, Access, Format
from bezel.kernels.library import Native
from bezel.kernels.tables import RowTable

HIDDEN, FFN, STREAMS, LAYERS, PER_LAYER, HEADS, HEAD_DIM = 2048, 8192, 4, 30, 256, 8, 256
SPARSITY = 1.6448536
"""Standard deviations over the mean that 5% of a normal distribution exceed."""
TABLE_ROWS = 4096


def stream_rows(kernels: Native) -> Iterator[Row]:
    """Alternating updates, LAuReL and per-layer inputs, for one token and for a chunk."""
    rng = np.random.default_rng(4)

    def random(*shape: int) -> F32:
        return rng.standard_normal(shape, np.float32)

    router, prediction, correction = (
        random(STREAMS, HIDDEN) / np.float32(HIDDEN),
        random(16, STREAMS),
        random(STREAMS, STREAMS),
    )
    weight, small = np.ones(HIDDEN, np.float32), np.ones(HEAD_DIM, np.float32)
    norms = [weight] * 3
    for tokens in (1, 512):
        x, normed, attended, low = (random(tokens, HIDDEN) for _ in range(4))
        streams, projected = random(tokens, STREAMS, HIDDEN), random(tokens, (STREAMS - 1) * HIDDEN)
        heads, gate, inputs = (
            random(tokens, HEADS, HEAD_DIM),
            random(tokens, PER_LAYER),
            random(tokens, LAYERS, PER_LAYER),
        )
        others = [random(tokens, HIDDEN) for _ in range(STREAMS - 1)]
        changed, mixed = streams.copy(), x.copy()
        calls: dict[str, Callable[[], object]] = {
            "altup_expand": partial(kernels.altup_expand, x, projected),
            "altup_predict": partial(kernels.altup_predict, streams, router, prediction, 0, weight, 1e-6),
            "laurel": partial(kernels.laurel, streams, 0, normed, attended, low, norms, 1e-6),
            "altup_correct": partial(
                kernels.altup_correct, changed, mixed, normed, weight, router, correction, 0, weight, 1e-6
            ),
            "altup_inject": partial(kernels.altup_inject, changed, x, weight, 1e-6),
            "altup_split": partial(kernels.altup_split, streams),
            "altup_merge": partial(kernels.altup_merge, x, others),
            "gelu_gate": partial(kernels.gelu_gate, gate, inputs, 7),
            "norm_heads": partial(kernels.norm_heads, heads, small, 1e-6),
        }
        for name, call in calls.items():
            yield Row(f"{name}, {tokens} tokens", call)


def sparse_rows(kernels: Native) -> Iterator[Row]:
    """The feed-forward of which 95% of the columns are cut, with everything read, and with what lives."""
    rng = np.random.default_rng(5)
    for format in (Format.Q4_0, Format.Q8_0):
        up = matrices(kernels, format, FFN, HIDDEN, Access.ROWS)
        down = matrices(kernels, format, HIDDEN, FFN, Access.COLUMNS)
        for tokens in (1, 512):
            gate, x = (rng.standard_normal((tokens, n), np.float32) for n in (FFN, HIDDEN))
            turn = iter(range(1 << 30))

            def call(
                gate: F32 = gate, x: F32 = x, turn: Iterator[int] = turn, up: list[Any] = up, down: list[Any] = down
            ) -> object:
                at = next(turn)
                return kernels.sparse_mlp(gate, x, up[at % len(up)], down[at % len(down)], SPARSITY)

            yield Row(f"sparse_mlp {format.name}, {tokens} tokens", call)


def table_rows(kernels: Native) -> Iterator[Row]:
    """Per-layer embeddings read from a file that the system holds in memory."""
    columns = LAYERS * PER_LAYER
    rng = np.random.default_rng(6)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table")
        file.write_bytes(rng.bytes(TABLE_ROWS * Format.Q8_0.row_bytes(columns)))
        table = RowTable(file, 0, Format.Q8_0, TABLE_ROWS, columns)
        for tokens in (1, 512):
            ids = rng.integers(0, TABLE_ROWS, tokens).astype(np.int32)
            read = tokens * Format.Q8_0.row_bytes(columns)
            yield Row(f"expect_rows Q8_0, {tokens} tokens", partial(kernels.expect_rows, table, ids))
            yield Row(f"read_rows Q8_0, {tokens} tokens", partial(kernels.read_rows, table, ids, 16.0), read)


ROWS = (stream_rows, sparse_rows, table_rows)
