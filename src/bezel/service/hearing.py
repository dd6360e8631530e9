"""A recording that a model hears piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bezel.backends.interface import Backend, Delta, Finish, Hearer, Request
from bezel.generation.sampling import Sampling
from bezel.media.fetching import Sources
from bezel.media.silences import Samples
from bezel.service.errors import ApiError
from bezel.service.screens import Stream
from bezel.service.work import Effort
from bezel.speech import MOST_TOKENS, cut, question_of, write_down
from bezel.text.subtitles import Transcription


@dataclass(frozen=True)
class _Heard:
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Recording:
    """Samples [n] at `rate` Hz, of which a model hears `longest` seconds at once, and what is asked about them."""

    samples: Samples
    rate: int
    longest: float
    language: str | None
    into: str | None
    sampling: Sampling

    @classmethod
    def opened(
        cls, hearer: Hearer, file: bytes, language: str | None, into: str | None, sampling: Sampling
    ) -> Recording:
        """The recording in a file of a stranger. Raises as `Hearer.sound`."""
        samples, ears = hearer.sound(file, Sources())
        return cls(samples, ears.rate, ears.seconds, language, into, sampling)

    def tokens(self, backend: Backend) -> int:
        """The most that all pieces take, questions and answers."""
        question = question_of(self.language, self.into)
        pieces = [self.samples[piece.first : piece.last] for piece in cut(self.samples, self.rate, self.longest)]
        prompts = (backend.prompt_ids(self._request(piece, question)) for piece in pieces)
        return sum(len(prompt) + MOST_TOKENS for prompt in prompts)

    def write_down(self, stream: Stream, effort: Effort) -> Transcription:
        """What is said. Raises as `speech.write_down`, as the stream, and ApiError where the policy blocks it."""

        def ask(piece: Samples, question: str) -> _Heard:
            events = effort.answer(stream(self._request(piece, question)))
            finish = next(event for event in reversed(events) if isinstance(event, Finish))
            if finish.reason == "cancelled":
                raise ApiError("generation")
            if finish.reason == "content_filter":
                raise ApiError("answer_blocked")
            return _Heard("".join(event.text for event in events if isinstance(event, Delta)), finish.reason)

        return write_down(ask, self.samples, self.rate, self.language, self.into, self.longest)

    def _request(self, piece: Samples, question: str) -> Request:
        parts: list[dict[str, Any]] = [{"type": "audio", "audio": piece}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": parts}]
        return Request(messages=messages, sampling=self.sampling, max_tokens=MOST_TOKENS)
