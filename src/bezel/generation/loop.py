"""Generation for one sequence, as plainly as it can be said: the oracle for every faster way."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np

from bezel.errors import ContextLengthError, InvalidRequestError
from bezel.generation.cache import Cache
from bezel.generation.constraints.choosing import choose_next
from bezel.generation.constraints.interface import Constraint
from bezel.generation.sampling import Sampling
from bezel.generation.steps import Steps
from bezel.kernels.interface import F32, Kernels
from bezel.models.interface import Batch, Bounds, SoftSpan, TextModel

PREFILL_CHUNK = 512


@dataclass(frozen=True)
class Step:
    """One produced token: its id, its log-probability and the `top` most probable (id, log-probability).

    Log-probabilities are the model's own, before temperature, filters and penalties.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def as_ids(tokens: Iterable[SupportsIndex]) -> list[int]:
    """Token ids as Python's integers, whatever kind of integers they come as; InvalidRequestError where one is none."""
    try:
        return [operator.index(token) for token in tokens]
    except TypeError:
        raise InvalidRequestError(f"token ids must be whole numbers in one row; these are {tokens!r:.100}") from None


def check_tokens(model: Bounds, tokens: Sequence[int]) -> None:
    """Raise InvalidRequestError or ContextLengthError where `tokens` cannot be a prompt of this model."""
    if not tokens:
        raise InvalidRequestError("the prompt has no tokens; give at least one")
    if len(tokens) > model.context:
        raise ContextLengthError(
            f"the prompt has {len(tokens)} tokens and the context holds {model.context}; shorten it{_or_enlarge(model)}"
        )
    low, high = min(tokens), max(tokens)
    if low < 0 or high >= model.vocabulary:
        raise InvalidRequestError(
            f"token id {low if low < 0 else high} is outside the vocabulary of {model.vocabulary} tokens"
        )


def answer_budget(model: Bounds, prompt: Sequence[int], max_tokens: int | None) -> int:
    """How many tokens an answer may have: `max_tokens`, or what the context leaves.

    Raises InvalidRequestError or ContextLengthError where prompt and answer cannot be.
    """
    check_tokens(model, prompt)
    room = model.context - len(prompt)
    if max_tokens is not None and max_tokens < 1:
        raise InvalidRequestError(f"max_tokens is {max_tokens}; it must be at least 1")
    if room < 1:
        raise ContextLengthError(
            f"the prompt fills the whole context of {model.context} tokens; shorten it to leave room for an answer"
        )
    if max_tokens is not None and max_tokens > room:
        raise ContextLengthError(
            f"{len(prompt)} prompt tokens and {max_tokens} new ones exceed the context of {model.context}; "
            f"ask for {room} new ones at most{_or_enlarge(model)}"
        )
    return room if max_tokens is None else max_tokens


def _or_enlarge(model: Bounds) -> str:
    """What else may help where a context is too short: to load more of it, if the model's config allows more."""
    most = getattr(getattr(model, "config", None), "context", None)
    if most is None:
        return " or load the model with a larger context"
    if most > model.context:
        return f" or load the model with a context of up to {most}"
    return ", for this model holds no more"


def unsplit(start: int, length: int, spans: Sequence[SoftSpan]) -> int:
    """How many of `length` tokens from `start` on to compute together, so that they end inside no span.

    Fewer, or more where a span lies at `start` and goes on behind them.
    """
    end = start + length
    for span in spans:
        if span.start < end < span.end:
            return span.end - start if span.start <= start else span.start - start
    return length


def prefill(
    model: TextModel,
    cache: Cache,
    tokens: Sequence[int],
    every_row: bool = False,
    spans: Sequence[SoftSpan] = (),
) -> Iterator[F32]:
    """Run a prompt through the model in chunks, yielding each chunk's logits [rows, vocabulary]."""
    start = 0
    while start < len(tokens):
        chunk = tokens[start : start + unsplit(start, PREFILL_CHUNK, spans)]
        logits = model.forward(Batch.of([(chunk, start, every_row)], [spans]), cache.view([(0, start, len(chunk))]))
        start += len(chunk)
        cache.trim(0, start)
        yield logits


