"""Regular expressions that take time in proportion to the text, whatever they and it are: RE2's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bezel.errors import InvalidRequestError, MissingExtraError

Refine = Callable[[str, int, int], tuple[int, int] | None]
"""Which part of a match counts, given the text and where it starts and ends; None: none of it.

What begins inside of a word never counts, so that a long word is looked at once.
"""
_MEMORY = 32 << 20  # bytes of a pattern's program and of its automaton's states


class Pattern:
    """A pattern in RE2's syntax, and what counts of its matches.

    Raises InvalidRequestError for what is none and for one that matches a text without characters, MissingExtraError.
    """

    def __init__(self, source: str, refine: Refine | None = None) -> None:
        self.source = source
        re2 = _re2()
        options = re2.Options()
        options.log_errors, options.max_mem = False, _MEMORY
        try:
            self._compiled: Any = re2.compile(source.encode(), options)
        except re2.error as error:
            why = error.args[0] if error.args else ""
            words = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
            raise InvalidRequestError(
                f"the pattern {source!r} cannot be used ({words}); write it in RE2's syntax, without lookaround and "
                "back-references"
            ) from None
        if self._compiled.search(b"") is not None:
            raise InvalidRequestError(f"the pattern {source!r} matches the empty text; ask for one character at least")
        self._refine = refine

    def spans(self, text: str, start: int = 0) -> Iterator[tuple[int, int]]:
        """Start and end of what counts, from `start` on, one behind the other."""
        data = text.encode()
        known, bytes_known = start, len(text[:start].encode())
        place = bytes_known
        while (found := self._compiled.search(data, place)) is not None:
            first, last = found.span()
            known += len(data[bytes_known:first].decode())
            begin, end = known, known + len(data[first:last].decode())
            bytes_known = first
            counts = (begin, end) if self._refine is None else self._refine(text, begin, end)
            if counts is not None and counts[0] < counts[1]:
                yield counts
                resume = counts[1]
            else:
                resume = _next_word(text, begin)
            place = first + len(text[begin:resume].encode())


def words(texts: list[str]) -> tuple[str, Refine]:
    """The pattern of any of some texts in any case, and that they count where no letter or number goes on."""
    re2 = _re2()
    longest_first = sorted(set(texts), key=len, reverse=True)
    return f"(?i:{'|'.join(re2.escape(text) for text in longest_first)})", standing_alone


def _re2() -> Any:
    try:
        import re2
    except ModuleNotFoundError:
        raise MissingExtraError(
            "rules and personal data need google-re2, which is not installed; run: pip install 'bezel[policy]'"
        ) from None
    return re2


def standing_alone(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A match that no letter, number or underscore touches, unless its own end is none."""
    before = start and _in_word(text[start - 1]) and _in_word(text[start])
    behind = end < len(text) and _in_word(text[end]) and _in_word(text[end - 1])
    return None if before or behind else (start, end)


def _next_word(text: str, place: int) -> int:
    """The first place behind one that is not inside of a word."""
    place += 1
    while place < len(text) and _in_word(text[place - 1]) and _in_word(text[place]):
        place += 1
    return place


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
