"""The items of which a conversation on /v1/responses is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from bezel.service.requests.chat import InputAudio
from bezel.service.requests.common import Body, JsonText, Named, Text

CallId = Annotated[str, Field(min_length=1, max_length=256)]
ItemId = Annotated[str, Field(max_length=256)] | None
Status = Literal["in_progress", "completed", "incomplete"] | None


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
    arguments: JsonText
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
