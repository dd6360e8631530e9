"""Phrases in five languages that say the same: rows of `phrases.toml`, whose slots are filled alike."""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from importlib import resources

from bezel.training.data.example import Split, held_out

LANGUAGES = ("en", "es", "fr", "it", "pt")
"""In the order of every row."""
_DATA = tomllib.loads(resources.files(__package__).joinpath("phrases.toml").read_text("utf-8"))
SLOTS: dict[str, list[list[str]]] = _DATA["slots"]
GREETINGS, WHOLE, OPEN = (_DATA["phrases"][name] for name in ("greetings", "whole", "open"))


@dataclass(frozen=True)
class Phrase:
    """What is said in a language (a code of LANGUAGES), and what it means."""

    language: str
    text: str
    english: str


def sample(rng: random.Random, split: Split, language: str | None = None) -> Phrase:
    """A phrase; those with slots are held out by what they say."""
    language = language or rng.choice(LANGUAGES)
    place = LANGUAGES.index(language)
    while True:
        row = rng.choice(WHOLE) if rng.random() < 0.12 else rng.choice(OPEN)
        text, english = _filled(rng, row, place)
        if rng.random() < 0.2:
            greeting, meant = _filled(rng, rng.choice(GREETINGS), place)
            text, english = f"{greeting}. {text}", f"{meant}. {english}"
        if english in _FIXED or held_out(english) == (split == "held_out"):
            return Phrase(language, text, english)


_FIXED = frozenset(row[0] for row in WHOLE)


def _filled(rng: random.Random, row: list[str], place: int) -> tuple[str, str]:
    """The row's texts in the language at `place` and in English; a slot that comes twice is filled twice."""
    text, english = row[place], row[0]
    for slot in re.findall(r"\{(\w+)\}", english):
        words = rng.choice(SLOTS[slot])
        text, english = text.replace(f"{{{slot}}}", words[place], 1), english.replace(f"{{{slot}}}", words[0], 1)
    return text[0].upper() + text[1:], english[0].upper() + english[1:]
