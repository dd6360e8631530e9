"""What masks cost beside decode: python -m bench.masking MODEL [--tokens N] [--rounds N]

Decodes the same prompt freely and under a schema, in turns, and times the masks on their own. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median
from typing import Any

import numpy as np

from bezel.backends.native import NativeBackend
from bezel.generation.constraints.calls.forms import form_of
from bezel.generation.constraints.choosing import choose_next
from bezel.generation.constraints.compiling import Compiled, Compiler
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.constraints.interface import Constraint
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.generation.loop import generate
from bezel.generation.sampling import Sampling

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 30},
                    "kind": {"enum": ["one", "two", "three"]},
                    "count": {"type": "integer", "minimum": 0, "maximum": 9999},
                    "note": {"type": ["string", "null"]},
                },
                "required": ["name", "kind", "count", "note"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["title", "rows"],
}
DOCUMENT = {
    "title": "Inventory",
    "rows": [
        {"name": "Bolt", "kind": "one", "count": 120, "note": None},
        {"name": "Washer", "kind": "two", "count": 48, "note": "second-drawer,-behind-the-nuts"},
        {"name": "Nut", "kind": "three", "count": 7, "note": "reorder-before-May"},
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    backend = NativeBackend.load(options.model)
    began = time.perf_counter()
    vocabulary = Vocabulary(backend.tokenizer, backend.model.vocabulary)
    assert vocabulary.native and len(vocabulary.content)
    built = time.perf_counter() - began
    began = time.perf_counter()
    compiled = Compiler(vocabulary).compile(Grammar.schema(SCHEMA))
    compiling = time.perf_counter() - began
    free, held = [], []
    for _ in range(options.rounds):
        free.append(_step_seconds(backend, None, options.tokens))
        held.append(_step_seconds(backend, compiled.start(), options.tokens))
    report: dict[str, Any] = {
        "model": options.model,
        "vocabulary": vocabulary.size,
        "vocabulary_built_s": round(built, 2),
        "compile_ms": round(1000 * compiling, 2),
        "step_ms": round(1000 * median(free), 2),
        "constrained_step_ms": round(1000 * median(held), 2),
        **_masks(backend, compiled),
        **_calls(backend, Compiler(vocabulary)),
    }
    print(json.dumps(report))


def _step_seconds(backend: NativeBackend, constraint: Constraint | None, tokens: int) -> float:
    """The median of a decode step's seconds, its choice included."""
    times = []
    began = time.perf_counter()
    for _ in generate(backend.model, [2, 5, 6, 7], Sampling(1.0, 64, 0.95, seed=1), (), tokens, constraint=constraint):
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    return median(times[2:])


def _masks(backend: NativeBackend, compiled: Compiled) -> dict[str, float]:
    """Milliseconds of masks along a document, of taking them out of logits, and of a choice without and with one."""
    kernels = backend.model.ops
    logits = np.random.default_rng(0).standard_normal(backend.model.vocabulary, np.float32)
    constraint = compiled.start()
    computing, applying, plain, whole = [], [], [], []
    sampling, rng = Sampling(1.0, 64, 0.95), np.random.default_rng(0)
    for token in backend.tokenizer.encode(json.dumps(DOCUMENT, separators=(",", ":"))):
        began = time.perf_counter()
        mask = constraint.mask()
        computing.append(time.perf_counter() - began)
        began = time.perf_counter()
        kernels.masked(logits, mask)
        applying.append(time.perf_counter() - began)
        began = time.perf_counter()
        choose_next(logits, (), (), sampling, rng, kernels, None)
        plain.append(time.perf_counter() - began)
        began = time.perf_counter()
        constraint.accept(token)
        whole.append(time.perf_counter() - began)
    computing.sort()
    return {
        "mask_p50_ms": round(1000 * median(computing), 3),
        "mask_p99_ms": round(1000 * computing[len(computing) * 99 // 100], 3),
        "apply_ms": round(1000 * median(applying), 3),
        "choice_ms": round(1000 * median(plain), 3),
        "accept_ms": round(1000 * median(whole), 3),
    }


def _tool(number: int) -> dict[str, Any]:
    place = {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string", "maxLength": 9}}}
    properties = {
        "title": {"type": "string", "description": "What it is about."},
        "kind": {"enum": ["one", "two", "three"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9999},
        "when": {"type": "string", "format": "date"},
        "place": place,
    }
    parameters = {"type": "object", "properties": properties, "required": ["title", "count"]}
    return {"type": "function", "function": {"name": f"function_{number}", "parameters": parameters}}


def _calls(backend: NativeBackend, compiler: Compiler) -> dict[str, float]:
    """Milliseconds for 20 tools: to compile them once, and what each answer waits for before its first token."""
    tools, form = [_tool(number) for number in range(20)], form_of(backend.template.dialect)
    began = time.perf_counter()
    compiler.calls(form, tools)
    report = {"tools_compile_ms": round(1000 * (time.perf_counter() - began), 2)}
    for name, required in (("auto", False), ("required", True)):
        waits = []
        for _ in range(9):
            began = time.perf_counter()
            compiler.calls(form, tools).start(required).mask()
            waits.append(time.perf_counter() - began)
        report[f"tools_{name}_first_mask_ms"] = round(1000 * median(waits), 3)
    return report


if __name__ == "__main__":
    main()
