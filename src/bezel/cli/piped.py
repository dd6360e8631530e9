"""Standard input of verbs that read a text from it. It is None where whoever started bezel closed it."""

from __future__ import annotations

import sys

from bezel.errors import InvalidRequestError


def at_terminal() -> bool:
    """Whether somebody types."""
    return sys.stdin is not None and sys.stdin.isatty()


def piped(instead: str, required: bool = True) -> str:
    """What is piped in, without white space around it; "" where that is nothing and nothing is `required`.

    Raises InvalidRequestError, naming what to type `instead`, where there is nothing, or somebody would have to type.
    """
    if at_terminal():
        raise InvalidRequestError(f"nothing was given; write: {instead}")
    try:
        text = sys.stdin.read().strip() if sys.stdin is not None else ""
        text.encode()  # what is no UTF-8 may come as halves of surrogate pairs
    except OSError as error:
        raise InvalidRequestError(f"standard input cannot be read ({error}); write: {instead}") from None
    except UnicodeError:
        raise InvalidRequestError("standard input is not UTF-8 text; convert it first") from None
    if required and not text:
        raise InvalidRequestError(f"standard input is empty; write: {instead}")
    return text
