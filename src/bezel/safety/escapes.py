"""Texts without the escapes of HTML, URLs and programming languages, however deep."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

_DEEPEST = 32
"""Layers of escapes in escapes; what lies deeper no model reads either."""
_AMPERSANDS = re.compile(r"&(?:amp;|#0*38;|#[xX]0*26;)+")
_HTML = re.compile(
    r"&(?:#0*[1-9]\d{1,6};?|#0*\d;|#[xX]0*[1-9A-Fa-f][0-9A-Fa-f]{1,5};?|#[xX]0*[0-9A-Fa-f];|[A-Za-z][A-Za-z0-9]{1,31};"
    r"|(?:shy|nbsp))"
)
_H, _REST = "[0-9A-Fa-f]", "%[89ABab][0-9A-Fa-f]"
_URL = re.compile(
    f"(?:%0[9ADad]|%[2-6]{_H}|%7[0-9A-Ea-e]|%[Cc][2-9A-Fa-f]{_REST}|%[Dd]{_H}{_REST}|%[Ee]{_H}(?:{_REST}){{2}}"
    f"|%[Ff][0-4](?:{_REST}){{3}})+"
)
"""Bytes in UTF-8, without control characters: what else is behind a percent sign stays."""
_TWICE = re.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
_ALPHANUMERIC = r"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"
_LETTERS = re.compile(rf"(?<=[A-Za-z]){_ALPHANUMERIC}|{_ALPHANUMERIC}(?=[A-Za-z]|%[2-7])")
_CODE = re.compile(
    r"(?:\\|%)[uU][dD]([89abAB][0-9A-Fa-f]{2})(?:\\|%)u[dD]([c-fC-F][0-9A-Fa-f]{2})"
    r"|(?:\\|%)[ux]\{([0-9A-Fa-f]{1,6})\}|(?:\\|%)u([0-9A-Fa-f]{4})|\\[xX]([0-9A-Fa-f]{2})|\\U([0-9A-Fa-f]{8})"
    r"|\\(?:o\{)?([01][0-7]{2})\}?|\\N\{([A-Z0-9 -]{1,88})\}"
)


def without_html(text: str) -> str:
    """Without entities: by name where they end with ";", by number also where they do not, as browsers read them."""
    return _HTML.sub(lambda found: html.unescape(found[0]), _AMPERSANDS.sub("&amp;", text)) if "&" in text else text


def without_url(text: str) -> str:
    """Without percent signs before bytes, where one of a word is a letter or digit, or no ASCII, or three in a row."""
    if "%" not in text:
        return text
    once = _TWICE.sub("%", text)
    hides = _LETTERS.search(once) or any(_hides(found[0]) for found in _URL.finditer(once))
    return _URL.sub(lambda found: unquote(found[0], errors="ignore"), once) if hides else text


def _hides(escapes: str) -> bool:
    """Whether escapes in a row are three bytes or more, or no ASCII."""
    return len(escapes) >= 9 or not unquote(escapes, errors="ignore").isascii()


def without_code(text: str) -> str:
    r"""Without \x6c, \x{6c}, \u006c, \u{6c}, \U0000006c, %u006c, \154, \N{LATIN SMALL LETTER L} and surrogate pairs."""
    return _CODE.sub(_character, text) if "\\" in text or "%u" in text else text


def _character(found: re.Match[str]) -> str:
    high, low, *numbers, octal, name = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if octal:
        return chr(int(octal, 8)) if 0x20 <= int(octal, 8) < 0x7F else found[0]
    if name:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            return found[0]
    number = int(next(filter(None, numbers)), 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]


ESCAPES: dict[str, Callable[[str], str]] = {
    "HTML escapes": without_html,
    "URL escapes": without_url,
    "escaped characters": without_code,
}


def without_escapes(text: str, note: Callable[[str], None]) -> str:
    """`text` with all escapes undone, those in escapes too; `note` is told of each kind."""
    for _ in range(_DEEPEST):
        before = text
        for name, step in ESCAPES.items():
            after = step(text)
            if after != text:
                note(name)
                text = after
        if text == before:
            break
    return text
