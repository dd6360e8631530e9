"""What speculation costs where nothing is accepted and gives where everything is: ratios to plain decode.

    python -m bench.speculation FILE.gguf [--draft SMALLER.gguf] [--tokens 256] [--rounds 5]

Each round decodes the same random prompt plainly and with each drafter, one after the other; a ratio is plain seconds
over a drafter's, of the same round. "wrong" always proposes as many tokens as it is asked for, all wrong; "right" knows
the answer; "right, k" drafts k tokens whatever they cost. Temperature 1, so that random weights do not repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bezel.backends.native import NativeBackend
from bezel.engine.engine import Engine
from bezel.engine.request import Request
from bezel.generation.drafters import Drafter, DraftModel, PromptLookup
from bezel.generation.loop import generate
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.models.interface import TextModel

SAMPLING = Sampling(temperature=1.0, seed=1)


class Fixed(Pace):
    """Drafts `count` tokens before every pass."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def length(self, limit: int, drafting: Callable[[int], float]) -> int:
        return min(limit, self._count)


class Known:
    """Proposes what stands in `whole`, each id moved by `error`."""

    def __init__(self, whole: Sequence[int], vocabulary: int, error: int = 0) -> None:
        self._whole, self._vocabulary, self._error = whole, vocabulary, error

    def begin(self, prompt: Sequence[int]) -> None:
        pass

    def seconds(self, history: Sequence[int], limit: int) -> float:
        return 0.0

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        return [(t + self._error) % self._vocabulary for t in self._whole[len(history) : len(history) + limit]]


def decode_seconds(model: TextModel, prompt: Sequence[int], tokens: int, speculation: Speculation | None) -> float:
    """Seconds from the first token, which prefill gives, to the last."""
    engine, found = Engine(model, 1), list[float]()
    engine.add(Request(prompt, SAMPLING, tokens, speculation=speculation))
    while engine.busy:
        found += [progress.seconds for progress in engine.step()]
    return found[-1] - found[0]


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
    most = options.tokens
    whole = [*prompt, *(step.token_id for step in generate(model, prompt, SAMPLING, (), most))]

    def right(pace: Pace) -> tuple[Drafter, Pace]:
        return Known(whole, model.vocabulary), pace

    ways: dict[str, Callable[[], tuple[Drafter, Pace]]] = {
        "wrong": lambda: (Known(whole, model.vocabulary, 1), Pace()),
        "lookup": lambda: (PromptLookup(), Pace()),
        "right": lambda: right(Pace()),
        **{f"right, {k}": partial(right, Fixed(k)) for k in (1, 2, 4, 8)},
    }
    if (draft := backend._draft) is not None:
        ways["draft"] = lambda: (DraftModel(draft, model.vocabulary), Pace())
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    plain = []
    for _ in range(options.rounds):
        for name, way in ways.items():
            plain.append(decode_seconds(model, prompt, most, None))
            speculation = Speculation(*way())
            seconds = decode_seconds(model, prompt, most, speculation)
            ratios[name].append(plain[-1] / seconds)
            print(f"{name:10} {ratios[name][-1]:.3f}  {speculation.accepted_tokens} of {speculation.draft_tokens}")
    found = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    rate = round((most - 1) / statistics.median(plain), 1)
    print(json.dumps({"file": options.file, "plain_tokens_per_second": rate, "ratios": found}))


if __name__ == "__main__":
    main()
