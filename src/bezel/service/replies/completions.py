"""Completions as OpenAI's clients read them, whole or in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from bezel.backends.interface import Delta, Finish, TokenLogprob
from bezel.service.answers import Answers
from bezel.service.errors import ApiError
from bezel.service.replies.common import FINGERPRINT, Usage, new_id, now, usage_of


class Logprobs(msgspec.Struct):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Choice(msgspec.Struct):
    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[Choice]
    object: str = "text_completion"
    system_fingerprint: str = FINGERPRINT
    usage: Usage | UnsetType | None = UNSET


async def whole(answers: Answers, model: str, echoes: Sequence[str], logprobs: bool) -> Completion:
    """All answers, when all have ended, each behind its echo."""
    texts = [[echo] for echo in echoes]
    tokens: list[list[TokenLogprob]] = [[] for _ in echoes]
    reasons = [""] * len(echoes)
    async for index, event in answers:
        if isinstance(event, Delta):
            texts[index].append(event.text)
            tokens[index] += event.tokens if logprobs else ()
        elif isinstance(event, Finish):
            reasons[index] = _reason(event)
    choices = [
        Choice(index, "".join(text), _logprobs(tokens[index], 0) if logprobs else None, reasons[index])
        for index, text in enumerate(texts)
    ]
    return Completion(new_id("cmpl"), now(), model, choices, usage=usage_of(answers))


async def chunks(
    answers: Answers, model: str, echoes: Sequence[str], logprobs: bool, usage: bool
) -> AsyncIterator[Completion]:
    """The answers while they are written. With `usage` every chunk has the field, and one more ends the stream."""
    identity, created = new_id("cmpl"), now()
    blank: Any = None if usage else UNSET
    offsets = [0] * len(echoes)

    def chunk(choice: Choice) -> Completion:
        return Completion(identity, created, model, [choice], usage=blank)

    for index, echo in enumerate(echoes):
        if echo:
            yield chunk(Choice(index, echo))
    async for index, event in answers:
        if isinstance(event, Delta) and (event.text or (logprobs and event.tokens)):
            found = _logprobs(event.tokens, offsets[index]) if logprobs else None
            offsets[index] += len(event.text)
            yield chunk(Choice(index, event.text, found))
        elif isinstance(event, Finish):
            yield chunk(Choice(index, "", finish_reason=_reason(event)))
    if usage:
        yield Completion(identity, created, model, [], usage=usage_of(answers))


def _reason(event: Finish) -> str:
    if event.reason == "cancelled":
        raise ApiError("generation")
    return event.reason


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> Logprobs:
    """`offset`: characters of the answer before these tokens."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return Logprobs(
        [token.text for token in tokens],
        [token.logprob for token in tokens],
        [{text: logprob for _, text, logprob in token.top} for token in tokens],
        offsets,
    )
