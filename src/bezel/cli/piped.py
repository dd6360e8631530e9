"""Standard input of verbs that read a text from it. It is None where whoever started bezel closed it."""

from __future__ import annotations

import contextlib
import io
import sys

from bezel.errors import InvalidRequestError


def at_terminal() -> bool:
    """Whether somebody types."""
    return sys.stdin is not None and sys.stdin.isatty()


def piped_lines(instead: str) -> list[str]:
    """The lines that are piped in, of which each counts; empty ones at the end do not.

    Raises as `piped`, and where one in between says nothing.
    """
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        sys.stdin.reconfigure(newline="\n")  # type: ignore[union-attr]  # a lone \r ends no line
    lines = [line.removesuffix("\r") for line in _read(instead).rstrip("\r\n").split("\n")]
    blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if blank is not None:
        raise InvalidRequestError(f"line {blank} of standard input is empty; leave it out, or write something there")
    return lines


def piped(instead: str, required: bool = True) -> str:
    """What is piped in, without white space around it; "" where that is nothing and nothing is `required`.

    Raises InvalidRequestError, naming what to type `instead`, where there is nothing, or somebody would have to type.
    """
    return _read(instead, required).strip()


def _read(instead: str, required: bool = True) -> str:
    """See `piped`; white space is kept."""
    if at_terminal():
        raise InvalidRequestError(f"nothing was given; write: {instead}")
    try:
        text = sys.stdin.read() if sys.stdin is not None else ""
        text.encode()  # what is no UTF-8 may come as halves of surrogate pairs
    except OSError as error:
        raise InvalidRequestError(f"standard input cannot be read ({error}); write: {instead}") from None
    except UnicodeError:
        raise InvalidRequestError("standard input is not UTF-8 text; convert it first") from None
    if required and not text.strip():
        raise InvalidRequestError(f"standard input is empty; write: {instead}")
    return text
