"""Letters that look like Latin ones, in words that they disguise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_SAME = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһӏԛԝѵΑΒΕΖΗΙΚΜΝΟΡΤΥΧανοιρτυχκօոսհցզℓᎪᏴᏟᎠᎬᏀᎻᎫᏦᏞᎷᎾᏢᎡᏚᎢᏙᎳᎩᏃӀԌԍϳⲟⲥⲡꓡꓳꓚꓗ",
    "ABESIJKMHOPCTYXaesijopcyxdhlqwvABEZHIKMNOPTYXavoiptuxkonuhgqlABCDEGHJKLMOPRSTVWYZlGgjocnLOCK",
)
"""Of the scripts below: no reader tells them apart."""
_NEAR = str.maketrans("кмтнвпгийьбзчшщлдηωεςσγδβ", "kmthbnruubb34wwndnwecsydb")
"""Those that pass for Latin ones between others."""
_ALWAYS = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢɡɑ", "abcdefghijklmnopqrstuvwyzga")
"""Small capitals and letters of phonetics, which no language spells words with."""
_OTHERS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
_WORD = re.compile(r"[^\W\d_]+")
_INDICATORS = re.compile("[\U0001f1e6-\U0001f1ff]+")
_DARK = {first + place: chr(ord("A") + place) for first in (0x1F150, 0x1F170) for place in range(26)}
_TURKIC, _NOT_TURKISH = re.compile("[çğöşüəñÇĞİÖŞÜƏÑ]"), re.compile("[qwxQWX]")


def undisguised(text: str) -> str:
    """`text` with Latin letters in words that have some already, and in those that only look-alikes spell.

    A word that look-alikes spell in whole stays in a text of another script. Letters in dark circles and
    squares, regional indicators that are no flag, small capitals and a lone dotless i are letters too.
    """
    text = _INDICATORS.sub(lambda run: _indicated(run[0]), text)
    text = text.translate(_DARK).translate(_ALWAYS)
    if "ı" in text and _NOT_TURKISH.search(text) and not _TURKIC.search(text):
        text = text.replace("ı", "i")
    words = [(found, _kind(found[0])) for found in _WORD.finditer(text) if not found[0].isascii()]
    if not any(kind in ("mixed", "alike") for _, kind in words):
        return text
    return "".join(_parts(text))


def _indicated(run: str) -> str:
    """Regional indicators as letters, unless they are a flag."""
    return run if len(run) == 2 else "".join(chr(ord(letter) - 0x1F1E6 + ord("A")) for letter in run)


def _parts(text: str) -> Iterator[str]:
    words = [(found, _kind(found[0])) for found in _WORD.finditer(text)]
    natives = _near_natives([kind for _, kind in words])
    place = 0
    for (found, kind), native in zip(words, natives, strict=True):
        word = found[0]
        if kind == "mixed":
            word = word.translate(_SAME)
            if all(script_of(letter) not in _OTHERS or ord(letter) in _NEAR for letter in word):
                word = word.translate(_NEAR)
        elif kind == "alike" and not native:
            word = word.translate(_SAME)
        yield text[place : found.start()]
        yield word
        place = found.end()
    yield text[place:]


def _kind(word: str) -> str:
    """How a word is spelled: "latin"; "alike", of look-alikes; "native", of a script that has them; "mixed", of both;
    or "foreign", of a third, which says nothing of the others.
    """
    if word.isascii():
        return "latin"
    scripts = {script_of(letter) for letter in word}
    if not scripts & set(_OTHERS):
        return "latin" if "LATIN" in scripts else "foreign"
    strange = [letter for letter in word if script_of(letter) in _OTHERS]
    if "LATIN" in scripts:
        return "mixed"
    return "alike" if all(ord(letter) in _SAME for letter in strange) else "native"


def _near_natives(kinds: list[str]) -> list[bool]:
    """For each word whether the nearest that tell its script are native, on both sides, as most of the text is."""
    if kinds.count("native") <= kinds.count("latin") + kinds.count("mixed"):
        return [False] * len(kinds)
    found = [True] * len(kinds)
    for order in (range(len(kinds)), range(len(kinds) - 1, -1, -1)):
        native = True
        for place in order:
            if kinds[place] not in ("alike", "foreign"):
                native = kinds[place] == "native"
            found[place] = found[place] and native
    return found


def script_of(character: str) -> str:
    """The first word of a character's name: LATIN, CYRILLIC, DEVANAGARI."""
    return unicodedata.name(character, "").partition(" ")[0]
