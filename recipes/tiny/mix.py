"""Which task an example comes from, by the share of training that is done."""

import random

from bezel.training.data import advisor, calls, copying, phrases, refusals, results, sums
from bezel.training.data.example import Example, Generator, Split


def _calls(rng: random.Random, split: Split) -> Example:
    """In training four questions about the same tools, which cost little more to read than one.

    Everyday tools, which are asked for in natural words, are learned last: they are two thirds there, and a third of
    their requests are indirect.
    """
    if split == "train":
        return calls.sample_of_several(rng, split, everyday_share=0.65, indirect_share=0.35)
    return calls.sample(rng, split)


GENERATORS: dict[str, Generator] = {
    "advisor": advisor.sample,
    "calls": _calls,
    "sums": sums.sample,
    "phrases": phrases.sample,
    "refusals": refusals.sample,
    "copying": copying.sample,
    "results": results.sample,
}


def token_shares(done: float) -> dict[str, float]:
    """Shares of tokens when `done` (0 to 1) of the run is over: copying first, then calls take its place."""
    copying_share = 0.12 if done < 0.1 else 0.05
    rest = {"advisor": 0.25, "sums": 0.04, "phrases": 0.02, "refusals": 0.04, "results": 0.06}
    return {**rest, "copying": copying_share, "calls": 1 - copying_share - sum(rest.values())}
