"""The body of /v1/responses: a conversation as items, of which nothing is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Backend, Request
from bezel.generation.constraints.grammar import Grammar
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.chat import InputAudio, JsonFormat, TextFormat
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
from bezel.text.tools import NamedTool, ToolChoice

CallId = Annotated[str, Field(min_length=1, max_length=256)]
ItemId = Annotated[str, Field(max_length=256)] | None
Status = Literal["in_progress", "completed", "incomplete"] | None


def _not_stored(value: Any) -> Any:
    if value not in (None, False):
        raise PydanticCustomError(OWN, "cannot be used: responses are not stored; send the whole conversation as input")
    return value


NotStored = Annotated[None, BeforeValidator(_not_stored)]


class InputText(Body):
    type: Literal["input_text"]
    text: Text

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return {"type": "text", "text": self.text}


class InputImage(Body):
    """`image_url`: a data URL."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] = "auto"

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return {"type": "image_url", "image_url": {"url": self.image_url, "detail": self.detail}}


class InputAudioPart(Body):
    type: Literal["input_audio"]
    input_audio: InputAudio

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return self.model_dump()


class OutputText(Body):
    """As a response held it: annotations and log-probabilities are not read."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["output_text"]
    text: Text

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        return {"type": "text", "text": self.text}


Part = Annotated[InputText | InputImage | InputAudioPart | OutputText, Field(discriminator="type")]


class MessageItem(Body):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | Annotated[list[Part], Field(min_length=1, max_length=1024)]
    id: ItemId = None
    status: Status = None

    def plain(self) -> dict[str, Any]:
        """As the Python API takes it."""
        content = self.content if isinstance(self.content, str) else [part.plain() for part in self.content]
        return {"role": self.role, "content": content}


class CallItem(Named):
    type: Literal["function_call"]
    call_id: CallId
    arguments: Text
    id: ItemId = None
    status: Status = None


class OutputItem(Body):
    """What a function gave back."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Text | Annotated[list[InputText], Field(min_length=1, max_length=1024)]
    id: ItemId = None
    status: Status = None


def _kind(value: Any) -> Any:
    found = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", None)
    return found if isinstance(found, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[OutputItem, Tag("function_call_output")],
    Discriminator(_kind),
]


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


class ResponseRequest(Body):
    """`metadata`, `service_tier`, `user`, `safety_identifier` and `prompt_cache_key` are taken and have no effect."""

    model: ModelName
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=4096)]
    instructions: Text | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: Annotated[Literal[False] | None, BeforeValidator(_not_stored)] = None
    previous_response_id: NotStored = None
    conversation: NotStored = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    include: Annotated[list[str], Field(max_length=0)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    service_tier: Literal["auto", "default"] | None = None
    user: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None

    def request(self, backend: Backend, policy: InputPolicy) -> Request:
        """The request to a backend, its texts after the policy. Raises ApiError and what Request's parts raise."""
        said: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p}
        sampling = replace(backend.sampling, **{name: value for name, value in said.items() if value is not None})
        return Request(
            messages=policy.messages(self._messages()),
            tools=policy.tools([tool.plain() for tool in self.tools or ()]),
            sampling=sampling,
            max_tokens=self.max_output_tokens,
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
