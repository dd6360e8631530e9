"""The backend contract, answered by the process of an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.backends.child.process import Asked, Ended, Value
from bezel.backends.child.supervisor import Notice, Supervisor
from bezel.backends.child.wire import Tag
from bezel.backends.interface import Event, Finish, Request
from bezel.backends.sources import opened_sound
from bezel.catalog.hardware import MemoryUse, memory_use
from bezel.errors import UnsupportedInputError
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import F32
from bezel.media.fetching import Sources
from bezel.media.spectrograms import Sound


def open_child(**options: Any) -> ChildBackend:
    """The backend of `opening.open_backend(**options)`, in a process of its own. Raises as that does.

    Close it: that ends the process. The process also ends when this one does, in whatever way.
    """
    supervisor = Supervisor(options)
    return ChildEmbedder(supervisor) if supervisor.opened.embeds else ChildWriter(supervisor)


class ChildBackend:
    """See `interface.Backend` and `interface.Supervised`.

    Whatever runs while the process ends raises EngineLostError, whatever is asked until another has loaded the model
    EngineStartingError.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.sampling: Sampling = supervisor.opened.sampling

    def stream(self, request: Request) -> Streaming:
        """See `Backend.stream`. The request is sent when its first event is asked for."""
        return Streaming(lambda: self._supervisor.child().ask(Tag.ASK, request))

    def prompt_ids(self, request: Request) -> list[int]:
        """See `Backend.prompt_ids`."""
        ids: list[int] = self._call("prompt_ids", request)
        return ids

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Backend.text_of`."""
        text: str = self._call("text_of", list(token_ids))
        return text

    def health(self) -> Mapping[str, Any]:
        """See `Backend.health`."""
        found: dict[str, Any] = self._call("health")
        return found

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`; also while no process answers."""
        return self._supervisor.opened.description

    @property
    def process_id(self) -> int | None:
        """See `Supervised`."""
        return self._supervisor.process_id

    @property
    def restarts(self) -> int:
        """See `Supervised`."""
        return self._supervisor.restarts

    def memory(self) -> MemoryUse:
        """See `Supervised`."""
        process_id = self.process_id
        return MemoryUse(0, 0) if process_id is None else memory_use(process_id)

    def tell(self, notice: Notice) -> None:
        """See `Supervised`."""
        self._supervisor.notice = notice

    def close(self) -> None:
        """See `Supervised`."""
        self._supervisor.close()

    def _call(self, name: str, *arguments: Any) -> Any:
        answer = self._supervisor.child().ask(Tag.CALL, (name, arguments)).answers.get()
        if isinstance(answer, Value):
            return answer.value
        assert isinstance(answer, Exception)
        raise answer


@dataclass(frozen=True)
class ChildEars:
    """See `interface.Ears`."""

    rate: int
    seconds: float


class ChildWriter(ChildBackend):
    """A model that answers; see `interface.Hearer` too. Recordings are opened here and sent as samples."""

    def sound(self, source: Any, sources: Sources) -> tuple[Sound, ChildEars]:
        """See `Hearer.sound`."""
        opened = self._supervisor.opened
        if opened.rate is None or opened.seconds is None:
            name = opened.description["model"]
            raise UnsupportedInputError(f"{name} does not hear; load a Gemma 3n, such as google/gemma-3n-E2B-it")
        return opened_sound(source, sources, opened.rate), ChildEars(opened.rate, opened.seconds)


class ChildEmbedder(ChildBackend):
    """See `interface.Embedder`."""

    def embed(self, texts: Sequence[str], task: str | None = None, dimensions: int | None = None) -> F32:
        """See `Embedder.embed`."""
        rows: F32 = self._call("embed", list(texts), task, dimensions)
        return rows

    def token_counts(self, texts: Sequence[str], task: str | None = None) -> list[int]:
        """See `Embedder.token_counts`."""
        counts: list[int] = self._call("token_counts", list(texts), task)
        return counts


class Streaming:
    """See `interface.Events`. `start` sends the request."""

    def __init__(self, start: Callable[[], Asked]) -> None:
        self._start = start
        self._asked: Asked | None = None
        self._ended = False
        self._turn = threading.Lock()

    def __iter__(self) -> Streaming:
        return self

    def __next__(self) -> Event:
        with self._turn:
            if self._ended:
                raise StopIteration
            asked = self._asked = self._asked or self._start()
        answer = asked.answers.get()
        if self._ended and not isinstance(answer, Finish):  # closed by another thread meanwhile
            raise StopIteration
        if isinstance(answer, Ended | Exception):
            self._ended = True
            if isinstance(answer, Exception):
                raise answer
            raise StopIteration
        assert not isinstance(answer, Value)
        return answer

    def close(self) -> None:
        """See `interface.Events.close`. Never waits for the process."""
        with self._turn:
            self._ended, asked = True, self._asked
        if asked is not None:
            asked.cancel()

    def __del__(self) -> None:
        self.close()
