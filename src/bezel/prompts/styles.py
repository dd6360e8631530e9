"""Response styles."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, get_args

from bezel.prompts.messages import known

Style = Literal["formal", "casual", "educational"]

STYLES = MappingProxyType(
    dict(
        zip(
            get_args(Style),
            (
                "Write as to somebody you respect and do not know: whole sentences, correct grammar, no slang.",
                "Write as in a conversation between friends, and stay as informative as ever.",
                "Teach: explain each idea in plain words, put it in context and give an example of it.",
            ),
            strict=True,
        )
    )
)
"""What each style asks of an answer."""


def style_line(style: str) -> str:
    """The instruction of a style. Raises InvalidRequestError, with those known, for any other name."""
    return f"Style: {STYLES[known('style', style, STYLES)]}"
