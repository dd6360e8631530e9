"""Every kernel by itself at true shapes (`bench/kernel_rows`): microseconds, and what it reads or computes in a second.

    python -m bench.kernels [--threads N] [--rounds 7] [--set avx2]

GB/s counts the weights (or keys and values) that a call reads, GOP/s two operations for each multiplication. Matrices
are drawn from a pool that is larger than any processor's cache, as in a model, where a weight is read once a step.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

from bench.kernel_rows import gemma3n, text, towers
from bezel.kernels.library import Native


def seconds_of(call: Callable[[], object], rounds: int) -> float:
    """Median of `rounds` timings, each of enough calls to take five milliseconds."""
    call()
    began = time.perf_counter()
    call()
    count = max(1, int(0.005 / max(time.perf_counter() - began, 1e-7)))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - began) / count)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", default=None, help="an instruction set, as in BEZEL_ISA")
    options = parser.parse_args()
    kernels = Native(options.threads, options.set)
    results = []
    print(f"{kernels.isa}, {kernels.threads} threads\n\n| kernel | µs | GB/s | GOP/s |\n|---|---|---|---|")
    for rows in (*text.ROWS, *gemma3n.ROWS, *towers.ROWS):
        for row in rows(kernels):
            seconds = seconds_of(row.call, options.rounds)
            read, made = row.bytes_read / seconds / 1e9, row.operations / seconds / 1e9
            cells = [f"{seconds * 1e6:.1f}", *(f"{value:.1f}" if value else "" for value in (read, made))]
            print(f"| {row.name} | {' | '.join(cells)} |", flush=True)
            results.append({"kernel": row.name, "seconds": seconds, "gb_s": read, "gop_s": made})
    print(json.dumps({"isa": kernels.isa, "threads": kernels.threads, "results": results}))


if __name__ == "__main__":
    main()
