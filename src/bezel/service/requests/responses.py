"""The body of /v1/responses: a conversation as items, of which nothing is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Backend, Request
from bezel.generation.constraints.grammar import Grammar
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.chat import JsonFormat, TextFormat
from bezel.service.requests.common import (
    MOST_TOKENS,
    OWN,
    Body,
    FunctionName,
    Ignored,
    Json,
    ModelName,
    Named,
    StreamOptions,
    Text,
)
from bezel.service.requests.hints import CacheOptions, Include, Reasoning, Retention, Tier, Verbosity
from bezel.service.requests.items import CallItem, Item, MessageItem
from bezel.text.tools import NamedTool, ToolChoice


def _not_stored(value: Any) -> Any:
    if value not in (None, False):
        raise PydanticCustomError(OWN, "cannot be used: responses are not stored; send the whole conversation as input")
    return value


NotStored = Annotated[None, BeforeValidator(_not_stored)]


class FunctionTool(Body):
    """Arguments always follow the schema, strict or not."""

    type: Literal["function"]
    name: FunctionName
    description: Text | None = None
    parameters: Json | None = None
    strict: bool | None = None

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return {"type": "function", "function": self.model_dump(exclude_none=True, exclude={"type", "strict"})}


class FunctionChoice(Named):
    type: Literal["function"]


class SchemaFormat(Named):
    """Always followed; `strict` changes nothing."""

    type: Literal["json_schema"]
    schema_: Annotated[Json, Field(alias="schema")]
    description: Text | None = None
    strict: bool | None = None


class TextOptions(Body):
    format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Verbosity | None = None


class Asked(Body):
    """What a response and the count of its tokens share."""

    model: ModelName
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=4096)]
    instructions: Text | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    previous_response_id: NotStored = None
    conversation: NotStored = None
    truncation: Literal["auto", "disabled"] | None = None
    reasoning: Reasoning | None = None

    def request(self, backend: Backend, policy: InputPolicy) -> Request:
        """The request to a backend, its texts after the policy. Raises ApiError and what Request's parts raise."""
        return Request(
            messages=policy.messages(self._messages()),
            tools=policy.tools([tool.plain() for tool in self.tools or ()]),
            sampling=backend.sampling,
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            constraint=self._grammar(),
        )

    def _messages(self) -> list[dict[str, Any]]:
        """Chat messages: a call belongs to what the assistant said before it."""
        found: list[dict[str, Any]] = []
        if self.instructions is not None:
            found.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        for item in self.input:
            if isinstance(item, MessageItem):
                found.append(item.plain())
            elif isinstance(item, CallItem):
                if not found or found[-1]["role"] != "assistant":
                    found.append({"role": "assistant"})
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                found[-1].setdefault("tool_calls", []).append(call)
            else:
                output = item.output if isinstance(item.output, str) else [part.plain() for part in item.output]
                found.append({"role": "tool", "tool_call_id": item.call_id, "content": output})
        return found

    def _choice(self) -> ToolChoice:
        if isinstance(self.tool_choice, FunctionChoice):
            return NamedTool(self.tool_choice.name)
        return self.tool_choice or "auto"

    def _grammar(self) -> Grammar | None:
        form = self.text.format if self.text else None
        if isinstance(form, JsonFormat):
            return Grammar.schema({"type": "object"})
        return Grammar.schema(form.schema_) if isinstance(form, SchemaFormat) else None


class InputTokensRequest(Asked):
    """The body of /v1/responses/input_tokens."""


class ResponseRequest(Asked):
    """`metadata`, `user`, `safety_identifier`, `prompt_cache_key` and what stands in `hints.py` have no effect.

    Nor has `max_tool_calls`, which counts the calls of hosted tools, or `truncation`: what is too long is refused.
    """

    max_output_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_tool_calls: Annotated[int, Field(ge=0, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Literal[0] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: Annotated[Literal[False] | None, BeforeValidator(_not_stored)] = None
    background: Literal[False] | None = None
    include: Annotated[list[Include], Field(max_length=16)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    service_tier: Tier | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Retention | None = None
    user: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None

    def request(self, backend: Backend, policy: InputPolicy) -> Request:
        """As `Asked.request`, with what this says of the answer."""
        said: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p}
        sampling = replace(backend.sampling, **{name: value for name, value in said.items() if value is not None})
        return replace(super().request(backend, policy), sampling=sampling, max_tokens=self.max_output_tokens)
