"""What a precision level costs: the KL divergence of its next-token distributions from float32's.

    python bench/level_cost.py CHECKPOINT

CHECKPOINT is a Hugging Face folder or a GGUF of F32 or BF16 weights, best of a model trained on tiny's tasks: the
texts are held-out prompts of `bezel eval` with the answers that the float32 model gives. Prints a table.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import bezel
from bezel.kernels.interface import F32, Format
from bezel.training.evaluation import generated
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.quantize import quantize

LEVELS = (Format.BF16, Format.Q8_0, Format.Q4_0)


def log_softmax(logits: F32) -> Any:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def main(checkpoint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for level in (Format.F32, *LEVELS):
            file = Path(folder) / f"{level.name}.gguf"
            size = quantize(open_checkpoint(Path(checkpoint)), file, level)
            models[level] = bezel.load(str(file)), size
        exact = models[Format.F32][0]
        questions = [q for _, found in generated(20).values() for q in found]
        texts = []
        for question in questions:
            prompt = exact.prompt_ids(question.messages, question.tools)
            answer = exact.chat(question.messages, tools=question.tools, temperature=0.0, max_tokens=100).token_ids
            texts.append((len(prompt), [*prompt, *answer]))
        print("| level | size (MB) | mean KL (nats) | 99th percentile | same first choice |")
        print("|---|---|---|---|---|")
        for level in LEVELS:
            model, size = models[level]
            divergences, same = [], []
            for start, ids in texts:
                expected = log_softmax(exact.logits(ids)[start - 1 :])
                found = log_softmax(model.logits(ids)[start - 1 :])
                divergences.append((np.exp(expected) * (expected - found)).sum(-1))
                same.append(expected.argmax(-1) == found.argmax(-1))
            kl = np.concatenate(divergences)
            share = np.concatenate(same).mean()
            print(f"| {level.name} | {size / 1e6:.1f} | {kl.mean():.2e} | {np.percentile(kl, 99):.2e} | {share:.2%} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
