"""Texts without the escapes of HTML, URLs and programming languages, however deep."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

_DEEPEST = 32
"""Layers of escapes in escapes; what lies deeper no model reads either."""
_SAME = re.compile(r"&(?:amp;|#0*38;|#[xX]0*26;)+")
_HTML = re.compile(r"&(?:#\d{2,8};?|#[xX][0-9A-Fa-f]{2,6};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_URL = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_TWICE = re.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
_LETTERS = re.compile(r"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")
_CODE = re.compile(
    r"(?:\\|%)u[dD]([89abAB][0-9A-Fa-f]{2})(?:\\|%)u[dD]([c-fC-F][0-9A-Fa-f]{2})"
    r"|\\u\{([0-9A-Fa-f]{1,6})\}|(?:\\|%)u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|\\U([0-9A-Fa-f]{8})"
    r"|\\([01][0-7]{2})|\\N\{([A-Z0-9 -]{1,88})\}"
)


def without_html(text: str) -> str:
    """Without entities: by name where they end with ";", by number also where they do not, as browsers read them."""
    return _HTML.sub(lambda found: html.unescape(found[0]), _SAME.sub("&amp;", text)) if "&" in text else text


def without_url(text: str) -> str:
    """Without percent signs before bytes, where any of them hides a letter or a digit, or three stand in a row."""
    if "%" not in text:
        return text
    once = _TWICE.sub("%", text)
    hides = _LETTERS.search(once) or any(_hidden(found[0]) for found in _URL.finditer(once))
    return _URL.sub(lambda found: unquote(found[0], errors="ignore"), once) if hides else text


def _hidden(escapes: str) -> bool:
    """Whether escaped bytes spell something beyond ASCII, or are many."""
    if len(escapes) < 6:
        return False
    try:
        return len(escapes) >= 9 or not unquote(escapes, errors="strict").isascii()
    except UnicodeDecodeError:
        return False


def without_code(text: str) -> str:
    r"""Without \x6c, \u006c, \u{6c}, \U0000006c, %u006c, \154 and \N{LATIN SMALL LETTER L}, also in surrogate pairs."""
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
