"""bezel and llama.cpp on the same GGUF, in turns, in one run.

    python bench/versus.py FILE.gguf --llama-cpp FOLDER [--rounds 5] [--openvino PYTHON MODEL_FOLDER]

Prints a table of medians with their ratio, and one JSON line. Every figure comes from a process of its own, and the
engines take turns, because memory bandwidth swings within minutes. FOLDER holds llama.cpp's own tools; bench/LOG.md
says how they were built. Decode's share of the bound is bytes read for a token, times tokens a second, over the
bandwidth that the machine's own read test gives in the same minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.rivals import Bezel, Engine, LlamaCpp, OpenVino, Speed, Whole
from bezel.weights.checkpoint import open_checkpoint

Measured = dict[str, list[float]]


def turns(engines: Sequence[Engine], rounds: int, measure: Callable[[Engine], float]) -> Measured:
    """`rounds` figures of each engine, one after the other in every round."""
    found: Measured = {engine.name: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            found[engine.name].append(measure(engine))
    return found


def ratios(found: Measured) -> dict[str, float]:
    """The median, over rounds, of the first engine's figure over each other's."""
    first, *others = found
    return {name: float(statistics.median(np.divide(found[first], found[name]))) for name in others}


def row(name: str, found: Measured, digits: int = 1, note: str = "") -> str:
    """A line of the table."""
    cells = [f"{statistics.median(values):.{digits}f}" for values in found.values()]
    return "| " + " | ".join([name, *cells, *(f"{ratio:.2f}" for ratio in ratios(found).values()), note]) + " |"


def bandwidth(threads: int) -> float:
    """`read_bandwidth` in a process of its own: children begin with the most memory that this one ever held."""
    code = f"from bezel.kernels.library import read_bandwidth; print(read_bandwidth({threads}))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--llama-cpp", type=Path, required=True, help="the folder of llama-bench and llama-completion")
    parser.add_argument("--openvino", type=Path, nargs=2, metavar=("PYTHON", "FOLDER"), help="see openvino_rival.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompts", type=int, nargs="*", default=[128, 512, 2048])
    parser.add_argument("--depths", type=int, nargs="*", default=[0, 2048, 8192])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--no-whole", action="store_true", help="leave out the whole process' first token and memory")
    parser.add_argument("--options", nargs="*", default=[], help="further options of bezel's verbs")
    options = parser.parse_args()
    rivals: list[Engine] = [LlamaCpp(options.llama_cpp, options.file, options.threads)]
    if options.openvino:
        python, folder = options.openvino
        rivals.append(OpenVino(python, folder, options.threads))
    engines: list[Engine] = [Bezel(options.file, options.threads, tuple(options.options)), *rivals]
    tests = [Speed(f"prefill {n}", n, 0) for n in options.prompts]
    tests += [Speed(f"decode at {depth}", 0, options.new_tokens, depth) for depth in options.depths]
    results: list[dict[str, Any]] = []

    def report(name: str, found: Measured, digits: int = 1, note: str = "", **more: Any) -> None:
        print(row(name, found, digits, note), flush=True)
        results.append({"test": name, "ratios": ratios(found), **found, **more})

    names = [engine.name for engine in engines]
    heads = ["test", *names, *(f"over {name}" for name in names[1:]), "of the bound"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    checkpoint = open_checkpoint(options.file)
    weights = sum(info.nbytes for info in checkpoint.source.tensors.values())
    checkpoint.close()
    for test in tests:
        bandwidths: list[float] = []

        def measure(engine: Engine, test: Speed = test, bandwidths: list[float] = bandwidths) -> float:
            if engine is engines[0]:
                bandwidths.append(bandwidth(options.threads))
            return engine.speed(test)

        found = turns(engines, options.rounds, measure)
        share = float(statistics.median(weights * np.divide(found["bezel"], bandwidths)))
        note = f"{share:.0%}" if test.new and not test.depth else ""
        report(test.name, found, note=note, bandwidth=bandwidths)
    if not options.no_whole:
        wholes: dict[str, list[Whole]] = {engine.name: [] for engine in engines[:2]}
        for _ in range(options.rounds):
            for engine in engines[:2]:
                wholes[engine.name].append(engine.whole())
        report("first token, whole process (s)", {n: [w.seconds for w in found] for n, found in wholes.items()}, 2)
        report("peak memory (MB)", {n: [w.peak_memory / 1e6 for w in found] for n, found in wholes.items()}, 0)
    print(json.dumps({"file": options.file.name, "threads": options.threads, "results": results}))


if __name__ == "__main__":
    main()
