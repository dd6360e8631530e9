"""ShieldGemma: the probability that a text violates each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bezel.errors import InvalidRequestError, UnsupportedModelError
from bezel.kernels.interface import F32
from bezel.safety.cleaning import Cleaned, cleaned
from bezel.safety.policies import Policy, named, prompt

_ARCHITECTURE = "gemma2"
_WANTED = "ShieldGemma; load google/shieldgemma-2b"


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
    changes: tuple[str, ...] = ()

    @classmethod
    def of(cls, probabilities: Mapping[str, float], threshold: float, changes: tuple[str, ...] = ()) -> Verdict:
        """The verdict that counts a policy as violated from `threshold` on."""
        violated = tuple(key for key, probability in probabilities.items() if probability >= threshold)
        return cls(probabilities, violated, changes)

    @property
    def blocked(self) -> bool:
        """Whether any policy is violated."""
        return bool(self.violated)


class Classifier:
    """Asks a ShieldGemma about each policy. `threshold`: the probability from which a policy counts as violated.

    Raises UnsupportedModelError for a model that says that it is of another architecture.
    """

    def __init__(self, model: Judging, threshold: float = 0.5, policies: Sequence[str] | None = None) -> None:
        self._model, self.threshold = model, checked_threshold(threshold)
        self._policies = named(list(policies) if policies is not None else None)
        # Others may have Yes and No as well, and would give numbers that mean nothing.
        describe = getattr(model, "describe", None)
        architecture = describe().get("architecture") if describe else None
        if architecture not in (None, _ARCHITECTURE):
            raise UnsupportedModelError(f"texts are judged by {_WANTED}; this model is a {architecture}")
        self._answers = yes_and_no(model.tokenizer, _WANTED)

    def check(self, asked: str, answered: str | None = None) -> Verdict:
        """Judge what was asked or, where `answered` is given, the answer to it.

        Raises InvalidRequestError for text that no UTF-8 holds, ContextLengthError for more than the model reads.
        """
        question, answer = _cleaned(asked, "question"), _cleaned(answered, "answer") if answered is not None else None
        found = {
            policy.key: self._probability(policy, question.text, answer.text if answer else None)
            for policy in self._policies
        }
        changes = dict.fromkeys((*question.changes, *(answer.changes if answer else ())))
        return Verdict.of(found, self.threshold, tuple(changes))

    def token_count(self, asked: str, answered: str | None = None) -> int:
        """Tokens that the model reads for `check`."""
        question = _cleaned(asked, "question").text
        answer = _cleaned(answered, "answer").text if answered is not None else None
        return sum(len(self._ids(policy, question, answer)) for policy in self._policies)

    def _probability(self, policy: Policy, asked: str, answered: str | None) -> float:
        """Soft-max over the logits of Yes and No behind the prompt (ShieldGemma's model card)."""
        return yes_probability(self._model.next_logits(self._ids(policy, asked, answered)), self._answers)

    def _ids(self, policy: Policy, asked: str, answered: str | None) -> list[int]:
        tokenizer = self._model.tokenizer
        ids: list[int] = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        return ids + list(tokenizer.encode_segments(prompt(policy, asked, answered)))


def _cleaned(text: str, name: str) -> Cleaned:
    """`text` as it is judged, checked here because the tokenizer would count places from the prompt's beginning."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"the {name} has half a surrogate pair at character {error.start}; send valid Unicode"
        ) from None
    return cleaned(text)


def checked_threshold(threshold: float) -> float:
    """`threshold`, where a probability can reach it. InvalidRequestError else."""
    if not 0 < threshold <= 1:
        raise InvalidRequestError(f"threshold is {threshold}; it must be above 0 and at most 1")
    return threshold


def yes_and_no(tokenizer: Any, wanted: str) -> list[int]:
    """The tokens of both answers. UnsupportedModelError, naming the model `wanted`, where one is more than a token."""
    found = []
    for word in ("Yes", "No"):
        ids = tokenizer.encode(word)
        if len(ids) != 1:
            raise UnsupportedModelError(f"{word!r} is {len(ids)} tokens of this model, so it is no {wanted}")
        found.append(int(ids[0]))
    return found


def yes_probability(logits: F32, answers: Sequence[int]) -> float:
    """Soft-max over the logits of Yes and No alone, of Yes."""
    yes, no = (float(logits[answer]) for answer in answers)
    return float(1 / (1 + np.exp(np.float64(no - yes))))
