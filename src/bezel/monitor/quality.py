"""How good an answer is: scores from 0 to 1, each with the method that found it. None of them asks a person."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bezel.backends.interface import Embedder
from bezel.errors import InvalidRequestError, MissingExtraError

Respect = Literal["relevance", "accuracy", "coherence", "safety"]


@dataclass(frozen=True)
class Answered:
    """A question, its answer, and the natural logarithms of the probabilities of its tokens where the model tells them.

    `reference` is an answer that is known to be right.
    """

    question: str
    answer: str
    logprobs: Sequence[float] = ()
    reference: str | None = None


@dataclass(frozen=True)
class Score:
    """0 (bad) to 1 (good) in one respect, and by which method."""

    respect: Respect
    value: float
    method: str


Safety = Callable[[str, str], Score | None]
"""Judges an answer to a question; None where it cannot."""


@dataclass(frozen=True)
class Judge:
    """Scores answers by what it is given; what it lacks it does not score.

    - relevance: cosine of the embeddings of question and answer, by `embedder`;
    - accuracy: cosine of the embeddings of answer and reference, and chrF2 of both (Popovic 2015, by sacrebleu);
    - coherence: 1 / perplexity of the answer to the model that gave it, the mean of its tokens (geometrically);
    - safety: as `safety` judges.

    Cosines below 0 are 0.
    """

    embedder: Embedder | None = None
    embedder_name: str = ""
    question_task: str | None = None
    answer_task: str | None = None
    """What the embedder is told that a text is, where it knows such tasks."""
    references: Mapping[str, str] | None = None
    """Right answers by their questions."""
    safety: Safety | None = None

    def scores(self, answered: Answered) -> list[Score]:
        """Those that can be had. Raises MissingExtraError, and what embedding raises."""
        found: list[Score] = []
        question, answer = answered.question.strip(), answered.answer.strip()
        if not question or not answer:
            return found
        reference = answered.reference or (self.references or {}).get(question)
        if self.embedder is not None:
            found.append(self._alike("relevance", "question and answer", question, self.question_task, answer))
        if reference is not None:
            if self.embedder is not None:
                found.append(self._alike("accuracy", "answer and reference", reference, self.answer_task, answer))
            found.append(Score("accuracy", _chrf(answer, reference), "chrF2 with the reference"))
        if answered.logprobs:
            mean = math.fsum(answered.logprobs) / len(answered.logprobs)
            found.append(Score("coherence", math.exp(min(0.0, mean)), "1 / perplexity to the model itself"))
        safe = self.safety(question, answer) if self.safety is not None else None
        return [*found, safe] if safe is not None else found

    def _alike(self, respect: Respect, what: str, text: str, task: str | None, answer: str) -> Score:
        assert self.embedder is not None
        first, second = self.embedder.embed([text], task), self.embedder.embed([answer], self.answer_task)
        value = min(1.0, max(0.0, float(np.dot(first[0], second[0]))))
        return Score(respect, value, f"cosine of {what} ({self.embedder_name})")


def read_references(path: Path) -> dict[str, str]:
    """Right answers by their questions, of a file with {"question": ..., "answer": ...} on each line.

    Raises InvalidRequestError that names the line, MissingExtraError where they could not be compared.
    """
    check_installed()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path}: cannot be read ({error}); quality_references names a JSONL file") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found[row["question"].strip()] = row["answer"].strip()
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InvalidRequestError(
                f'{path}:{number}: is not {{"question": "...", "answer": "..."}}; write one such object on each line'
            ) from None
    return found


def check_installed() -> None:
    """Raises MissingExtraError where sacrebleu is not there."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise MissingExtraError('comparing with references needs an extra: pip install "bezel[quality]"') from None


def _chrf(answer: str, reference: str) -> float:
    check_installed()
    from sacrebleu import sentence_chrf

    return float(sentence_chrf(answer, [reference]).score) / 100
