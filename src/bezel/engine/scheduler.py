"""What the next step computes. Touches no array."""

from __future__ import annotations

import operator
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from bezel.engine.blocks import Blocks
from bezel.engine.request import Entry, FinishReason, Output, Progress, Request, State
from bezel.generation.loop import Step, unsplit


@dataclass(frozen=True)
class Plan:
    """One step: parts of different requests, computed together."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Statistics:
    """Counts of now (running, waiting) and since the start.

    `tokens` were computed, in `steps` that had work; `reused_tokens` were not, as their keys and values were in the
    cache. A preempted request counts once for each time that it was computed.
    """

    running: int
    waiting: int
    steps: int
    tokens: int
    reused_tokens: int
    preemptions: int

    def __add__(self, other: Statistics) -> Statistics:
        """Those of two engines."""
        return Statistics(*map(operator.add, astuple(self), astuple(other)))

    @property
    def tokens_a_step(self) -> float:
        return self.tokens / self.steps if self.steps else 0.0


class Scheduler:
    """First come, first served, at most `budget` tokens a step and `most` requests at once.

    A span of soft tokens is never cut: where it begins inside the budget and does not fit into it, the step is longer.

    Requests that decode go first, then what is left of prompts, in chunks. Where blocks run out, the youngest gives
    its blocks back and is computed anew later; the oldest can always go on, so every request comes to its end.
    """

    def __init__(
        self, blocks: Blocks, budget: int = 512, most: int = 8, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._blocks, self._budget, self._most, self._clock = blocks, budget, most, clock
        self._waiting: list[Request] = []
        self._running: list[Request] = []
        self._arrivals = self._steps = self._tokens = self._reused = self._preemptions = 0

    @property
    def busy(self) -> bool:
        """Whether any request is left."""
        return bool(self._running or self._waiting)

    @property
    def statistics(self) -> Statistics:
        return Statistics(
            len(self._running), len(self._waiting), self._steps, self._tokens, self._reused, self._preemptions
        )

    def add(self, request: Request) -> None:
        """Queue a request."""
        request.arrival = self._arrivals
        self._arrivals += 1
        insort(self._waiting, request, key=_order)

    def cancel(self, identity: int) -> Progress | None:
        """Drop a request and all that it holds; None where it has ended already."""
        for request in (*self._running, *self._waiting):
            if request.id == identity:
                return self._finish(request, (), "cancelled")
        return None

    def clear(self) -> None:
        """Drop every request."""
        for request in (*self._running, *self._waiting):
            self._finish(request, (), "cancelled")

    def schedule(self) -> Plan:
        """Choose what to compute, and hold the blocks for it."""
        planned: dict[int, Entry] = {}
        preemptions = self._preemptions
        for request in sorted(self._running, key=lambda r: (r.remaining > 1, r.order)):
            if request.state is State.RUNNING:
                self._plan(request, planned)
        while self._waiting and len(self._running) < self._most and self._preemptions == preemptions:
            if self._left(planned) < 1 or not self._admit(self._waiting[0]):
                break
            self._plan(self._running[-1], planned)
        return Plan(tuple(planned.values()))

    def update(self, outputs: Sequence[Output]) -> tuple[Progress, ...]:
        """Take in what a plan gave."""
        progress = []
        for output in outputs:
            entry, request = output.entry, output.entry.request
            self._tokens += len(entry.tokens)
            reason: FinishReason | None = "cancelled" if output.error else None
            taken = 0
            while reason is None and taken < len(output.steps):
                reason = request.take(output.steps[taken].token_id)
                taken += 1
            steps = output.steps[:taken]
            # Of a draft those tokens stay whose place the answer took; behind them the next step writes anew.
            request.computed = entry.start + len(entry.tokens) - len(entry.draft) + max(0, taken - 1)
            request.draft = output.draft
            self._blocks.commit(request.id, request.keys, request.computed)
            if output.taken_back:
                self._take_back(request, output.taken_back)
            request.held += steps
            if request.holds and reason is None:
                steps = ()
            else:
                steps = tuple(request.held)
                request.held.clear()
            if reason is not None:
                progress.append(self._finish(request, steps, reason, output.error))
            elif steps or taken:
                progress.append(Progress(request, steps, self._clock()))
        self._steps += bool(outputs)
        return tuple(progress)

    def _left(self, planned: dict[int, Entry]) -> int:
        return self._budget - sum(len(entry.tokens) for entry in planned.values())

    def _plan(self, request: Request, planned: dict[int, Entry]) -> None:
        """Plan as much of a request as the budget allows, at the cost of younger ones where blocks are short.

        Its draft is planned too where it finds room without that.
        """
        left = self._left(planned)
        if left < 1 or not request.remaining:
            return
        length = unsplit(request.computed, min(left, request.remaining), request.spans)
        whole = length == request.remaining
        draft = request.draft[: max(0, left - length)] if whole else ()
        if draft and not self._blocks.reserve(request.id, request.computed, length + len(draft)):
            draft = ()
        while not self._blocks.reserve(request.id, request.computed, length):
            youngest = max(self._running, key=_order)
            if youngest is request:
                return
            self._preempt(youngest)
            planned.pop(youngest.id, None)
        start = request.computed
        tokens = (*request.tokens[start : start + length], *draft)
        planned[request.id] = Entry(request, start, tokens, 1 + len(draft) if whole else 0)

    def _admit(self, request: Request) -> bool:
        """Let a waiting request run, from where the cache knows its tokens; False where there is no room yet."""
        reused = self._blocks.begin(request.id, request.keys, request.prefix)
        if reused is None:
            return False
        self._waiting.remove(request)
        self._running.append(request)
        if request.started is None:
            request.started, request.reused = self._clock(), reused
        request.state, request.computed = State.RUNNING, reused
        self._reused += reused
        return True

    def _preempt(self, request: Request) -> None:
        self._withdraw(request)
        self._preemptions += 1

    def _take_back(self, request: Request, count: int) -> None:
        """Drop produced tokens. Sliding layers may have given back what stood before them: read it anew."""
        request.take_back(count)
        if request.speculation is not None:
            request.speculation.end()
        self._withdraw(request)

    def _withdraw(self, request: Request) -> None:
        self._blocks.free(request.id)
        self._running.remove(request)
        request.state, request.computed, request.draft = State.PREEMPTED, 0, ()
        insort(self._waiting, request, key=_order)

    def _finish(
        self,
        request: Request,
        steps: tuple[Step, ...],
        reason: FinishReason,
        error: BaseException | None = None,
    ) -> Progress:
        if request.state is State.RUNNING:
            self._blocks.free(request.id)
            self._running.remove(request)
        else:
            self._waiting.remove(request)
        request.state = State.FINISHED
        return Progress(request, steps, self._clock(), reason, error)


def _order(request: Request) -> tuple[int, int]:
    return request.order
