"""The last word on calls: they are read as the answer's reader will read them, and their arguments are validated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bezel.generation.constraints.calls.offers import Offers
from bezel.generation.constraints.gate import Gate
from bezel.generation.constraints.judging import DocumentJudge, Fault
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.text.calls import CallFinished, CallStarted
from bezel.text.dialects.reader import Reader


@dataclass(frozen=True)
class ReadJudge:
    """Finds a fault in all that the reader of a form cannot read, and in arguments that their schema does not allow."""

    arguments: Gate
    vocabulary: Vocabulary
    reader: Callable[[], Reader]

    @classmethod
    def of(cls, offers: Offers, vocabulary: Vocabulary, reader: Callable[[], Reader]) -> ReadJudge:
        """For the tools that are offered. Raises ConstraintError where a schema is not valid."""
        return cls(Gate(offers.arguments()), vocabulary, reader)

    def fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.fault`."""
        size = sum(map(len, self.vocabulary.bytes_of(tokens)))
        place = self.wrong(self._events(tokens))
        return None if place is None else Fault(0, size, place)

    def early_fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.early_fault`: a call counts once its arguments are closed, though its last piece is missing."""
        if b"}" not in self.vocabulary.bytes_of(tokens[-1:])[0]:
            return None
        events = self._events(tokens)
        return self.fault(tokens) if any(isinstance(event, CallFinished) for event in events) else None

    def wrong(self, events: Sequence[object]) -> str | None:
        """Where a reader's events are not calls with valid arguments alone."""
        calls = [event.call for event in events if isinstance(event, CallFinished)]
        if not calls or len(calls) != sum(isinstance(event, CallStarted) for event in events):
            return "a call that cannot be read"
        for call in calls:
            path = self.arguments.refusal(json.dumps({call.name: call.arguments}))
            if path is not None:
                return "/".join(map(str, path)) or call.name
        return None

    def _events(self, tokens: Sequence[int]) -> list[object]:
        reader, tokenizer = self.reader(), self.vocabulary.tokenizer
        events: list[object] = []
        text = b""
        for token in tokens:
            if token not in tokenizer.control_ids:
                text += tokenizer.piece_bytes(token)
                continue
            events += reader.push(text.decode("utf-8", errors="replace"))
            events += reader.control(tokenizer.piece(token))
            text = b""
        return [*events, *reader.push(text.decode("utf-8", errors="replace")), *reader.close()]


@dataclass(frozen=True)
class ListJudge:
    """A JSON document of calls, each of which counts as soon as it is whole: valid, and readable."""

    document: DocumentJudge
    read: ReadJudge

    def fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.fault`."""
        return self.document.fault(tokens) or self.read.fault(tokens)

    def early_fault(self, tokens: Sequence[int]) -> Fault | None:
        """See `Judge.early_fault`."""
        vocabulary = self.read.vocabulary
        if b"}" not in vocabulary.bytes_of(tokens[-1:])[0]:
            return None
        text = b"".join(vocabulary.bytes_of(tokens)).decode("utf-8", errors="replace")
        begun = text[: text.rindex("}") + 1] + "]"
        try:
            json.loads(begun)
        except (ValueError, RecursionError):
            return None  # the last call is not whole yet
        fault = self.document.fault_of(begun)
        reader = self.read.reader()
        place = self.read.wrong([*reader.push(begun), *reader.close()])
        return fault or (None if place is None else Fault(0, len(begun.encode()) - 1, place))
