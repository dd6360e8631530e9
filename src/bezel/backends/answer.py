"""From the tokens of one request to its events: whole characters, stop strings, calls, log-probabilities, usage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bezel.backends.interface import Delta, Event, Finish, TokenLogprob, Usage
from bezel.engine.request import FinishReason, Progress, Request
from bezel.generation.loop import Step
from bezel.text.calls import CallEvent, CallFinished, CallText
from bezel.text.detokenizer import Detokenizer
from bezel.text.dialects.reader import Reader
from bezel.text.stop import StopStrings
from bezel.text.tokenizer import Tokenizer


class Answer:
    """The answer to one request, fed with what each step brings.

    `reader` finds calls where tools were offered; with `one_call` the answer ends behind the first.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str], reader: Reader | None = None, one_call: bool = False
    ) -> None:
        self.ended = False
        self._reader, self._one_call, self._called = reader, one_call, False
        self._tokenizer, self._stops = tokenizer, StopStrings(stop)
        self._detokenizer = Detokenizer(tokenizer)
        self._produced = 0
        self._first: float | None = None

    def take(self, progress: Progress) -> Iterator[Event]:
        """The events of a step; the last of them is a Finish where the answer has ended. Nothing comes after it.

        A stop string ends the answer here, before the engine knows.
        """
        self._first = progress.seconds if self._first is None else self._first
        reason = progress.reason
        for step in progress.steps:
            self._produced += 1
            if step.token_id in self._tokenizer.stop_ids:
                break
            yield from self._events(self._token(step.token_id), (self._logprob(step),))
            if self._stops.hit is not None or self._called:
                reason = "stop"
                break
        if reason is not None:
            yield from self._end(progress, reason)

    def _end(self, progress: Progress, reason: FinishReason) -> Iterator[Event]:
        self.ended = True
        if not self._called:
            yield from self._events([*self._read(self._rest()), *(self._reader.close() if self._reader else ())])
        request, first = progress.request, self._first or progress.seconds
        yield Finish(reason, usage(request, self._produced, first, progress.seconds))

    def _token(self, token_id: int) -> list[CallText | CallEvent]:
        if self._reader is None or token_id not in self._tokenizer.control_ids:
            return self._read(self._stops.push(self._detokenizer.push(token_id)))
        return [*self._read(self._rest()), *self._reader.control(self._tokenizer.piece(token_id))]

    def _rest(self) -> str:
        """Text that waited for the other half of a character or of a stop string, which will not come."""
        return self._stops.push(self._detokenizer.flush()) + self._stops.flush()

    def _read(self, text: str) -> list[CallText | CallEvent]:
        return [CallText(text)] if self._reader is None else self._reader.push(text)

    def _events(
        self, found: Sequence[CallText | CallEvent], logprobs: tuple[TokenLogprob, ...] = ()
    ) -> Iterator[Event]:
        """What a token brought, its log-probability with the first of it."""
        if logprobs and not (found and isinstance(found[0], CallText)):
            yield Delta("", logprobs)
            logprobs = ()
        for event in found:
            if not isinstance(event, CallText):
                yield event
            elif event.text or logprobs:
                yield Delta(event.text, logprobs)
                logprobs = ()
            if self._one_call and isinstance(event, CallFinished):
                self._called = True
                return

    def _logprob(self, step: Step) -> TokenLogprob:
        top = tuple((token, self._tokenizer.decode([token]), logprob) for token, logprob in step.top)
        return TokenLogprob(step.token_id, self._tokenizer.decode([step.token_id]), step.logprob, top)


def usage(request: Request, produced: int, first: float, ended: float) -> Usage:
    """Counts and seconds of a request whose first token came at `first` and whose last at `ended`."""
    began = first if request.started is None else request.started
    drafted = request.speculation
    drafts = (drafted.draft_tokens, drafted.accepted_tokens) if drafted else (0, 0)
    return Usage(len(request.prompt), produced, first - began, ended - first, request.reused, *drafts)
