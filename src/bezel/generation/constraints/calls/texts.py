"""Texts that nothing is escaped in: what JSON Schema says of a string, as llguidance's regular expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FORMATS = {
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "ipv4": r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
    "ipv6": "[0-9a-fA-F:.]{2,45}",
    "email": rf"[A-Za-z0-9]+([._+-][A-Za-z0-9]+)*@{_LABEL}(\.{_LABEL})+",
    "hostname": rf"{_LABEL}(\.{_LABEL})*",
    "uri": r"[a-z][a-z0-9+.-]*:\/\/[A-Za-z0-9._~!$&'()*+,;=:@\/?#%-]+",
    "duration": "P([0-9]{1,9}[YMWD]|([0-9]{1,9}D)?T[0-9]{1,9}[HMS])",
}
"""What a format's texts look like at least; the validator knows the rest."""
_EXACT = frozenset(("uuid", "ipv4"))
# Classes that ECMAScript, whose patterns JSON Schema has, and llguidance read alike.
_ALIKE = re.compile(r"(?:[A-Za-z0-9 _,:;@%&=<>~!#'\"-]|\[\\s\\S\]|[()|?+*{}\[\]^]|\\[.\-/\\()\[\]{}+*?|^$])*")


def text_pattern(schema: Mapping[str, Any], readable: Callable[[str], bool]) -> tuple[str | None, bool]:
    """A terminal for the texts of `schema` that are not empty (None: for every text), and whether it is exact.

    `pattern` may be a list of patterns that all hold.
    """
    parts, exact = [], True
    least, most = max(1, schema.get("minLength", 0)), schema.get("maxLength")
    if least > 1 or most is not None:
        parts.append(f"(?s:.){{{least},{'' if most is None else max(most, least)}}}")
    patterns = schema.get("pattern", [])
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = _whole(pattern)
        if found is None or not readable(found):
            exact = False
            continue
        parts.append(found)
        exact = exact and _ALIKE.fullmatch(found) is not None
    if "format" in schema:
        exact = exact and schema["format"] in _EXACT
        if schema["format"] in FORMATS:
            parts.append(FORMATS[schema["format"]])
    if "pattern" in schema or "format" in schema:
        parts.append("(?s:.)+")
    return (" & ".join(f"/{_slashed(part)}/" for part in parts) if parts else None), exact


def _whole(pattern: str) -> str | None:
    """A pattern that may match anywhere, as one for the whole text; None where its anchors stand inside."""
    inner = pattern
    starts, ends = inner.startswith("^"), re.search(r"(?<!\\)(\\\\)*\$$", inner) is not None
    inner = inner[1:] if starts else inner
    inner = inner[:-1] if ends else inner
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", inner, flags=re.DOTALL)
    if re.search(r"[\^$]|\(\?[^:]", plain) or re.search(r"\\[bB1-9kpP]", inner):
        return None
    while (shorter := re.sub(r"\([^()]*\)", "", plain)) != plain:
        plain = shorter
    if "|" in plain and (starts or ends):
        return None  # the anchors belong to one branch each
    return f"{'' if starts else '(?s:.)*'}({inner}){'' if ends else '(?s:.)*'}"


def _slashed(pattern: str) -> str:
    """As it stands between slashes."""
    return re.sub(r"\\.|[/\n\r]", lambda found: {"/": r"\/", "\n": r"\n", "\r": r"\r"}.get(found[0], found[0]), pattern)
