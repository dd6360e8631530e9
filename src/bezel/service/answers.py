"""From requests to the events of a model, in the order that keeps the server safe.

Reserve tokens, wait for lanes, run, and whatever happens: stop, settle, count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace

from bezel.backends.interface import Delta, Event, Finish, Request, Usage
from bezel.errors import UnsupportedInputError
from bezel.service.bounds import most_prompt_tokens
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange
from bezel.service.limits import Reservation
from bezel.service.runs import Inbox, Item, Run
from bezel.service.screens import screening
from bezel.service.server import Served, Server

BEGIN_SECONDS = 10.0
"""A stream begins after this time at the latest, so that its reader knows that it lives."""


async def answering(
    server: Server, served: Served, exchange: Exchange, requests: Sequence[Request], streamed: bool
) -> Answers:
    """The answers to requests that came together, begun. Close them, whatever happens.

    `streamed`: whether the client reads them while they are written; the content policy then holds less back.

    Raises ApiError where the budget or the lanes do not allow it, what counting the prompt raises, and what the model
    refuses: an answer that has nothing to say for `BEGIN_SECONDS` counts as begun.
    """
    exchange.model = served.name
    served.lanes.check(len(requests))
    reservation = await _reserve(server, served, exchange, requests)
    began = time.monotonic()
    try:
        entered = await served.lanes.enter(len(requests))
    except BaseException:
        await server.limits.settle(reservation, 0)
        raise
    exchange.queue_seconds = entered - began
    server.metrics.queue_seconds.labels(served.name).observe(entered - began)
    answers = Answers(server, served, exchange, requests, reservation, entered, streamed)
    try:
        await answers.ready(BEGIN_SECONDS)
    except BaseException:
        await answers.aclose()
        raise
    return answers


async def _reserve(server: Server, served: Served, exchange: Exchange, requests: Sequence[Request]) -> Reservation:
    """Tokens of the prompts, each once, and the most that all answers can have.

    Where an engine does not count, those of a prompt are the most that they can be. Raises UnsupportedInputError where
    even that cannot be known.
    """
    if not server.limits.counts_tokens(exchange):
        return Reservation()
    loop = asyncio.get_running_loop()
    tokens, prompts, counted = 0, dict[int, int](), True
    for request in requests:
        prompt = id(request.messages if request.prompt is None else request.prompt)
        if prompt not in prompts:
            try:
                prompts[prompt] = len(await loop.run_in_executor(server.side, served.backend.prompt_ids, request))
            except UnsupportedInputError:
                most = most_prompt_tokens(request)
                if most is None:
                    raise
                prompts[prompt], counted = most, False
            tokens += prompts[prompt]
        room = max(0, served.context - prompts[prompt])
        tokens += room if request.max_tokens is None else min(room, request.max_tokens)
    return await server.limits.reserve(exchange, tokens, sum(prompts.values()), counted)


class Answers:
    """Several answers that run side by side; iterate over (index, event). Closing them cancels what still runs."""

    def __init__(
        self,
        server: Server,
        served: Served,
        exchange: Exchange,
        requests: Sequence[Request],
        reservation: Reservation,
        entered: float,
        streamed: bool,
    ) -> None:
        self._server, self._served, self._exchange = server, served, exchange
        self._reservation, self._entered = reservation, entered
        self._inbox = Inbox()
        self._next: Item | None = None
        self._ended, self._refused = 0, False
        self._last = [0.0] * len(requests)
        self._produced = [0] * len(requests)
        self.usages: list[Usage | None] = [None] * len(requests)
        self._reasons = [""] * len(requests)
        self._prompts = [id(r.messages if r.prompt is None else r.prompt) for r in requests]
        share = server.watch.settings.quality_share
        self._samples = [server.samples.begin(served.name, request, share) for request in requests]
        patience = server.settings.slow_reader_seconds
        stream = screening(server, served, exchange, streamed)
        self._runs = [
            Run(stream, request, index, self._inbox, server.pool, patience) for index, request in enumerate(requests)
        ]
        self._left = asyncio.gather(*(run.finished for run in self._runs), return_exceptions=True)
        self._left.add_done_callback(lambda _: served.lanes.leave(len(requests), entered))

    async def ready(self, seconds: float) -> None:
        """Wait for the first event, so that what is refused at once is refused before the answer begins.

        Raises what ended a stream. Returns after `seconds` in any case.
        """
        if self._next is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    self._next = await self._inbox.get()
        if self._next is not None and isinstance(self._next[1], Exception):
            self._refused = True
            raise self._next[1]

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        """Until every answer has finished. Raises what ended one before."""
        while self._ended < len(self._runs):
            index, item = self._next or await self._inbox.get()
            self._next = None
            self._runs[index].taken()
            if isinstance(item, Exception):
                raise item
            self._count(index, item)
            yield index, item

    @property
    def more(self) -> bool:
        """Whether an event waits to be taken."""
        return bool(self._inbox)

    def stop(self, error: ApiError) -> None:
        """Have whoever iterates get an error in the place of what is left."""
        self._inbox.clear()
        self._inbox.put((0, error))

    async def aclose(self) -> None:
        """Cancel what runs, give back tokens that were not used, count the others."""
        for run in self._runs:
            run.close()
        if all(self.usages):  # the threads are leaving: whoever asks next finds the lanes free
            await asyncio.shield(self._left)
        exchange, metrics, name = self._exchange, self._server.metrics, self._served.name
        exchange.finish_reasons = tuple(reason for reason in self._reasons if reason)
        exchange.completion_tokens = self.completion_tokens
        exchange.prompt_tokens, exchange.cached_tokens = self.prompt_tokens, self.cached_tokens
        await self._server.limits.settle(self._reservation, self._used())
        metrics.prompt_tokens.labels(name).inc(exchange.prompt_tokens)
        metrics.cached_tokens.labels(name).inc(exchange.cached_tokens)
        metrics.generation_tokens.labels(name).inc(exchange.completion_tokens)

    @property
    def prompt_tokens(self) -> int:
        """Of each prompt once, as far as its first answer has finished."""
        counts = {
            prompt: usage.prompt_tokens for prompt, usage in zip(self._prompts, self.usages, strict=True) if usage
        }
        return sum(counts.values())

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that were not read again."""
        counts: dict[int, int] = {}
        for prompt, usage in zip(self._prompts, self.usages, strict=True):
            if usage:
                counts.setdefault(prompt, usage.cached_tokens)
        return sum(counts.values())

    @property
    def completion_tokens(self) -> int:
        """Of all answers, so far."""
        return sum(
            usage.completion_tokens if usage else seen for usage, seen in zip(self.usages, self._produced, strict=True)
        )

    def _used(self) -> int:
        """Tokens that are charged: of answers that were broken off, what was produced until then."""
        if self._refused:
            return 0
        read = self._reservation.prompt_tokens
        if not self._reservation.counted and all(self.usages) and self.prompt_tokens:
            read = min(read, self.prompt_tokens)
        return read + self.completion_tokens

    def _count(self, index: int, event: Event) -> None:
        now, metrics, name = time.perf_counter(), self._server.metrics, self._served.name
        sample = self._samples[index]
        if isinstance(event, Finish):
            if sample is not None:
                self._server.samples.end(sample, event)
            self._ended += 1
            self.usages[index], self._reasons[index] = event.usage, event.reason
            metrics.finished.labels(name, event.reason).inc()
            return
        if self._exchange.first_token_seconds is None:
            self._exchange.first_token_seconds = now - self._exchange.started
            metrics.first_token.labels(name).observe(now - self._exchange.started)
        if sample is not None and isinstance(event, Delta):
            sample.add(event)
        count = len(event.tokens) if isinstance(event, Delta) else 0
        if count:
            self._produced[index] += count
            gap = (now - self._last[index]) / count if self._last[index] else None
            self._server.watch.tokens(count, gap)
            if gap is not None:
                metrics.inter_token.labels(name).observe(gap)
            self._last[index] = now


def several(request: Request, count: int) -> list[Request]:
    """`count` requests for different answers: each has its own seed, the first the request's."""
    seed = request.sampling.seed
    if seed is None:
        return [request] * count
    return [replace(request, sampling=replace(request.sampling, seed=(seed + place) % 2**64)) for place in range(count)]
