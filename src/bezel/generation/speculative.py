"""Lossless speculative decoding (Leviathan et al. 2023, Chen et al. 2023) by comparison of tokens.

A drafter proposes tokens, one pass gives the logits after each of them, and every token is then chosen as the plain
loop chooses it, from the same logits with the same random numbers. The first choice that differs from the draft is
the token that the plain loop would have produced, and the rest of the draft is dropped. So whatever is drafted, the
tokens, their log-probabilities and the random numbers used are those of `loop.generate`, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from bezel.generation.cache import Cache
from bezel.generation.drafters import Drafter
from bezel.generation.loop import Step, answer_budget, prefill, step_of
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling, choose, penalise
from bezel.generation.steps import Steps
from bezel.models.interface import Batch, TextModel


class Speculation:
    """One answer of a model with a drafter at its side; the counts are there while it runs and afterwards.

    draft_tokens: drafted and checked. accepted_tokens: those of them that became part of the answer.
    """

    def __init__(self, drafter: Drafter, pace: Pace | None = None) -> None:
        self._drafter, self._pace = drafter, pace or Pace()
        self.draft_tokens = self.accepted_tokens = 0

    def generate(
        self,
        model: TextModel,
        prompt: Sequence[int],
        sampling: Sampling,
        stop_ids: Collection[int] = (),
        max_tokens: int | None = None,
        logprobs: int = 0,
    ) -> Iterator[Step]:
        """As `loop.generate`, and exactly what it yields."""
        budget = answer_budget(model, prompt, max_tokens)
        cache = Cache(model.cache_spec, len(prompt) + budget)
        cache.begin(0)
        rng = np.random.default_rng(sampling.seed)
        *_, logits = prefill(model, cache, prompt)
        rows = logits[-1:]
        self._drafter.begin(prompt)
        steps = Steps(model)
        history, produced = list(prompt), list[int]()
        draft: Sequence[int] = ()
        seconds = drafting = 0.0
        while True:
            accepted = 0
            for place, row in enumerate(rows):
                token = choose(penalise(row, history, produced, sampling), sampling, rng)
                history.append(token)
                produced.append(token)
                agrees = place < len(draft) and token == draft[place]
                accepted += agrees
                self.accepted_tokens += agrees
                yield step_of(row, token, logprobs)
                if token in stop_ids or len(produced) == budget:
                    return
                if not agrees:
                    break
            if seconds:
                self._pace.record(len(draft), accepted, seconds, drafting)
            began = time.perf_counter()
            draft = self._draft(history, budget - len(produced) - 1)
            drafted = time.perf_counter()
            position = len(history) - 1
            batch = Batch.of([([token, *draft], position, True)])
            # What slides out of a window is what even the first row no longer sees, so a rejected draft loses nothing.
            rows = steps.forward(batch, cache.view([(0, position, 1 + len(draft))]))
            drafting, seconds = drafted - began, time.perf_counter() - drafted
            self.draft_tokens += len(draft)

    def _draft(self, history: Sequence[int], room: int) -> Sequence[int]:
        length = self._pace.length(room, lambda count: self._drafter.seconds(history, count))
        return self._drafter.propose(history, length)[:length] if length else ()
