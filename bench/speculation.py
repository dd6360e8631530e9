"""What speculation costs where nothing is accepted and gives where everything is: ratios to plain decode.

    python bench/speculation.py FILE.gguf [--draft SMALLER.gguf] [--tokens 256] [--rounds 5]

Each round decodes the same random prompt plainly and with each drafter, one after the other; a ratio is plain seconds
over a drafter's, of the same round. "wrong" always proposes as many tokens as it is asked for, all wrong; "right" knows
the answer; "right, k" drafts k tokens whatever they cost. Temperature 1, so that random weights do not repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bezel.backends.native import NativeBackend
from bezel.generation.drafters import Drafter, DraftModel, NoDraft, PromptLookup
from bezel.generation.loop import Step, generate
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation


class Fixed(Pace):
    """Drafts `count` tokens before every pass."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def length(self, limit: int, drafting: Callable[[int], float]) -> int:
        return min(limit, self._count)


class Known(NoDraft):
    """Proposes what stands in `whole`, each id moved by `error`."""

    def __init__(self, whole: Sequence[int], vocabulary: int, error: int = 0) -> None:
        self._whole, self._vocabulary, self._error = whole, vocabulary, error

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        return [(t + self._error) % self._vocabulary for t in self._whole[len(history) : len(history) + limit]]


def decode_seconds(steps: Iterator[Step]) -> float:
    """Seconds from the first token, which prefill gives, to the last."""
    next(steps)
    began = time.perf_counter()
    for _ in steps:
        pass
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--draft")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    backend = NativeBackend.load(options.file, context=64 + options.tokens, draft=options.draft)
    model, rng = backend.model, np.random.default_rng(0)
    prompt = rng.integers(6, model.vocabulary, 64).tolist()
    sampling, most = Sampling(temperature=1.0, seed=1), options.tokens
    whole = [*prompt, *(step.token_id for step in generate(model, prompt, sampling, (), most))]
    ways: dict[str, Callable[[], tuple[Drafter, Pace]]] = {
        "wrong": lambda: (Known(whole, model.vocabulary, 1), Pace()),
        "lookup": lambda: (PromptLookup(), Pace()),
        "right": lambda: (Known(whole, model.vocabulary), Pace()),
        **{f"right, {k}": lambda k=k: (Known(whole, model.vocabulary), Fixed(k)) for k in (1, 2, 4, 8)},
    }
    if (draft := backend._draft) is not None:
        ways["draft"] = lambda: (DraftModel(draft, model.vocabulary), Pace())
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    plain = []
    for _ in range(options.rounds):
        for name, way in ways.items():
            plain.append(decode_seconds(generate(model, prompt, sampling, (), most)))
            speculation = Speculation(*way())
            seconds = decode_seconds(speculation.generate(model, prompt, sampling, (), most))
            ratios[name].append(plain[-1] / seconds)
            print(f"{name:10} {ratios[name][-1]:.3f}  {speculation.accepted_tokens} of {speculation.draft_tokens}")
    found = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    rate = round((most - 1) / statistics.median(plain), 1)
    print(json.dumps({"file": options.file, "plain_tokens_per_second": rate, "ratios": found}))


if __name__ == "__main__":
    main()
