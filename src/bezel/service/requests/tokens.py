"""The bodies of /tokenize and /detokenize, which are vLLM's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Request
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.chat import Message, Tool
from bezel.service.requests.common import OWN, Body, ModelName, Text
from bezel.service.requests.completions import Tokens


class TokenizeRequest(Body):
    """A prompt, or messages with tools; one of the two."""

    model: ModelName
    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError(OWN, "send either a prompt or messages")
        return self

    def request(self, policy: InputPolicy) -> Request:
        """The request whose tokens are asked for."""
        if self.prompt is not None:
            return Request(prompt=policy.text(self.prompt))
        messages = [message.plain() for message in self.messages or ()]
        tools = [tool.plain() for tool in self.tools or ()]
        return Request(messages=policy.messages(messages), tools=policy.tools(tools))


class DetokenizeRequest(Body):
    model: ModelName
    tokens: Tokens
