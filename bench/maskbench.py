"""How many JSON Schemas are handled: python -m bench.maskbench FOLDER [--every N] [--from K] [--failures FILE]

FOLDER holds one JSON file a schema, with `schema` and `tests`, each with `data` and `valid` (the data of
guidance-ai/jsonschemabench, folder maskbench/data). Every instance is written down as Python's json does and walked
through the masks byte by byte, then its end is asked for. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bezel.errors import BezelError, ConstraintError
from bezel.generation.constraints.compiling import Compiled, Compiler
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.constraints.limits import Limits
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.testing import accepts, byte_tokenizer


def judge(compiler: Compiler, case: dict[str, Any]) -> tuple[str, float, Compiled | None]:
    """What became of one schema, the seconds of processor time to compile it, and the result."""
    began = time.process_time()
    try:
        compiled = compiler.compile(Grammar.schema(case["schema"]))
    except ConstraintError as error:
        return f"refused: {error}", time.process_time() - began, None
    seconds = time.process_time() - began
    for test in case["tests"]:
        try:
            accepted = accepts(compiled.start(), json.dumps(test["data"], ensure_ascii=False))
        except BezelError as error:
            if test["valid"]:
                return f"valid refused: {error}", seconds, compiled
            continue
        if accepted != test["valid"]:
            return "valid refused" if test["valid"] else "invalid accepted", seconds, compiled
    return "handled", seconds, compiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take one schema in so many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--failures", type=Path, help="where to write what was not handled")
    options = parser.parse_args()
    compiler = Compiler(Vocabulary(byte_tokenizer()), Limits(cached=1))
    counts: Counter[str] = Counter()
    exact, times, failures = 0, list[float](), list[str]()
    for path in sorted(options.folder.glob("*.json"))[options.first :: options.every]:
        case = json.loads(path.read_text("utf-8"))
        try:
            verdict, seconds, compiled = judge(compiler, case)
        except Exception as error:
            verdict, seconds, compiled = f"crashed: {error!r}", 0.0, None
        counts[verdict.split(":")[0]] += 1
        times.append(seconds)
        exact += compiled is not None and not compiled.wider
        if verdict != "handled" or seconds > 1:
            failures.append(f"{path.name}\t{seconds:.2f}\t{verdict}")
        if sum(counts.values()) % 500 == 0:
            print(dict(counts), file=sys.stderr, flush=True)
    if options.failures:
        options.failures.write_text("\n".join(failures) + "\n")
    times.sort()
    print(
        json.dumps(
            {
                "schemas": len(times),
                "handled": counts["handled"],
                "exact_grammar": exact,
                "refused": counts["refused"],
                "valid_refused": counts["valid refused"],
                "invalid_accepted": counts["invalid accepted"],
                "crashed": counts["crashed"],
                "compile_p50_ms": round(1000 * times[len(times) // 2], 2),
                "compile_p99_ms": round(1000 * times[len(times) * 99 // 100], 2),
                "compile_most_ms": round(1000 * times[-1], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
