"""Backends that do more than count."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bezel.backends.interface import Delta, Event, Request, TokenLogprob
from bezel.backends.sources import opened_sound
from bezel.errors import ContextLengthError, InvalidRequestError
from bezel.media.fetching import Sources
from bezel.testing import CounterBackend
from bezel.text.calls import Call, CallDelta, CallFinished, CallStarted


class CountingEmbedder(CounterBackend):
    """A text's vector has its number of words, then of letters; 4 numbers of length 1. A text has a token a word."""

    def token_counts(self, texts: Sequence[str], task: str | None = None) -> list[int]:
        if task not in (None, "query"):
            raise InvalidRequestError("the model knows query")
        counts = [len(text.split()) + (task is not None) for text in texts]
        if max(counts) > self._context:
            raise ContextLengthError(f"the context has {self._context}")
        return counts

    def embed(self, texts: Sequence[str], task: str | None = None, dimensions: int | None = None) -> Any:
        if dimensions is not None and dimensions > 4:
            raise InvalidRequestError("an embedding has 1 to 4 numbers")
        self._wait(threading.Event())
        rows = np.array([[len(text.split()), len(text), 1.0, task is not None] for text in texts], np.float32)
        rows = rows[:, :dimensions]
        self.produced += len(texts)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class Ears:
    rate: int = 16_000
    seconds: float = 2.0


class CountingHearer(CounterBackend):
    """Hears two seconds at once; of each piece it says "1 2 3 4 5"."""

    def sound(self, source: Any, sources: Sources) -> tuple[Any, Ears]:
        return opened_sound(source, sources, Ears.rate), Ears()


class Parrot(CounterBackend):
    """Says the last message, a token a letter; with tools it calls the first of them with {"text": that}."""

    def _pieces(self, request: Request) -> Iterator[tuple[Event, ...]]:
        if request.messages is None:
            said = request.prompt if isinstance(request.prompt, str) else self.text_of(request.prompt or ())
        else:
            content = request.messages[-1]["content"]
            said = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        if request.offered:
            call = Call(request.offered[0]["function"]["name"], {"text": said})
            yield CallStarted(0, call.name), CallDelta(0, call.arguments_json()), CallFinished(0, call)
            return
        for letter in said:
            yield (Delta(letter, (TokenLogprob(1, letter, -0.5),)),)
