"""Fields that say how an answer should be made and change nothing in it: taken, and without effect.

What would change an answer is not among them: it is refused where it asks for more than is done anyway.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bezel.service.requests.common import Body, Ignored, Text

Effort = Literal["none", "minimal"]
"""No model here thinks before it answers."""
Verbosity = Literal["medium"]
Tier = Literal["auto", "default"]
Retention = Literal["in_memory", "in-memory", "24h"]


class CacheOptions(Body):
    """Prompts are cached as far as there is room."""

    mode: Ignored = None
    ttl: Ignored = None


class PredictedPart(Body):
    type: Literal["text"]
    text: Text


class Prediction(Body):
    """What the answer may turn out to be; it would make it sooner, and is not used."""

    type: Literal["content"]
    content: Text | Annotated[list[PredictedPart], Field(min_length=1, max_length=1024)]


class Reasoning(Body):
    """There is no reasoning, so that there is none to sum up."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard"] | None = None
    context: Literal["auto"] | None = None


Include = Literal[
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""Of things that no answer here has."""
