"""The fields of /v1/audio/transcriptions and /v1/audio/translations, beside the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bezel.service.requests.common import OWN, Body, ModelName

Language = Annotated[str, Field(max_length=32, pattern=r"^\p{L}[\p{L}\p{M} -]*$")]
"""A code, or a language's name: a word of the question that the model is asked."""


class TranslationRequest(Body):
    """`prompt` is not known: no text goes before what is heard."""

    model: ModelName
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0


class TranscriptionRequest(TranslationRequest):
    """Not known: streams, log-probabilities, speakers, and times of words. Long recordings are cut at pauses anyway."""

    language: Language | None = None
    granularities: Annotated[Literal["segment"] | None, Field(alias="timestamp_granularities[]")] = None
    stream: Literal["false"] | None = None
    chunking_strategy: Literal["auto"] | None = None

    @model_validator(mode="after")
    def _agree(self) -> TranscriptionRequest:
        if self.granularities and self.response_format != "verbose_json":
            raise PydanticCustomError(OWN, "timestamp_granularities needs response_format verbose_json")
        return self
