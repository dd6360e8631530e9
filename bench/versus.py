"""bezel and llama.cpp on the same GGUF, in turns, in one run.

    python bench/versus.py FILE.gguf --llama-bench PATH [--rounds 5]

Prints a table of medians with their ratio, and one JSON line. Every figure comes from a process of its own, and the
two take turns, because memory bandwidth swings within minutes. `llama-bench` is llama.cpp's own tool; bench/LOG.md
says how it was built. Decode's share of the bound is bytes read for a token, times tokens a second, over the bandwidth
that the machine's own read test gives in the same minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from bezel.kernels.library import read_bandwidth
from bezel.weights.checkpoint import open_checkpoint


def llama(binary: Path, file: Path, threads: int, prompt: int, new: int, depth: int) -> float:
    """Tokens a second of one llama-bench test."""
    command = [str(binary), "-m", str(file), "-t", str(threads), "-r", "1", "-o", "jsonl"]
    command += ["-p", str(prompt), "-n", str(new), "-d", str(depth)]
    environment = os.environ | {"LD_LIBRARY_PATH": str(binary.parent)}
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    return float(json.loads(lines[-1])["avg_ts"])


def ours(file: Path, threads: int, prompt: int, new: int, depth: int) -> float:
    """Tokens a second of one `bezel bench`: of reading where nothing is written, else of writing."""
    command = [sys.executable, "-m", "bezel.cli", "bench", str(file), "--json", "--threads", str(threads)]
    command += ["-p", str(prompt or 1), "-n", str(new or 1), "-d", str(depth)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return float(found["decode_tokens_per_second" if new else "prefill_tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompts", type=int, nargs="*", default=[128, 512, 2048])
    parser.add_argument("--depths", type=int, nargs="*", default=[0, 2048, 8192])
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    tests = [(f"prefill {n}", n, 0, 0) for n in options.prompts]
    tests += [(f"decode at {depth}", 0, options.new_tokens, depth) for depth in options.depths]
    weights = sum(info.nbytes for info in open_checkpoint(options.file).source.tensors.values())
    results = []
    print("| test | bezel | llama.cpp | ratio | of the bound |")
    print("|---|---|---|---|---|")
    for name, prompt, new, depth in tests:
        found: dict[str, list[float]] = {"bezel": [], "llama.cpp": [], "bandwidth": []}
        for _ in range(options.rounds):
            found["bezel"].append(ours(options.file, options.threads, prompt, new, depth))
            found["llama.cpp"].append(llama(options.llama_bench, options.file, options.threads, prompt, new, depth))
            found["bandwidth"].append(read_bandwidth(options.threads))
        median = {key: statistics.median(values) for key, values in found.items()}
        ratio = statistics.median(np.divide(found["bezel"], found["llama.cpp"]))
        bound = median["bandwidth"] / weights
        share = f"{median['bezel'] / bound:.0%}" if new and not depth else ""
        print(f"| {name} | {median['bezel']:.1f} | {median['llama.cpp']:.1f} | {ratio:.2f} | {share} |", flush=True)
        results.append({"test": name, "ratio": round(float(ratio), 3), **found})
    print(json.dumps({"file": options.file.name, "threads": options.threads, "results": results}))


if __name__ == "__main__":
    main()
