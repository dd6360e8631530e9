"""The body of /v1/moderations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bezel.service.requests.chat import ImagePart, TextPart
from bezel.service.requests.common import Body, ModelName, Text

Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ModerationRequest(Body):
    """A text, texts that are judged one by one, or parts that are judged together. Images are data URLs.

    `model` may be left out, be one of OpenAI's, or what answers give back.
    """

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=256)]
        | Annotated[list[Part], Field(min_length=1, max_length=64)]
    )
    model: ModelName | None = None

    @property
    def things(self) -> list[list[str | ImagePart]]:
        """What each result is about: texts and images that are judged together."""
        if isinstance(self.input, str):
            return [[self.input]]
        if isinstance(self.input[0], str):
            return [[text] for text in self.input if isinstance(text, str)]
        return [[part.text if isinstance(part, TextPart) else part for part in self.input if not isinstance(part, str)]]
