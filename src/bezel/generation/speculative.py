"""Lossless speculative decoding (Leviathan et al. 2023, Chen et al. 2023) by comparison of tokens.

A drafter proposes tokens, one pass gives the logits after each of them, and every token is then chosen as the plain
loop chooses it, from the same logits with the same random numbers. The first choice that differs from the draft is
the token that the plain loop would have produced, and the rest of the draft is dropped. So whatever is drafted, the
tokens, their log-probabilities and the random numbers used are those of `loop.generate`, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np

from bezel.generation.constraints.choosing import choose_next
from bezel.generation.constraints.interface import Constraint
from bezel.generation.drafters import Drafter
from bezel.generation.loop import Step, step_of
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import F32, Kernels


class Speculation:
    """The drafter of one answer, its pace, and its counts.

    draft_tokens: drafted and checked. accepted_tokens: those of them that became part of the answer.
    """

    def __init__(self, drafter: Drafter, pace: Pace | None = None) -> None:
        self._drafter, self._pace = drafter, pace or Pace()
        self._begun = self._over = False
        self._drafting = 0.0
        self.draft_tokens = self.accepted_tokens = 0

    def draft(self, history: Sequence[int], room: int) -> tuple[int, ...]:
        """Tokens that may follow `history`, at most `room`; none where a draft would not pay."""
        if self._over:
            return ()
        began = time.perf_counter()
        if not self._begun:
            self._drafter.begin(history)
            self._begun = True
            began = time.perf_counter()
        length = self._pace.length(room, lambda count: self._drafter.seconds(history, count))
        draft = tuple(self._drafter.propose(history, length)[:length]) if length else ()
        self._drafting = time.perf_counter() - began
        return draft

    def end(self) -> None:
        """Draft no more: what drafters were shown is no longer what stands there."""
        self._over = True

    def checked(self, drafted: int, accepted: int, seconds: float | None) -> None:
        """What came of a draft, and the seconds of the pass that checked it (None where others shared the pass)."""
        self.draft_tokens += drafted
        self.accepted_tokens += accepted
        if seconds is not None:
            self._pace.record(drafted, accepted, seconds, self._drafting)


def choose_rows(
    rows: F32,
    draft: Sequence[int],
    history: list[int],
    produced: list[int],
    sampling: Sampling,
    rng: np.random.Generator,
    stop_ids: Collection[int],
    budget: int,
    logprobs: int,
    kernels: Kernels,
    constraint: Constraint | None = None,
) -> tuple[list[Step], int, int]:
    """Choose from logits `rows` [1 + drafted, vocabulary], one behind `history` and one behind each drafted token.

    Stops where a choice differs from the draft, is a stop id, or is number `budget` of the `produced` tokens; both
    lists grow. Returns the tokens chosen, how many of them were drafted, and how many of the tokens produced before
    a constraint took back, which leave both lists too; then none were chosen.
    """
    steps: list[Step] = []
    place = 0
    while True:
        token, earlier = choose_next(rows[place], history, produced, sampling, rng, kernels, constraint)
        if earlier:
            del history[-earlier:], produced[-earlier:], steps[-earlier:]
            place -= earlier
            if place < 0:
                return [], 0, -place
            continue
        history.append(token)
        produced.append(token)
        steps.append(step_of(rows[place], token, logprobs, kernels))
        if place >= len(draft) or token != draft[place]:
            return steps, place, 0
        if token in stop_ids or len(produced) == budget:
            return steps, place + 1, 0
        place += 1
