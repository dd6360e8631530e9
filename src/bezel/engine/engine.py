"""Continuous batching: requests come and go, and each step reads the weights once for all that run."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from bezel.engine.blocks import Blocks, pool
from bezel.engine.request import Progress, Request
from bezel.engine.runner import Runner
from bezel.engine.scheduler import Scheduler, Statistics
from bezel.errors import ContextLengthError, InvalidRequestError
from bezel.generation.loop import answer_budget
from bezel.generation.sampling import check_bias
from bezel.generation.stores import Stores
from bezel.models.interface import TextModel


class Engine:
    """Answers many requests at once, each as `generation.loop.generate` alone would, token for token.

    `add` and `cancel` may be called from any thread, `step` from one at a time. At most `sequences` requests run at
    once, with at most `budget` tokens a step. `blocks` a window group default to what `sequences` whole contexts
    need, of which pages are taken from the system when first written; blocks that nobody holds keep their content,
    but take no memory beyond what one whole context needs. Speculation rests while more than `drafting` requests run.
    `span` is the most positions that a request's soft spans may have each: a step may be longer than the budget by it.
    """

    def __init__(
        self,
        model: TextModel,
        sequences: int = 8,
        budget: int = 512,
        blocks: Mapping[int | None, int] | None = None,
        drafting: int = 1,
        span: int = 0,
    ) -> None:
        if sequences < 1 or budget < 1:
            raise InvalidRequestError(f"sequences is {sequences} and budget {budget}; both must be at least 1")
        spec = model.cache_spec
        counts = {window: blocks[window] for window in spec.windows} if blocks else {}
        counts = counts or pool(spec, model.context, sequences, budget + span)
        self._model, self._segment, self._span = model, budget + span, span
        self.blocks = Blocks(counts, model.context, pool(spec, model.context, 1, budget + span))
        self._scheduler = Scheduler(self.blocks, budget, sequences)
        self._runner = Runner(model, Stores(spec, counts), self.blocks, drafting)
        self._added: deque[Request] = deque()
        self._cancelled: deque[int] = deque()

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._added or self._cancelled or self._scheduler.busy)

    @property
    def statistics(self) -> Statistics:
        return self._scheduler.statistics

    def add(self, request: Request) -> None:
        """Queue a request for the next step.

        Raises InvalidRequestError or ContextLengthError where it could never be answered.
        """
        request.max_tokens = answer_budget(self._model, request.prompt, request.max_tokens)
        check_bias(request.sampling, self._model.vocabulary)
        _check_spans(request, self._span)
        positions = len(request.prompt) + request.max_tokens - 1
        if not self.blocks.fits(positions, self._segment):
            raise ContextLengthError(
                f"{len(request.prompt)} prompt tokens and {request.max_tokens} new ones exceed the engine's cache; "
                "ask for fewer tokens or give the engine more blocks"
            )
        self._added.append(request)

    def cancel(self, identity: int) -> None:
        """Drop a request by its id: the next step frees all that it holds. One that has ended is left alone."""
        self._cancelled.append(identity)

    def clear(self) -> None:
        """Drop every request at once, between steps: what is left to do after one that failed."""
        self._added.clear()
        self._cancelled.clear()
        self._scheduler.clear()

    def step(self) -> tuple[Progress, ...]:
        """Compute the next tokens of the requests whose turn it is."""
        while self._added:
            self._scheduler.add(self._added.popleft())
        cancelled = [self._scheduler.cancel(self._cancelled.popleft()) for _ in range(len(self._cancelled))]
        plan = self._scheduler.schedule()
        outputs = self._runner.run(plan)
        return tuple(progress for progress in cancelled if progress) + self._scheduler.update(outputs)


def _check_spans(request: Request, most: int) -> None:
    end = 0
    for span in request.spans:
        if not 1 <= span.length <= most or span.start < end or span.end > len(request.prompt):
            raise InvalidRequestError(
                f"a span at {span.start} of {span.length} soft tokens cannot be: each has 1 to {most} inside the "
                "prompt, behind the one before it"
            )
        end = span.end
