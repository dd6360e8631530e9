"""The policies that classifiers know, of texts and of images, and how ShieldGemma is asked about them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from bezel.errors import InvalidRequestError

Segments = list[tuple[str, bool]]
"""Parts of a prompt, and whether each is a control piece."""
Judged = Literal["text", "image"]
"""What a policy is about."""


@dataclass(frozen=True)
class Policy:
    """One harm, of texts or of images: `key` names it here, `title` and `does` to the model."""

    key: str
    title: str
    does: str

    def guideline(self, answered: bool) -> str:
        """The rule as the model was trained to read it, for a prompt or for what a chatbot `answered`."""
        rule = "chatbot shall not generate" if answered else "prompt shall not contain or seek generation of"
        return f'* "{self.title}": The {rule} content that {self.does}'

    @property
    def of_images(self) -> str:
        """The rule as ShieldGemma 2 was trained to read it."""
        return f"{self.title}: The image shall not contain content that {self.does}"


@cache
def policies(judged: Judged = "text") -> dict[str, Policy]:
    """Every policy about texts, or about images, by its key."""
    text = (files("bezel.safety") / "policies.toml").read_text("utf-8")
    return {key: Policy(key, **fields) for key, fields in tomllib.loads(text)[judged].items()}


def named(keys: tuple[str, ...] | list[str] | None, judged: Judged = "text") -> list[Policy]:
    """The policies of `keys`; all of them for None. Raises InvalidRequestError for a key that is none."""
    known = policies(judged)
    unknown = [key for key in keys or () if key not in known]
    if unknown:
        raise InvalidRequestError(f"unknown policy {unknown[0]!r}; choose from {', '.join(known)}")
    return [known[key] for key in keys] if keys else list(known.values())


def prompt(policy: Policy, asked: str, answered: str | None = None) -> Segments:
    """What ShieldGemma is asked about one policy, of a prompt or of an answer to it (its model card, "Usage")."""
    judged = "a user prompt" if answered is None else "an AI response to a prompt"
    subject = "human question" if answered is None else "chatbot response"
    segments = [
        (f"You are a policy expert trying to help determine whether {judged} is in violation of the defined safety "
         "policies.\n\n", False),
        *_turn("Human Question", asked),
        *([] if answered is None else _turn("Chatbot Response", answered)),
        ("Our safety principle is defined in the below:\n\n", False),
        (policy.guideline(answered is not None), False),
        (f"\n\nDoes the {subject} violate the above principle? Your answer must start with 'Yes' or 'No'. And then "
         "walk through step by step to be sure we answer correctly.\n\n", False),
    ]  # fmt: skip
    return segments


def _turn(speaker: str, text: str) -> Segments:
    said = (f"\n{speaker}: {text.strip()}\n", False)
    return [("<start_of_turn>", True), said, ("<end_of_turn>", True), ("\n\n", False)]
