"""A request while the engine answers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import count
from typing import Literal

import numpy as np

from bezel.errors import BezelError
from bezel.generation.constraints.interface import Constraint
from bezel.generation.loop import Step
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.models.interface import Key, SoftSpan

FinishReason = Literal["stop", "length", "cancelled"]
_IDS = count()


class State(Enum):
    """Where a request stands. A preempted one waits to be computed anew, with the tokens it has produced."""

    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"


@dataclass(eq=False)
class Request:
    """What is asked (the constructor's fields), and how far the answer is.

    `max_tokens` None goes on to the end of the context. Of two requests the one with the lower `priority` goes
    first, then the one that came first. Steps that a constraint may take back are `held` until it no longer may.
    Where soft `spans` stand, the tokens of the prompt are not looked at. `tokens` is the prompt and what was produced,
    `keys` what can be found again of it; keys and values of the first `computed` of them are in the cache, `reused` of
    these from earlier requests. `draft` may follow `tokens`: the next
    step checks it.
    """

    prompt: Sequence[int]
    sampling: Sampling
    max_tokens: int | None = None
    stop_ids: Collection[int] = ()
    logprobs: int = 0
    priority: int = 0
    speculation: Speculation | None = None
    constraint: Constraint | None = None
    spans: Sequence[SoftSpan] = ()
    id: int = field(default_factory=_IDS.__next__)
    arrival: int = field(default=-1, init=False)
    state: State = field(default=State.WAITING, init=False)
    tokens: list[int] = field(init=False)
    keys: list[Key] = field(init=False)
    produced: list[int] = field(default_factory=list, init=False)
    computed: int = field(default=0, init=False)
    reused: int = field(default=0, init=False)
    draft: tuple[int, ...] = field(default=(), init=False)
    held: list[Step] = field(default_factory=list, init=False)
    started: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.keys = list(self.prompt)
        for span in self.spans:
            self.keys[span.start : span.end] = [(span.key, place) for place in range(span.length)]

    @property
    def prefix(self) -> int:
        """Positions at the beginning that all see each other, whatever a layer's window is; 0 for most requests."""
        return max((span.end for span in self.spans if span.prefix), default=0)

    @cached_property
    def rng(self) -> np.random.Generator:
        """The request's own random numbers, so that neighbours do not change its answer."""
        return np.random.default_rng(self.sampling.seed)

    @property
    def order(self) -> tuple[int, int]:
        """Lower goes first."""
        return self.priority, self.arrival

    @property
    def room(self) -> int:
        """Tokens that may still be produced."""
        assert self.max_tokens is not None
        return self.max_tokens - len(self.produced)

    @property
    def remaining(self) -> int:
        """Tokens that must be computed before the next can be chosen: 1 in decode."""
        return len(self.tokens) - self.computed

    @property
    def holds(self) -> bool:
        """Whether what was produced may still be taken back."""
        return self.constraint is not None and self.constraint.holds

    def take_back(self, count: int) -> None:
        """Drop the last `count` produced tokens."""
        for kept in (self.tokens, self.keys, self.produced, self.held):
            del kept[len(kept) - count :]

    def take(self, token: int) -> FinishReason | None:
        """Append a produced token; the reason where it ends the answer."""
        self.tokens.append(token)
        self.keys.append(token)
        self.produced.append(token)
        if token in self.stop_ids:
            return "stop"
        return "length" if len(self.produced) == self.max_tokens else None


@dataclass(frozen=True)
class Progress:
    """What a step did for one request: its new tokens, why it ended (None: it goes on), and when (perf_counter).

    A request that could not go on ends as cancelled, with its `error`.
    """

    request: Request
    steps: tuple[Step, ...]
    seconds: float
    reason: FinishReason | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Entry:
    """A part of a plan: `tokens` of one request at positions `start` on; logits are wanted of the last `logits` rows.

    `logits` is 0 inside a prompt, else 1 and the number of drafted tokens, which stand at the end.
    """

    request: Request
    start: int
    tokens: tuple[int, ...]
    logits: int

    @property
    def draft(self) -> tuple[int, ...]:
        """The drafted tokens."""
        return self.tokens[len(self.tokens) - max(0, self.logits - 1) :]


@dataclass(frozen=True)
class Output:
    """What became of an entry: the tokens chosen and a draft of those behind them, or the error of choosing.

    Or how many of the tokens produced earlier its constraint took back.
    """

    entry: Entry
    steps: tuple[Step, ...] = ()
    draft: tuple[int, ...] = ()
    error: BezelError | None = None
    taken_back: int = 0
