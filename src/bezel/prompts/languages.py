"""Answers in several languages."""

from __future__ import annotations

from collections.abc import Sequence

from bezel.errors import InvalidRequestError
from bezel.prompts.messages import Message, asked


def multilingual(question: str, languages: Sequence[str]) -> list[Message]:
    """Ask for the same answer in each of `languages` (named as people name them: "Telugu", "español"), in turn.

    Raises InvalidRequestError where no language is named, or one is empty.
    """
    if isinstance(languages, str) or not languages or not all(name.strip() for name in languages):
        raise InvalidRequestError('languages must be a list of names, such as ["English", "Telugu"]')
    names = [name.strip() for name in languages]
    if len(names) == 1:
        order = f"Answer in {names[0]}, whatever language the question is in."
    else:
        order = (
            f"Answer {len(names)} times, in {', '.join(names[:-1])} and {names[-1]}, in this order. Begin each answer "
            "with the language's name in bold on a line of its own. Each answer says the same, as somebody who grew "
            "up with the language would say it; none refers to another."
        )
    return [{"role": "system", "content": order}, {"role": "user", "content": asked(question)}]
