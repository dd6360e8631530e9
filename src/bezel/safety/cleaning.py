"""Text as a person would read it, whatever it was dressed in: what a classifier is shown.

Undone are compatibility forms, invisible and directional characters, stacked marks, look-alike letters, and escapes.
Text in any script that is written plainly stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from bezel.safety.escapes import without_escapes
from bezel.safety.look_alikes import script_of, undisguised
from bezel.safety.marks import without_piles

_ROUNDS = 4
_PLAIN = re.compile(r"[\n\t\x20-\x24\x27-\x5b\x5d-\x7e]*")
"""Texts in which nothing is to be undone: ASCII without &, % and backslashes."""
_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Ends of lines, of which only one kind is kept; they are nothing that hides."""
_IGNORED = frozenset(
    chr(code)
    for codes in (
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x2800, 0x3164, 0xFFA0, 0xFFFC),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xFFF0, 0xFFF9),
        range(0xE0000, 0xE1000),
    )
    for code in codes
)
"""Default_Ignorable_Code_Point beyond control and format characters, Braille's empty pattern and what marks objects."""
_KEPT = ("\ufdfa", "\ufdfb")
_HONORIFICS = re.compile("(\ufdfa|\ufdfb)")
_MANY_MARKS = 3  # Vietnamese has two on a letter
# Joiners belong to words of these scripts, and to emoji.
_JOINING = (
    "ARABIC",
    "DEVANAGARI",
    "BENGALI",
    "TAMIL",
    "TELUGU",
    "MALAYALAM",
    "SINHALA",
    "KHMER",
    "MYANMAR",
    "THAI",
    "KANNADA",
    "GUJARATI",
    "ORIYA",
    "GURMUKHI",
    "SYRIAC",
    "MONGOLIAN",
    "TIBETAN",
    "LAO",
    "JAVANESE",
    "BALINESE",
)
JOINERS = "\u200c\u200d"
_EMOJI = "\ufe0f"
_EMOJI_MARKS = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_KEYCAP = "\u20e3"
_KEYS = "0123456789#*\ufe0f"
_MARKED_ONCE = ("LATIN", "GREEK", "CYRILLIC")


@dataclass(frozen=True)
class Cleaned:
    """`text` as it is read, and what was undone, each kind once."""

    text: str
    changes: tuple[str, ...]


def cleaned(text: str) -> Cleaned:
    """`text` without what hides it from a reader who looks at letters."""
    text = _ENDS.sub("\n", text)
    if _PLAIN.fullmatch(text):
        return Cleaned(text, ())
    changes: dict[str, None] = {}
    for _ in range(_ROUNDS):
        before = text
        text = without_piles(without_escapes(text, changes.setdefault))
        for name, step in _STEPS.items():
            after = step(text)
            if after != text:
                changes.setdefault(name)
                text = after
        if text == before:
            break
    return Cleaned(text, tuple(changes))


def _compatible(text: str) -> str:
    """Two honorifics stay: each would become a sentence, and a text of them eighteen times as long."""
    parts = _HONORIFICS.split(text)
    return "".join(part if part in _KEPT else unicodedata.normalize("NFKC", part) for part in parts)


def _visible(text: str) -> str:
    kept = []
    for place, character in enumerate(_ENDS.sub("\n", text)):
        if character.isascii() and character.isprintable():
            kept.append(character)
            continue
        kind = unicodedata.category(character)
        if character in JOINERS:
            if joins(text, place):
                kept.append(character)
        elif kind == "Zs":
            kept.append(" ")
        elif character in "\n\t" or (kind not in ("Cc", "Cf") and _shows(character, text, place)):
            kept.append(character)
    return "".join(kept)


def _shows(character: str, text: str, place: int) -> bool:
    """Whether a character is seen, or changes the look of an emoji or a letter before it that has several."""
    if character not in _IGNORED:
        return True
    before = text[place - 1] if place else ""
    if not before:
        return False
    if character == _EMOJI:
        if before.isascii():
            return text[place + 1 : place + 2] == _KEYCAP
        return unicodedata.category(before) in ("So", "Sm", "Po", "Pd")
    return "\u180b" <= character <= "\u180f" and script_of(before) == "MONGOLIAN"


def joins(text: str, place: int) -> bool:
    """Whether a joiner at a place belongs there: behind a letter of a script that has them, or in an emoji."""
    before = text[max(0, place - 2) : place]
    if len(before) == 2 and before[1] in _EMOJI_MARKS:
        before = before[:1]
    return bool(before) and (script_of(before[-1]) in _JOINING or unicodedata.category(before[-1]) == "So")


def _unmarked(text: str) -> str:
    """Without marks that do not compose with their letter, in scripts whose own do, and without all of a pile."""
    if text.isascii():
        return text
    kept: list[str] = []
    for cluster in _clusters(unicodedata.normalize("NFD", text)):
        composed = unicodedata.normalize("NFC", cluster)
        base = cluster[0]
        if len(composed) > 1 and (base.isascii() or not base.isalnum() or script_of(base) in _MARKED_ONCE):
            composed = cluster[0] if len(cluster) > _MANY_MARKS else composed[0]
        kept.append(composed)
    return unicodedata.normalize("NFC", "".join(kept))


def _clusters(text: str) -> list[str]:
    """Characters with the marks behind them; what makes an emoji of one is none."""
    found: list[str] = []
    for character in text:
        mark = not character.isascii() and unicodedata.category(character)[0] == "M" and character not in _EMOJI_MARKS
        apart = not found or found[-1] in JOINERS or (character == _KEYCAP and found[-1] in _KEYS)
        if mark and not apart:
            found[-1] += character
        else:
            found.append(character)
    return found


_STEPS: dict[str, Callable[[str], str]] = {
    "compatibility forms": _compatible,
    "invisible characters": _visible,
    "stacked marks": _unmarked,
    "look-alike letters": undisguised,
}
