"""The next token of an answer that may be constrained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bezel.generation.constraints.interface import Constraint
from bezel.generation.sampling import Sampling, choose, penalise
from bezel.kernels.interface import F32, Kernels


def choose_next(
    row: F32,
    history: Sequence[int],
    produced: Sequence[int],
    sampling: Sampling,
    rng: np.random.Generator,
    kernels: Kernels,
    constraint: Constraint | None,
) -> tuple[int, int]:
    """The token chosen from logits `row` [vocabulary], which stand behind `history`, and 0 where it stands.

    Else the number of tokens before it, at least 1, that the constraint took back together with it.
    """
    logits = penalise(row, history, produced, sampling)
    if constraint is None:
        return choose(logits, sampling, rng, kernels), 0
    while True:
        token = choose(kernels.masked(logits, constraint.mask()), sampling, rng, kernels)
        taken_back = constraint.accept(token)
        if taken_back != 1:
            return token, max(0, taken_back - 1)
