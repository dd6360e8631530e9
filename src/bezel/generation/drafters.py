"""Who proposes the next tokens: the text's own repetitions, or a smaller model of the family."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from bezel.generation.cache import Cache
from bezel.generation.steps import Steps
from bezel.kernels.interface import F32
from bezel.models.interface import Batch, TextModel


class Drafter(Protocol):
    """Proposes tokens for one answer. The history that it is shown grows only at its end."""

    def begin(self, prompt: Sequence[int]) -> None:
        """Read the prompt; called once, before anything else."""

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        """At most `limit` tokens, ids of the model's vocabulary, that may follow prompt and answer so far."""

    def seconds(self, history: Sequence[int], limit: int) -> float:
        """What `propose` is expected to take."""


class PromptLookup:
    """Proposes what followed the last tokens where they stood before, in prompt or answer.

    Of the latest `_CANDIDATES` places that end with the same two tokens, that with the longest common run before it is
    continued. Every token is indexed once.
    """

    _CANDIDATES, _RUN = 8, 32

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], int] = {}
        self._earlier: list[int] = [-1]  # the place before with the same two tokens, for the place of every token

    def begin(self, prompt: Sequence[int]) -> None:
        """See `Drafter.begin`."""
        self._index(prompt)

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        """See `Drafter.propose`. Where a place's continuation ends, it goes on with itself."""
        self._index(history)
        end = len(history)
        place = self._earlier[end - 1]
        best, longest = -1, 0
        for _ in range(self._CANDIDATES):
            if place < 0:
                break
            run = self._run(history, place, end - 1)
            if run > longest:
                best, longest = place, run
            place = self._earlier[place]
        if best < 0:
            return ()
        period = end - 1 - best
        return [history[best + 1 + i % period] for i in range(limit)]

    def seconds(self, history: Sequence[int], limit: int) -> float:
        """Nothing next to a pass."""
        return 0.0

    def _index(self, history: Sequence[int]) -> None:
        latest, earlier = self._latest, self._earlier
        first = len(earlier)
        for place, pair in enumerate(zip(history[first - 1 :], history[first:], strict=False), first):
            earlier.append(latest.get(pair, -1))
            latest[pair] = place

    def _run(self, history: Sequence[int], one: int, other: int) -> int:
        run = 0
        while run < self._RUN and run <= one and history[one - run] == history[other - run]:
            run += 1
        return run


class DraftModel:
    """Proposes what a smaller model finds most probable. `vocabulary`: the ids that both models have.

    Its cache holds what it has read of the history, and its own last proposal, of which what was rejected is
    overwritten. It proposes nothing behind the end of its context or a token that it does not know.
    """

    _CHUNK = 512

    def __init__(self, model: TextModel, vocabulary: int) -> None:
        self._model, self._vocabulary = model, min(vocabulary, model.vocabulary)
        self._cache = Cache(model.cache_spec, model.context)
        self._cache.begin(0)
        self._steps = Steps(model)
        self._cached: list[int] = []
        self._agreed = 0  # how many of the cached tokens are known to stand in the history
        self._seconds_to_read = self._seconds_to_draft = 0.0  # a token

    def begin(self, prompt: Sequence[int]) -> None:
        """See `Drafter.begin`."""
        began = time.perf_counter()
        if self._knows(prompt, 0):
            self._read(prompt)
            self._seconds_to_read = (time.perf_counter() - began) / len(prompt)

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        """See `Drafter.propose`."""
        self._agree(history)
        if not self._knows(history, limit):
            return ()
        logits = self._read(history)
        draft: list[int] = []
        began = time.perf_counter()
        while True:
            draft.append(int(logits[: self._vocabulary].argmax()))
            if len(draft) == limit:
                break
            position = len(self._cached)
            self._cached.append(draft[-1])
            # The view starts at the draft's first token: a rejected draft is taken back to there, so a sliding layer
            # must not yet give back what only that token sees.
            view = self._cache.view([(0, len(history), position - len(history) + 1)])
            logits = self._steps.forward(Batch.of([([draft[-1]], position, False)]), view)[-1]
        self._seconds_to_draft = (time.perf_counter() - began) / limit
        return draft

    def seconds(self, history: Sequence[int], limit: int) -> float:
        """See `Drafter.seconds`: by what reading the prompt and the last proposal took."""
        return (len(history) - self._agreed) * self._seconds_to_read + limit * self._seconds_to_draft

    def _knows(self, history: Sequence[int], limit: int) -> bool:
        unread = history[self._agreed :]
        return len(history) + limit <= self._model.context and all(token < self._vocabulary for token in unread)

    def _agree(self, history: Sequence[int]) -> None:
        """Forget what is cached and does not stand in the history; its last token is read again if need be."""
        most = min(len(self._cached), len(history) - 1)
        self._agreed = min(self._agreed, most)
        while self._agreed < most and self._cached[self._agreed] == history[self._agreed]:
            self._agreed += 1
        del self._cached[self._agreed :]

    def _read(self, history: Sequence[int]) -> F32:
        """Logits [vocabulary] after the history, of which what is not cached is read."""
        for start in range(self._agreed, len(history), self._CHUNK):
            chunk = list(history[start : start + self._CHUNK])
            logits = self._steps.forward(Batch.of([(chunk, start, False)]), self._cache.view([(0, start, len(chunk))]))
            self._cached += chunk
            last: F32 = logits[-1]
        self._agreed = len(history)
        return last
