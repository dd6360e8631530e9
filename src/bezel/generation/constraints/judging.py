"""Who has the last word on an answer that its grammar calls whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bezel.generation.constraints.gate import Gate, span_of
from bezel.generation.constraints.vocabulary import Vocabulary


@dataclass(frozen=True)
class Fault:
    """What is wrong in an answer: bytes `start` to `end` of its text, and how a message names the place."""

    start: int
    end: int
    place: str


class Judge(Protocol):
    """Looks at whole answers, and at those parts of an answer that stand for themselves."""

    def fault(self, tokens: Sequence[int]) -> Fault | None:
        """The first fault of a whole answer; None where it has none."""

    def early_fault(self, tokens: Sequence[int]) -> Fault | None:
        """The first fault of the parts that the last token may have made whole, while the answer goes on."""


@dataclass(frozen=True)
class DocumentJudge:
    """A validator's word on a JSON document."""

    gate: Gate
    vocabulary: Vocabulary

    def fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.fault`."""
        return self.fault_of(b"".join(self.vocabulary.bytes_of(tokens)).decode("utf-8", errors="replace"))

    def early_fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.early_fault`: a document is judged as a whole."""
        return None

    def fault_of(self, text: str) -> Fault | None:
        """The first fault of a document."""
        path = self.gate.refusal(text)
        if path is None:
            return None
        start, end = (len(text[:place].encode()) for place in span_of(text, path))
        return Fault(start, end, "/".join(map(str, path)) or "the whole document")