def _cache(model: TextModel, context: int, spans: Sequence[SoftSpan]) -> Cache:
    """The cache of one sequence, filled in chunks that a span may lengthen."""
    cache = Cache(model.cache_spec, context, chunk=max(PREFILL_CHUNK, *(span.length for span in spans), 0))
    cache.begin(0)
    return cache


def generate(
    model: TextModel,
    prompt: Sequence[int],
    sampling: Sampling,
    stop_ids: Collection[int] = (),
    max_tokens: int | None = None,
    logprobs: int = 0,
    constraint: Constraint | None = None,
    spans: Sequence[SoftSpan] = (),
) -> Iterator[Step]:
    """Yield tokens until a stop id (which is yielded too), `max_tokens` or the end of the context.

    Where soft `spans` stand, the tokens of the prompt are not looked at.
    Tokens that a constraint may take back are yielded once it no longer may. Raises ContextLengthError where prompt and
    `max_tokens` do not fit into the context together, and ConstraintFailedError.
    """
    budget = answer_budget(model, prompt, max_tokens)
    cache = _cache(model, len(prompt) + budget, spans)
    rng = np.random.default_rng(sampling.seed)
    *_, logits = prefill(model, cache, prompt, spans=spans)
    steps = Steps(model)
    produced: list[int] = []
    held: list[Step] = []
    while True:
        row = logits[-1]
        token, earlier = choose_next(row, [*prompt, *produced], produced, sampling, rng, model.ops, constraint)
        if earlier:
            del produced[-earlier:], held[-earlier:]
            cache.begin(0)
            *_, logits = prefill(model, cache, [*prompt, *produced], spans=spans)
            continue
        produced.append(token)
        held.append(step_of(row, token, logprobs, model.ops))
        ended = token in stop_ids or len(produced) == budget
        if ended or constraint is None or not constraint.holds:
            yield from held
            held.clear()
        if ended:
            return
        position = len(prompt) + len(produced) - 1
        logits = steps.forward(Batch.of([([token], position, False)]), cache.view([(0, position, 1)]))


def step_of(logits: F32, token: int, count: int, kernels: Kernels) -> Step:
    """`token` as chosen from a row of the model's own logits [vocabulary], with the `count` most probable."""
    whole = kernels.log_sum_exp(logits)
    best = kernels.largest(logits, count) if count else ()
    return Step(token, float(logits[token]) - whole, tuple((int(i), float(logits[i]) - whole) for i in best))


def all_logits(model: TextModel, tokens: Sequence[int], spans: Sequence[SoftSpan] = ()) -> F32:
    """Logits after every token: float32 [T, vocabulary]."""
    check_tokens(model, tokens)
    cache = _cache(model, len(tokens), spans)
    return np.concatenate(list(prefill(model, cache, tokens, every_row=True, spans=spans)))


def next_logits(model: TextModel, tokens: Sequence[int], spans: Sequence[SoftSpan] = ()) -> F32:
    """Logits of what comes behind `tokens`: float32 [vocabulary]."""
    check_tokens(model, tokens)
    cache = _cache(model, len(tokens), spans)
    *_, last = prefill(model, cache, tokens, spans=spans)
    found: F32 = last[-1].copy()
    return found


def token_logprobs(model: TextModel, tokens: Sequence[int]) -> F32:
    """Log-probability of tokens 1 ... T-1, each given those before it: float32 [T - 1]."""
    check_tokens(model, tokens)
    cache = _cache(model, len(tokens), ())
    found: list[float] = []
    for logits in prefill(model, cache, tokens, every_row=True):
        for row in logits[: len(tokens) - 1 - len(found)]:
            found.append(float(row[tokens[len(found) + 1]]) - model.ops.log_sum_exp(row))
    return np.array(found, np.float32)


def perplexity(model: TextModel, tokens: Sequence[int]) -> float:
    """exp(-mean log-probability) of tokens 1 ... T-1; needs at least two tokens."""
    if len(tokens) < 2:
        raise InvalidRequestError("perplexity needs at least two tokens")
    return float(np.exp(-token_logprobs(model, tokens).mean()))
