"""Text as a person would read it, whatever it was dressed in: what a classifier is shown.

Undone are compatibility forms, invisible and directional characters, stacked marks, look-alike letters, and the escapes
of HTML, URLs and programming languages. Text in any script that is written plainly stays as it is.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

_ROUNDS = 4
_PLAIN = re.compile(r"[\n\t\x20-\x24\x27-\x5b\x5d-\x7e]*")
"""Texts in which nothing is to be undone: ASCII without &, % and backslashes."""
_CLUSTER = re.compile(r".[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]*", re.DOTALL)
_URL = re.compile(r"(?:%[0-9A-Fa-f]{2}){3,}|%[0-9A-Fa-f]{2}(?:[^%\s]{0,8}%[0-9A-Fa-f]{2}){2,}[^%\s]*")
_CODE = re.compile(r"\\u\{([0-9A-Fa-f]{1,6})\}|\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|\\U([0-9A-Fa-f]{8})")
_LIKE_LATIN = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһӏԛԝѵΑΒΕΖΗΙΚΜΝΟΡΤΥΧανοιρτυχκ",
    "ABESIJKMHOPCTYXaesijopcyxdhlqwvABEZHIKMNOPTYXavoiptuxk",
)
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
_EMOJI_MARKS = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_MARKED_ONCE = ("LATIN", "GREEK", "CYRILLIC")


@dataclass(frozen=True)
class Cleaned:
    """`text` as it is read, and what was undone, each kind once."""

    text: str
    changes: tuple[str, ...]


def cleaned(text: str) -> Cleaned:
    """`text` without what hides it from a reader who looks at letters."""
    if _PLAIN.fullmatch(text):
        return Cleaned(text, ())
    changes: list[str] = []
    for _ in range(_ROUNDS):
        before = text
        for name, step in _STEPS:
            after = step(text)
            if after != text:
                changes.append(name)
                text = after
        if text == before:
            break
    return Cleaned(text, tuple(dict.fromkeys(changes)))


def _html(text: str) -> str:
    return html.unescape(text) if re.search(r"&(?:#\d+|#[xX][0-9A-Fa-f]+|[A-Za-z]+);", text) else text


def _url(text: str) -> str:
    return _URL.sub(lambda found: unquote(found[0], errors="ignore"), text)


def _code(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        number = int(next(filter(None, found.groups())), 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]

    return _CODE.sub(character, text)


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _visible(text: str) -> str:
    kept = []
    for place, character in enumerate(text):
        kind = unicodedata.category(character)
        if character in JOINERS:
            if joins(text, place):
                kept.append(character)
        elif kind == "Zs":
            kept.append(" ")
        elif character in "\n\t" or (kind not in ("Cc", "Cf") and not 0xFE00 <= ord(character) <= 0xFE0E):
            kept.append(character)
    return "".join(kept)


def joins(text: str, place: int) -> bool:
    """Whether a joiner at a place belongs there: behind a letter of a script that has them, or in an emoji."""
    before = text[max(0, place - 2) : place]
    if len(before) == 2 and before[1] in _EMOJI_MARKS:
        before = before[:1]
    return bool(before) and (_script(before[-1]) in _JOINING or unicodedata.category(before[-1]) == "So")


def _unmarked(text: str) -> str:
    """Without marks that do not compose with their letter, in scripts whose own do, and without all of a pile."""
    kept: list[str] = []
    for cluster in _CLUSTER.findall(unicodedata.normalize("NFD", text)):
        composed = unicodedata.normalize("NFC", cluster)
        if len(composed) > 1 and (_script(cluster[0]) in _MARKED_ONCE or not cluster[0].isalpha()):
            composed = cluster[0] if len(cluster) > _MANY_MARKS else composed[0]
        kept.append(composed)
    return unicodedata.normalize("NFC", "".join(kept))


def _latin(text: str) -> str:
    """With Latin letters for those that look like them, unless other letters show that another script is meant."""
    latin = sum(_script(character) == "LATIN" for character in text)
    other = sum(_script(character) in ("CYRILLIC", "GREEK") for character in text if ord(character) not in _LIKE_LATIN)
    return text if other > latin else text.translate(_LIKE_LATIN)


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


_STEPS = (
    ("HTML escapes", _html),
    ("URL escapes", _url),
    ("escaped characters", _code),
    ("compatibility forms", _compatible),
    ("invisible characters", _visible),
    ("stacked marks", _unmarked),
    ("look-alike letters", _latin),
)
