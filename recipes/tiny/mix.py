"""Which task an example comes from, by the share of training that is done."""

from bezel.training.data import advisor, calls, copying, phrases, refusals, sums
from bezel.training.data.example import Generator

GENERATORS: dict[str, Generator] = {
    "advisor": advisor.sample,
    "calls": calls.sample,
    "sums": sums.sample,
    "phrases": phrases.sample,
    "refusals": refusals.sample,
    "copying": copying.sample,
}


def token_shares(done: float) -> dict[str, float]:
    """Shares of tokens when `done` (0 to 1) of the run is over: copying first, then calls take its place."""
    copying_share = 0.12 if done < 0.1 else 0.06
    rest = {"advisor": 0.18, "sums": 0.06, "phrases": 0.03, "refusals": 0.04}
    return {**rest, "copying": copying_share, "calls": 1 - copying_share - sum(rest.values())}
