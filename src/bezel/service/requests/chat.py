"""The body of /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Backend, Request
from bezel.generation.constraints.grammar import Grammar
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.common import (
    MOST_TOKENS,
    OWN,
    Body,
    Ignored,
    Json,
    JsonText,
    Named,
    NamedChoice,
    Sampled,
    Text,
)
from bezel.service.requests.hints import CacheOptions, Effort, Prediction, Retention, Tier, Verbosity
from bezel.text.tools import tool_choice

Name = Annotated[str, Field(max_length=256)] | None


class TextPart(Body):
    type: Literal["text"]
    text: Text


class RefusalPart(Body):
    type: Literal["refusal"]
    refusal: Text


class ImageUrl(Body):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Body):
    """`url`: a data URL."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Body):
    data: str
    format: Literal["wav", "mp3", "flac", "ogg"] = "wav"


class AudioPart(Body):
    """`data`: a file in base64; its format is found in the file."""

    type: Literal["input_audio"]
    input_audio: InputAudio


UserPart = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Parts = Annotated[list[TextPart], Field(min_length=1, max_length=1024)]


class _Message(Body):
    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return self.model_dump(exclude_none=True)


class SystemMessage(_Message):
    role: Literal["system", "developer"]
    content: Text | Parts
    name: Name = None


class UserMessage(_Message):
    role: Literal["user"]
    content: Text | Annotated[list[UserPart], Field(min_length=1, max_length=1024)]
    name: Name = None


class CalledFunction(Named):
    arguments: JsonText


class ToolCall(Body):
    id: Annotated[str, Field(max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(_Message):
    """As an answer held it: what else stands there (`annotations`, `audio`, ...) is not read."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["assistant"]
    content: Text | Annotated[list[AssistantPart], Field(min_length=1, max_length=1024)] | None = None
    refusal: Text | None = None
    name: Name = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it; a refusal is text."""
        found = self.model_dump(exclude_none=True)
        refusal = found.pop("refusal", None)
        content = found.get("content", refusal)
        if isinstance(content, list):
            content = [{"type": "text", "text": part.get("text", part.get("refusal"))} for part in content]
        return found | ({} if content is None else {"content": content})


class ToolMessage(_Message):
    role: Literal["tool"]
    content: Text | Parts
    tool_call_id: Annotated[str, Field(max_length=256)]


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Named):
    description: Text | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it. Arguments always follow the schema, strict or not."""
        return self.model_dump(exclude_none=True, exclude={"function": {"strict"}})


class JsonSchema(Named):
    """Always followed; `strict` changes nothing."""

    description: Text | None = None
    schema_: Annotated[Json | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextFormat(Body):
    type: Literal["text"]


class JsonFormat(Body):
    type: Literal["json_object"]


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: JsonSchema


Format = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class ChatRequest(Sampled):
    """`metadata`, `modalities` and what stands in `hints.py` are taken and have no effect; nothing can be stored."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    store: Literal[False] | None = None
    metadata: Annotated[dict[str, Ignored], Field(max_length=16)] | None = None
    service_tier: Tier | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    prediction: Prediction | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Retention | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None

    @model_validator(mode="after")
    def _agree(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError(OWN, "top_logprobs needs logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError(OWN, "max_tokens and max_completion_tokens differ; send one of them")
        return self

    def request(self, backend: Backend, policy: InputPolicy) -> Request:
        """The request to a backend, its texts after the policy. Raises ApiError and what Request's parts raise."""
        messages = [message.plain() for message in self.messages]
        tools = [tool.plain() for tool in self.tools or ()]
        choice = self.tool_choice.model_dump() if isinstance(self.tool_choice, NamedChoice) else self.tool_choice
        return Request(
            messages=policy.messages(messages),
            tools=policy.tools(tools),
            sampling=self.sampling(backend.sampling),
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=self.stops,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            tool_choice=tool_choice(choice or "auto"),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            constraint=self._grammar(),
        )

    def _grammar(self) -> Grammar | None:
        if isinstance(self.response_format, JsonFormat):
            return Grammar.schema({"type": "object"})
        if isinstance(self.response_format, SchemaFormat):
            schema = self.response_format.json_schema.schema_
            return Grammar.schema({"type": "object"} if schema is None else schema)
        return None
