"""The body of /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bezel.service.requests.common import Body, Ignored, ModelName, Text


class EmbeddingRequest(Body):
    """OpenAI's, for texts alone: token ids are not taken. Beyond it `task` says what the embeddings are for.

    `user` is taken and has no effect.
    """

    model: ModelName
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    task: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: Ignored = None

    @property
    def texts(self) -> list[str]:
        """Each text."""
        return [self.input] if isinstance(self.input, str) else list(self.input)
