"""The contract of every engine: a whole request in, events out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bezel.catalog.hardware import MemoryUse
from bezel.engine.request import FinishReason
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.media.fetching import Sources
from bezel.text.calls import Call, CallBroken, CallEvent
from bezel.text.tools import ToolChoice

SpeculationMode = Literal["auto", "off", "lookup", "draft"]
EndReason = FinishReason | Literal["content_filter"]
"""Why an answer ended: as an engine ends one, or blocked by a policy that stands behind the engine."""


@dataclass(frozen=True)
class TokenLogprob:
    """One produced token, its log-probability, and the most probable alternatives, best first."""

    token_id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True)
class Request:
    """A chat (`messages`) or a completion (`prompt`); exactly one of the two is given.

    `speculation` says who drafts tokens, which are then checked together: the answer is the same, sooner or later.
    `tool_choice` says whether a tool is called; without `parallel_tool_calls` the answer ends behind its first call.
    Images of the messages are data URLs, or what else `sources` allows. With `pan_and_scan` they are seen in crops too,
    without never; None: as each image's detail says.
    A `constraint` allows only texts of its grammar; an answer that `max_tokens` cuts off is the beginning of one.
    """

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | Sequence[int] | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    speculation: SpeculationMode = "auto"
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    constraint: Grammar | None = None
    pan_and_scan: bool | None = None
    sources: Sources = field(default_factory=Sources)

    @property
    def offered(self) -> Sequence[Mapping[str, Any]]:
        """The tools that the model is shown."""
        return () if self.tool_choice == "none" else self.tools


@dataclass(frozen=True)
class Usage:
    """Token counts and times in seconds of one request, from when its turn came.

    `cached_tokens` of the prompt were not read again: their keys and values were left by an earlier request.
    `accepted_tokens` of the drafted ones came to be answer.
    """

    prompt_tokens: int
    completion_tokens: int
    prefill_seconds: float
    decode_seconds: float
    cached_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the drafted tokens that were accepted; 0 where nothing was drafted."""
        return self.accepted_tokens / self.draft_tokens if self.draft_tokens else 0.0

    @property
    def prefill_tokens_per_second(self) -> float:
        return (self.prompt_tokens - self.cached_tokens) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        """The first token comes out of prefill, so decode produced one less."""
        return (self.completion_tokens - 1) / self.decode_seconds if self.decode_seconds else 0.0


@dataclass(frozen=True)
class Delta:
    """A piece of answer text: whole characters only, never part of a stop string or of a call. May be empty."""

    text: str
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finish:
    """The last event of a request."""

    reason: EndReason
    usage: Usage


Event = Delta | CallEvent | Finish


@dataclass(frozen=True)
class Result:
    """A whole answer. Where tools were offered, `text` is what stands outside of `calls`, and `broken` are those that
    cannot be read. `memory` is what the process held when the answer was whole.
    `parsed` is the object that it spells where a schema was given; None where the answer was cut off.
    """

    text: str
    finish_reason: EndReason
    usage: Usage
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: tuple[Call, ...] = ()
    memory: MemoryUse | None = None
    broken: tuple[CallBroken, ...] = ()
    parsed: Any = None


class Events(Protocol):
    """The events of one request, for one reader."""

    def __iter__(self) -> Iterator[Event]: ...

    def __next__(self) -> Event: ...

    def close(self) -> None:
        """Cancel the request within one step, unless it has ended.

        Any thread may call it, also while another waits for the next event, which then is a Finish or the end.
        """


class Backend(Protocol):
    """An engine that answers requests."""

    @property
    def sampling(self) -> Sampling:
        """What the model's makers recommend, for what a request leaves open."""

    def stream(self, request: Request) -> Events:
        """Deltas and calls, then one Finish. Closing the iterator cancels the request."""

    def prompt_ids(self, request: Request) -> Sequence[int]:
        """The token ids that the answer to a request starts from. Raises as `stream`."""

    def text_of(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, control pieces spelled out.

        InvalidRequestError for ids that the vocabulary does not have.
        """

    def health(self) -> Mapping[str, Any]: ...

    def describe(self) -> Mapping[str, Any]:
        """What is loaded: at least "model" and "context", in tokens."""


@runtime_checkable
class Embedder(Protocol):
    """An engine that makes vectors of texts."""

    def embed(
        self, texts: Sequence[str], task: str | None = None, dimensions: int | None = None
    ) -> NDArray[np.float32]:
        """Embeddings [texts, dimensions] of length 1; a text's does not depend on the others.

        Raises InvalidRequestError for texts, a task or dimensions that cannot be, and ContextLengthError.
        """

    def token_counts(self, texts: Sequence[str], task: str | None = None) -> list[int]:
        """How many tokens of each text are read. Raises as `embed`."""


class Ears(Protocol):
    """What sounds a model hears: `rate` samples a second, `seconds` at once."""

    @property
    def rate(self) -> int: ...

    @property
    def seconds(self) -> float: ...


@runtime_checkable
class Hearer(Protocol):
    """An engine whose messages may hold sounds, as {"type": "audio", "audio": samples}."""

    def sound(self, source: Any, sources: Sources) -> tuple[NDArray[np.float32], Ears]:
        """The samples of a recording at the rate of the ears that hear it.

        Raises UnsupportedInputError where the model has none, MediaError where the recording cannot be read.
        """


@runtime_checkable
class Supervised(Protocol):
    """An engine in a process of its own, which is started again when it ends."""

    @property
    def process_id(self) -> int | None:
        """Of the process; None while there is none that answers."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    def memory(self) -> MemoryUse:
        """What the process holds."""

    def tell(self, notice: Callable[[str, str], None]) -> None:
        """Call `notice` with what happens to the process, and how, from now on; on a thread of its own."""

    def close(self) -> None:
        """End the process and what still runs there."""
