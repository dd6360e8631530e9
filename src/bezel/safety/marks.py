"""Piles of combining marks, which Unicode's normal forms take quadratic time to bring into order."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

_MOST = 30
"""Marks on a letter that no language needs: those of the Stream-Safe Text Format (UAX #15, section 13)."""
_JOINER = "\u034f"  # which is seen nowhere, and which no mark is moved across


def without_piles(text: str) -> str:
    """`text` with at most as many marks in a row."""
    return text if text.isascii() else _piles().sub(lambda pile: pile[0][:_MOST], text)


def stream_safe(text: str) -> str:
    """`text` with all of its marks, in the Stream-Safe Text Format."""
    if text.isascii():
        return text
    return _piles().sub(lambda pile: _JOINER.join(re.findall(f".{{1,{_MOST}}}", pile[0], re.DOTALL)), text)


@cache
def _piles() -> re.Pattern[str]:
    """A row of too many marks."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.combining(chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    marks = "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)
    return re.compile(f"[{marks}]{{{_MOST + 1},}}")
