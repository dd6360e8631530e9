"""The bodies of Ollama's /api/chat, /api/generate and /api/show."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Backend, Request
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.service.errors import ApiError
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.chat import Tool
from bezel.service.requests.common import MOST_TOKENS, OWN, Body, FunctionName, Json, ModelName, Stop, Text
from bezel.text.calls import Call

Images = Annotated[list[str], Field(max_length=64)] | None
_NAMES = {"repeat_penalty": "repetition_penalty"}
_SAMPLED = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "repeat_penalty", "presence_penalty"),
    *("frequency_penalty", "seed"),
)


class Options(Body):
    """`num_ctx` may be no more than the server's context, and changes nothing; num_predict below 0 is no limit."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    num_predict: Annotated[int, Field(ge=-2, le=MOST_TOKENS)] | None = None
    num_ctx: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None

    def sampling(self, base: Sampling) -> Sampling:
        """`base` with what these say."""
        said: dict[str, Any] = {_NAMES.get(name, name): getattr(self, name) for name in _SAMPLED}
        return replace(base, **{name: value for name, value in said.items() if value is not None})


class Asked(Body):
    """What chats and texts share. `keep_alive` is taken and has no effect: models stay loaded. `think` may be false."""

    model: ModelName
    stream: bool = True
    format: Literal["", "json"] | Json | None = None
    options: Options | None = None
    keep_alive: Annotated[str, Field(max_length=32)] | int | float | None = None
    think: Literal[False] | None = None

    def _request(self, backend: Backend, context: int, **what: Any) -> Request:
        options = self.options or Options()
        if options.num_ctx is not None and options.num_ctx > context:
            raise ApiError("context", f"num_ctx is {options.num_ctx}; the model holds {context} tokens here.")
        length = options.num_predict
        stop = options.stop
        grammar = None
        if self.format:
            grammar = Grammar.schema({"type": "object"} if self.format == "json" else self.format)
        return Request(
            sampling=options.sampling(backend.sampling),
            max_tokens=length if length is not None and length > 0 else None,
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            constraint=grammar,
            **what,
        )


class CalledFunction(Body):
    name: FunctionName
    arguments: Json
    index: int | None = None


class ToolCall(Body):
    function: CalledFunction
    id: Annotated[str, Field(max_length=256)] | None = None


class Message(Body):
    """`images`: files in base64."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text = ""
    images: Images = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_name: Annotated[str, Field(max_length=256)] | None = None
    thinking: Literal[""] | None = None


class ChatRequest(Asked):
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None

    def request(self, backend: Backend, context: int, policy: InputPolicy) -> Request:
        """The request to a backend. Raises ApiError and what Request's parts raise."""
        messages = policy.messages(self._messages())
        tools = policy.tools([tool.plain() for tool in self.tools or ()])
        return self._request(backend, context, messages=messages, tools=tools)

    def _messages(self) -> list[dict[str, Any]]:
        """A tool's answer has no id here: it belongs to the first call by its name that has none yet, or the first."""
        found: list[dict[str, Any]] = []
        waiting: list[tuple[str, str]] = []
        for place, message in enumerate(self.messages):
            plain: dict[str, Any] = {"role": message.role, "content": _content(message.content, message.images)}
            if message.role == "tool":
                if not waiting:
                    raise ApiError("invalid", f"messages[{place}] answers no call.", f"messages[{place}]")
                named = [each for each in waiting if message.tool_name in (None, each[1])]
                answered = (named or waiting)[0]
                waiting.remove(answered)
                plain["tool_call_id"] = answered[0]
            if message.tool_calls:
                calls = [(f"call_{place}_{index}", each.function) for index, each in enumerate(message.tool_calls)]
                waiting = [(identity, function.name) for identity, function in calls]
                plain["tool_calls"] = [
                    {
                        "id": identity,
                        "type": "function",
                        "function": {
                            "name": function.name,
                            "arguments": Call(function.name, function.arguments).arguments_json(),
                        },
                    }
                    for identity, function in calls
                ]
            found.append(plain)
        return found


class GenerateRequest(Asked):
    """`suffix`, `template` and `context` are not known. With `raw` the prompt is continued as it is."""

    prompt: Text = ""
    system: Text | None = None
    images: Images = None
    raw: bool = False

    @model_validator(mode="after")
    def _agree(self) -> GenerateRequest:
        if self.raw and (self.system or self.images):
            raise PydanticCustomError(OWN, "raw takes a prompt alone; leave out system and images")
        return self

    def request(self, backend: Backend, context: int, policy: InputPolicy) -> Request:
        """The request to a backend. Raises as `ChatRequest.request`."""
        if self.raw:
            return self._request(backend, context, prompt=policy.text(self.prompt))
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": _content(self.prompt, self.images)})
        return self._request(backend, context, messages=policy.messages(messages))


class ShowRequest(Body):
    model: ModelName
    verbose: bool | None = None


def _content(text: str, images: list[str] | None) -> Any:
    """A message's content, its images as data URLs in front. ApiError "media" for what is no base64."""
    if not images:
        return text
    parts: list[dict[str, Any]] = []  # what kind of image it is, is found in the file
    for image in images:
        try:
            base64.b64decode(image, validate=True)
        except ValueError:
            raise ApiError("media", "An image is no base64.", "images") from None
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}})
    return [*parts, {"type": "text", "text": text}]
