"""Answers for cultures, in a style."""

from __future__ import annotations

from collections.abc import Sequence

from bezel.errors import InvalidRequestError
from bezel.prompts.cultures import culture_lines
from bezel.prompts.messages import Message, asked
from bezel.prompts.styles import style_line


def instructions(cultures: Sequence[str] = (), style: str | None = None, system: str | None = None) -> str:
    """The system message for readers of `cultures` and a `style`, behind a `system` message of one's own.

    "" where nothing is asked for. Raises InvalidRequestError, with the names known, for any other.
    """
    if isinstance(cultures, str):
        raise InvalidRequestError(f"cultures is the text {cultures!r}; send a list of names")
    lines = culture_lines(cultures)
    if len(lines) > 1:
        lines = ["The answer is for several cultures. Give each a part of its own, in its readers' manner.", *lines]
    if lines:
        lines.append("What is true stays the same for everybody; only the manner of saying it differs.")
    parts = [system.strip() if system else "", style_line(style) if style else "", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def answering(
    question: str, cultures: Sequence[str] = (), style: str | None = None, system: str | None = None
) -> list[Message]:
    """Ask a question so that the answer suits `cultures` ("japanese", "american", ...) and a `style`.

    Raises InvalidRequestError for an unknown name.
    """
    order = instructions(cultures, style, system)
    messages: list[Message] = [{"role": "system", "content": order}] if order else []
    return [*messages, {"role": "user", "content": asked(question)}]
