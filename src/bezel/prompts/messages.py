"""The messages that builders return, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bezel.errors import InvalidRequestError

Message = dict[str, Any]


def asked(question: str) -> str:
    """The question without white space around it. Raises InvalidRequestError where nothing is left."""
    if not question.strip():
        raise InvalidRequestError("the question is empty; say what the model should do")
    return question.strip()


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name` in lower case. Raises InvalidRequestError, with those known, where it is none of `names`."""
    plain, choices = name.strip().casefold(), sorted(names)
    if plain not in choices:
        raise InvalidRequestError(f"unknown {kind} {name!r}; known: {', '.join(choices)}")
    return plain
