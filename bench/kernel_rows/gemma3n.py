"""What Gemma 3n's text model needs besides, at the shapes of E2B."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

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

    router, prediction, correction = random(STREAMS, HIDDEN) / HIDDEN, random(16, STREAMS), random(STREAMS, STREAMS)
    weight, small, norms = np.ones(HIDDEN, np.float32), np.ones(HEAD_DIM, np.float32), np.ones((3, HIDDEN), np.float32)
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
            "altup_expand": lambda x=x, p=projected: kernels.altup_expand(x, p),
            "altup_predict": lambda s=streams: kernels.altup_predict(s, router, prediction, 0, weight, 1e-6),
            "laurel": lambda s=streams, n=normed, a=attended, low=low: kernels.laurel(s, 0, n, a, low, norms, 1e-6),
            "altup_correct": lambda s=changed, m=mixed, f=normed: kernels.altup_correct(
                s, m, f, weight, router, correction, 0, weight, 1e-6
            ),
            "altup_inject": lambda s=changed, x=x: kernels.altup_inject(s, x, weight, 1e-6),
            "altup_split": lambda s=streams: kernels.altup_split(s),
            "altup_merge": lambda x=x, o=others: kernels.altup_merge(x, o),
            "gelu_gate": lambda g=gate, i=inputs: kernels.gelu_gate(g, i, 7),
            "norm_heads": lambda h=heads: kernels.norm_heads(h, small, 1e-6),
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
                gate: F32 = gate, x: F32 = x, turn: Iterator[int] = turn, up: list = up, down: list = down
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
            yield Row(f"expect_rows Q8_0, {tokens} tokens", lambda ids=ids: kernels.expect_rows(table, ids))
            yield Row(f"read_rows Q8_0, {tokens} tokens", lambda ids=ids: kernels.read_rows(table, ids, 16.0), read)


ROWS = (stream_rows, sparse_rows, table_rows)
