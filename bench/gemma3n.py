"""What Gemma 3n's disk rows cost, and how much memory the whole process takes.

    python -m bench.gemma3n FILE [--tokens 64] [--rounds 5]

Decodes random tokens with the per-layer rows in memory, on disk with a warm page cache, and on disk with none of the
table in the page cache, in turn. Prints medians and one JSON line. The peak is that of a prompt of 512 tokens and 128
new ones in a context of 4,096, before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from bezel.backends.bench import bench
from bezel.backends.native import NativeBackend
from bezel.generation.cache import Cache
from bezel.generation.loop import prefill
from bezel.generation.steps import Steps
from bezel.kernels.tables import RowTable
from bezel.models.interface import Batch, TextModel

CONTEXT, PROMPT = 4096, 64


def in_memory(table: RowTable) -> RowTable:
    """A copy of the table in a file that has no disk."""
    size = table.rows * table.stride
    file = os.memfd_create("rows")
    copied = 0
    while copied < size:
        copied += os.sendfile(file, table.file, table.offset + copied, size - copied)
    copy = RowTable(Path(f"/proc/self/fd/{file}"), 0, table.format, table.rows, table.columns)
    os.close(file)
    return copy


def touch(table: RowTable, ids: np.ndarray) -> None:
    """Have the rows of `ids` in the page cache."""
    table.read(ids)


def forget(table: RowTable, ids: np.ndarray) -> None:
    """Have none of the table in the page cache."""
    os.posix_fadvise(table.file, table.offset, table.rows * table.stride, os.POSIX_FADV_DONTNEED)


def bytes_from_disk() -> int:
    """What this process has had read from a disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def decode_speed(
    model: TextModel, ids: np.ndarray, prepare: Callable[[RowTable, np.ndarray], None]
) -> tuple[float, int]:
    """Tokens a second, one random token after the other behind a short prompt; and bytes read from disk meanwhile."""
    table = model.embed_tokens_per_layer  # type: ignore[attr-defined]
    cache, steps = Cache(model.cache_spec, PROMPT + len(ids)), Steps(model)
    cache.begin(0)
    for _ in prefill(model, cache, list(range(PROMPT))):
        pass
    table.kept[:] = -1
    prepare(table, ids)
    began, read = 0.0, bytes_from_disk()
    for place, token in enumerate(ids.tolist()):
        if place == 1:  # the first step is recorded
            began = time.perf_counter()
        position = PROMPT + place
        steps.forward(Batch.of([([token], position, False)]), cache.view([(0, position, 1)]))
    return (len(ids) - 1) / (time.perf_counter() - began), bytes_from_disk() - read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = NativeBackend.load(str(options.file), context=CONTEXT).model
    run = bench(model, prompt_tokens=512, new_tokens=128)
    print(f"prefill {run.prefill_tokens_per_second:.1f}, decode {run.decode_tokens_per_second:.1f} tokens a second")
    print(f"peak memory {run.peak_memory / 1e6:.0f} MB")
    disk = model.embed_tokens_per_layer  # type: ignore[attr-defined]
    memory = in_memory(disk)
    kinds = {"memory": (memory, touch), "warm": (disk, touch), "cold": (disk, forget)}
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    read: dict[str, int] = {}
    rng = np.random.default_rng(0)
    for _ in range(options.rounds):
        ids = rng.choice(disk.rows, options.tokens + 1, replace=False).astype(np.int32)
        for kind, (table, prepare) in kinds.items():
            model.embed_tokens_per_layer = table  # type: ignore[attr-defined]
            speed, read[kind] = decode_speed(model, ids, prepare)
            speeds[kind].append(speed)
    for kind, found in speeds.items():
        ratio = median(a / b for a, b in zip(found, speeds["memory"], strict=True))
        print(
            f"rows from {kind}: {median(found):.2f} tokens a second, {ratio:.3f} of rows in memory; "
            f"{read[kind] / options.tokens / 1e3:.1f} kB a token from disk"
        )
    print(json.dumps({"file": options.file.name, "peak_memory": run.peak_memory, "decode": speeds}))


if __name__ == "__main__":
    main()
