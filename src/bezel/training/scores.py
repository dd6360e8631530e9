"""How far a text is from the one that was asked for: in words, in characters, or at all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence


def spoken_form(text: str) -> str:
    """As it is heard: lower case, without punctuation but apostrophes, one space between words."""
    plain = unicodedata.normalize("NFC", text).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.sub(r"[^\w']+", " ", plain).split())


def distance(found: Sequence[object], expected: Sequence[object]) -> int:
    """Insertions, deletions and substitutions that make `expected` of `found` (Levenshtein)."""
    row = list(range(len(expected) + 1))
    for number, item in enumerate(found, start=1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(expected, start=1):
            before, row[place] = row[place], min(before + (item != wanted), row[place] + 1, row[place - 1] + 1)
    return row[-1]


def word_errors(found: str, expected: str) -> tuple[int, int]:
    """Errors, and words of `expected`, in their spoken form; the word error rate is their ratio over a whole set."""
    words = spoken_form(expected).split()
    return distance(spoken_form(found).split(), words), len(words)


def characters_right(found: str, expected: str) -> tuple[int, int]:
    """Characters of `expected` but for errors, 0 at least, and all of them; what is blank counts as one space."""
    found, expected = " ".join(found.split()), " ".join(expected.split())
    return max(0, len(expected) - distance(found, expected)), len(expected)
