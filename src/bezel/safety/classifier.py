"""ShieldGemma: the probability that a text violates each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bezel.errors import InvalidRequestError, UnsupportedModelError
from bezel.kernels.interface import F32
from bezel.safety.cleaning import cleaned
from bezel.safety.policies import Policy, named, prompt


class Judging(Protocol):
    """The model behind a classifier: `bezel.Model` is one."""

    @property
    def tokenizer(self) -> Any: ...

    def next_logits(self, token_ids: Sequence[int]) -> F32:
        """Logits of what comes behind the tokens [vocabulary]."""


@dataclass(frozen=True)
class Verdict:
    """The probability of a violation by policy, which of them reach the threshold, and what was undone in the text."""

    probabilities: Mapping[str, float]
    violated: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """Whether any policy is violated."""
        return bool(self.violated)


class Classifier:
    """Asks a ShieldGemma about each policy. `threshold`: the probability from which a policy counts as violated."""

    def __init__(self, model: Judging, threshold: float = 0.5, policies: Sequence[str] | None = None) -> None:
        if not 0 < threshold <= 1:
            raise InvalidRequestError(f"threshold is {threshold}; it must be above 0 and at most 1")
        self._model, self.threshold = model, threshold
        self._policies = named(list(policies) if policies is not None else None)
        self._answers = [_token(model, word) for word in ("Yes", "No")]

    def check(self, asked: str, answered: str | None = None) -> Verdict:
        """Judge what was asked or, where `answered` is given, the answer to it. Raises ContextLengthError."""
        question, answer = cleaned(asked), cleaned(answered) if answered is not None else None
        found = {
            policy.key: self._probability(policy, question.text, answer.text if answer else None)
            for policy in self._policies
        }
        violated = tuple(key for key, probability in found.items() if probability >= self.threshold)
        changes = dict.fromkeys((*question.changes, *(answer.changes if answer else ())))
        return Verdict(found, violated, tuple(changes))

    def _probability(self, policy: Policy, asked: str, answered: str | None) -> float:
        """Soft-max over the logits of Yes and No behind the prompt (ShieldGemma's model card)."""
        tokenizer = self._model.tokenizer
        ids = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        ids += tokenizer.encode_segments(prompt(policy, asked, answered))
        yes, no = (float(logit) for logit in self._model.next_logits(ids)[self._answers])
        return float(1 / (1 + np.exp(np.float64(no - yes))))


def _token(model: Judging, word: str) -> int:
    ids = model.tokenizer.encode(word)
    if len(ids) != 1:
        raise UnsupportedModelError(
            f"{word!r} is {len(ids)} tokens of this model, so it is no ShieldGemma; load google/shieldgemma-2b"
        )
    return int(ids[0])
