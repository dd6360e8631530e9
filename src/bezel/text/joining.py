"""Texts of pieces that overlap, as one text in which nothing stands twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MOST = 24
"""Words that an overlap of a few seconds can hold."""


def seam(before: str, after: str) -> tuple[str, str]:
    """Texts of pieces that overlap, without the words at the beginning of `after` that `before` ends with.

    The last word of one and the first of the other may have been cut in two: with at least two words in common they
    are dropped for the whole word in the other text.
    """
    left, right = before.split(), after.split()
    if left and right:
        dropped, common = _overlap(list(map(_plain, left)), list(map(_plain, right)))
        left, right = left[: len(left) - dropped], right[common:]
    return " ".join(left), " ".join(right)


def _overlap(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """How many words at the end of `left` and at the beginning of `right` go."""
    best = (0, 0, 0)
    for half_left in (0, 1):
        for half_right in (0, 1):
            for common in range(min(_MOST, len(left) - half_left, len(right) - half_right), 0, -1):
                if common == 1 and (half_left or half_right):
                    break
                end = len(left) - half_left
                if list(left[end - common : end]) == list(right[half_right : half_right + common]):
                    best = max(best, (common, -half_left, half_right + common))
                    break
    return -best[1], best[2]


def _plain(word: str) -> str:
    """A word as it sounds: small letters without marks of punctuation."""
    kept = "".join(c for c in unicodedata.normalize("NFKC", word).casefold() if unicodedata.category(c)[0] in "LNM")
    return kept or word


_END = re.compile(r"(?<=[.!?…])\s+")


def sentences(text: str) -> list[str]:
    """The sentences of a text, as far as their last marks show them."""
    return [part for part in _END.split(text.strip()) if part]
