"""What the bodies of requests have in common: no unknown fields, no conversions, a range for every number."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from bezel.generation.sampling import Sampling
from bezel.text.messages import DEEPEST, deeper_than

_MOST_JSON = 256 << 10
OWN = "bezel"
"""The type of errors whose message is ours."""


class Body(BaseModel):
    """A body, or a part of one. Unknown fields are refused, as OpenAI does."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def _check_json(value: dict[str, Any]) -> dict[str, Any]:
    """Bounded in depth and size, and of characters that can be written."""
    _check_depth(value)
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        raise PydanticCustomError(OWN, "holds a number or a character that JSON does not have") from None
    if size > _MOST_JSON:
        raise PydanticCustomError(OWN, f"is larger than {_MOST_JSON:,} bytes of JSON")
    return value


def _check_depth(value: Any) -> None:
    if deeper_than(value, DEEPEST):
        raise PydanticCustomError(OWN, f"is nested deeper than {DEEPEST} levels")


def _check_spelled(text: str) -> str:
    """Bounded in depth, as far as it is JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return text  # what is none is told by who reads it
    except RecursionError:
        raise PydanticCustomError(OWN, f"is nested deeper than {DEEPEST} levels") from None
    _check_depth(value)
    return text


Json = Annotated[dict[str, Any], AfterValidator(_check_json)]
"""An object of any content."""


def _check_bias(bias: dict[str, float]) -> dict[str, float]:
    if any(not token.isascii() or not token.isdigit() or len(token) > 9 for token in bias):
        raise PydanticCustomError(OWN, "has a key that is no token id")
    return bias


Text = Annotated[str, Field(max_length=1 << 24)]
JsonText = Annotated[Text, AfterValidator(_check_spelled)]
"""JSON as a text."""
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[str, Field(min_length=1, max_length=1024)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Ignored = Annotated[str, Field(max_length=512)] | None
MOST_TOKENS = 10_000_000


_SAMPLED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)


class Sampled(Body):
    """Fields of both kinds of requests that are answered by a model.

    Beyond OpenAI's: top_k, min_p, typical_p, repetition_penalty. `user`, `safety_identifier` and `prompt_cache_key` are
    taken and have no effect.
    """

    model: ModelName
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1024), AfterValidator(_check_bias)] | None = None
    user: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None

    def sampling(self, base: Sampling) -> Sampling:
        """`base` with what this request says."""
        said: dict[str, Any] = {name: getattr(self, name) for name in _SAMPLED if getattr(self, name) is not None}
        if self.logit_bias:
            said["logit_bias"] = {int(token): bias for token, bias in self.logit_bias.items()}
        if self.seed is not None:
            said["seed"] = self.seed % 2**64
        return Sampling(**{name: getattr(base, name) for name in Sampling.__dataclass_fields__} | said)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class StreamOptions(Body):
    """`include_obfuscation` is taken and has no effect: chunks hide no lengths."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Named(Body):
    """A function by its name."""

    name: FunctionName


class NamedChoice(Body):
    """The tool that must be called."""

    type: Literal["function"]
    function: Named


Sampled.model_rebuild()
