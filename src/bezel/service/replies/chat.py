"""Chat completions as OpenAI's clients read them, whole or in chunks."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from bezel.backends.interface import Delta as TextDelta
from bezel.backends.interface import Event, Finish, TokenLogprob
from bezel.service.answers import Answers
from bezel.service.errors import ApiError
from bezel.service.replies.common import FINGERPRINT, Usage, new_id, now, usage_of
from bezel.text.calls import CallBroken, CallDelta, CallFinished, CallStarted


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct):
    content: list[Logprob]
    refusal: None = None


class Function(msgspec.Struct):
    arguments: str
    name: str | UnsetType = UNSET


class CallPart(msgspec.Struct):
    index: int
    function: Function
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class Delta(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[CallPart] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"
    system_fingerprint: str = FINGERPRINT
    usage: Usage | UnsetType | None = UNSET


class ToolCall(msgspec.Struct):
    id: str
    function: Function
    type: str = "function"


class Message(msgspec.Struct):
    content: str | None
    role: str = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class Choice(msgspec.Struct):
    index: int
    message: Message
    finish_reason: str
    logprobs: Logprobs | None = None


class Completion(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str = FINGERPRINT


@dataclass
class _Written:
    """One answer, as far as it has come."""

    text: list[str] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    broken: bool = False
    reason: str = ""

    def finish(self, event: Finish) -> str:
        """The finish reason. ApiError "generation" where a call cannot be read, or the engine gave up."""
        if event.reason == "cancelled" or (self.broken and event.reason == "stop"):
            raise ApiError("generation")
        self.reason = "tool_calls" if self.calls and event.reason == "stop" else event.reason
        return self.reason


async def whole(answers: Answers, model: str, count: int, logprobs: bool) -> Completion:
    """All answers, when all have ended. A call that was cut off by max_tokens is left out."""
    written = [_Written() for _ in range(count)]
    async for index, event in answers:
        one = written[index]
        if isinstance(event, TextDelta):
            one.text.append(event.text)
            one.tokens += event.tokens if logprobs else ()
        elif isinstance(event, CallFinished):
            function = Function(event.call.arguments_json(), event.call.name)
            one.calls.append(ToolCall(_call_id(), function))
        elif isinstance(event, CallBroken):
            one.broken = True
        elif isinstance(event, Finish):
            one.finish(event)
    choices = [_choice(index, one, logprobs) for index, one in enumerate(written)]
    return Completion(new_id("chatcmpl"), now(), model, choices, usage_of(answers))


def _choice(index: int, one: _Written, logprobs: bool) -> Choice:
    text = "".join(one.text)
    message = Message(text if text or not one.calls else None, tool_calls=one.calls or UNSET)
    return Choice(index, message, one.reason, _logprobs(one.tokens) if logprobs else None)


async def chunks(answers: Answers, model: str, count: int, logprobs: bool, usage: bool) -> AsyncIterator[Chunk]:
    """The answers while they are written. With `usage` every chunk has the field, and one more ends the stream."""
    identity, created = new_id("chatcmpl"), now()
    blank: Any = None if usage else UNSET

    def chunk(index: int, delta: Delta, tokens: Sequence[TokenLogprob] = (), reason: str | None = None) -> Chunk:
        choice = ChunkChoice(index, delta, _logprobs(tokens) if logprobs and tokens else None, reason)
        return Chunk(identity, created, model, [choice], usage=blank)

    for index in range(count):
        yield chunk(index, Delta(role="assistant", content=""))
    written = [_Written() for _ in range(count)]
    async for index, event in answers:
        delta = _delta(event, written[index])
        if delta is not None:
            yield chunk(index, delta, event.tokens if isinstance(event, TextDelta) else ())
        elif isinstance(event, TextDelta) and logprobs and event.tokens:
            yield chunk(index, Delta(content=""), event.tokens)
        elif isinstance(event, Finish):
            yield chunk(index, Delta(), reason=written[index].finish(event))
    if usage:
        yield Chunk(identity, created, model, [], usage=usage_of(answers))


def _delta(event: Event, one: _Written) -> Delta | None:
    """What an event adds to the message; None where that is nothing."""
    if isinstance(event, TextDelta):
        return Delta(content=event.text) if event.text else None
    if isinstance(event, CallStarted):
        return Delta(tool_calls=[CallPart(event.index, Function("", event.name), _call_id(), "function")])
    if isinstance(event, CallDelta):
        return Delta(tool_calls=[CallPart(event.index, Function(event.arguments))])
    if isinstance(event, CallFinished):
        one.calls.append(ToolCall("", Function(event.call.arguments_json(), event.call.name)))
    elif isinstance(event, CallBroken):
        one.broken = True
    return None


def _logprobs(tokens: Sequence[TokenLogprob]) -> Logprobs:
    return Logprobs(
        [
            Logprob(
                token.text,
                token.logprob,
                list(token.text.encode()),
                [TopLogprob(text, logprob, list(text.encode())) for _, text, logprob in token.top],
            )
            for token in tokens
        ]
    )


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
