"""Texts of pieces that overlap, as one text in which nothing stands twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_MOST = 24
"""Words that an overlap of a few seconds can hold, or characters of a script without spaces."""
_CHINESE_JAPANESE = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff65\U00020000-\U0003ffff"
_UNSPACED = f"{_CHINESE_JAPANESE}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # and Thai, Lao, Burmese, Khmer
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_TOUCHING = re.compile(rf"[{_CHINESE_JAPANESE}]{{2}}")
_STOPS = ".!?\u2026\u0964\u0965\u061f\u06d4\u104b"  # and those of Hindi, Arabic, Urdu and Burmese
_WIDE_STOPS = "\u3002\uff01\uff1f"
_CLOSING = "\u300d\u300f\u3011\u300b\u3009\u3015\u201d\u2019\uff09\"')"
_END = re.compile(rf"(?<=[{_STOPS}])\s+|(?<=[{_WIDE_STOPS}])(?![{_WIDE_STOPS}{_CLOSING}])\s*|\s*\n\s*")
_WIDE_END = re.compile(rf"[{_WIDE_STOPS}][{_CLOSING}]*$")


def seam(before: str, after: str) -> tuple[str, str]:
    """Texts of pieces that overlap, without the words at the beginning of `after` that `before` ends with.

    The last word of one and the first of the other may have been cut in two: with at least two words in common they
    are dropped for the whole word in the other text. In scripts without spaces each character counts as a word.
    """
    left, right = list(_WORD.finditer(before)), list(_WORD.finditer(after))
    if not left or not right:
        return _spaced(before), _spaced(after)
    dropped, common = _overlap([_plain(word[0]) for word in left], [_plain(word[0]) for word in right])
    end = left[-dropped].start() if dropped else len(before)
    begin = right[common].start() if common < len(right) else len(after)
    return _spaced(before[:end]), _spaced(after[begin:])


def _overlap(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """How many words at the end of `left` and at the beginning of `right` go."""
    best = (0, 0, 0)
    for half_left in (0, 1):
        for half_right in (0, 1):
            for common in range(min(_MOST, len(left) - half_left, len(right) - half_right), 0, -1):
                end = len(left) - half_left
                # One word in common is no word that was cut, and one character may well be said twice.
                if common == 1 and (half_left or half_right or re.fullmatch(f"[{_UNSPACED}]", left[end - 1])):
                    break
                if list(left[end - common : end]) == list(right[half_right : half_right + common]):
                    best = max(best, (common, -half_left, half_right + common))
                    break
    return -best[1], best[2]


def _plain(word: str) -> str:
    """A word as it sounds: small letters without marks of punctuation."""
    kept = "".join(c for c in unicodedata.normalize("NFKC", word).casefold() if unicodedata.category(c)[0] in "LNM")
    return kept or word


def _spaced(text: str) -> str:
    return " ".join(text.split())


def joined(texts: Iterable[str]) -> str:
    """One text, with spaces between where the script has them."""
    whole: list[str] = []
    before = ""
    for text in filter(None, texts):
        if before and not _WIDE_END.search(before) and not _TOUCHING.fullmatch(before[-1] + text[0]):
            whole.append(" ")
        whole.append(text)
        before = text
    return "".join(whole)


def sentences(text: str) -> list[str]:
    """The sentences of a text, as far as their last marks and ends of lines show them."""
    return [part for part in _END.split(text.strip()) if part]
