"""What JSON Schema says of strings: formats, patterns, and names of members."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bezel.generation.constraints import negation

# Formats that llguidance checks as the validator does, and those that the validator alone knows.
EXACT_FORMATS = frozenset(("date-time", "date", "time", "duration", "ipv4", "ipv6", "uuid", "email", "hostname", "uri"))
CHECKED_FORMATS = frozenset(("idn-email", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template"))
CHECKED_FORMATS |= {"json-pointer", "relative-json-pointer", "regex"}
# A class that leaves out a quotation mark or a backslash: llguidance lets them through where they are escaped.
LEAKS = re.compile(r'\[\^(?:[^\]\\]|\\.)*?(?:"|\\\\|\\x22|\\x5[cC]|\\u0022|\\u005[cC])')
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    r"(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
# llguidance's own dates have a 29th of February in every year, its times a leap second in every minute.
CALENDAR = {"date": f"^{_DATE}$", "date-time": f"^{_DATE}[tT]{_TIME}$", "time": f"^{_TIME}$"}


def name_patterns(names: Mapping[str, Any]) -> list[str] | None:
    """The pattern that says what `names` says of a string, if any is needed; None where one cannot."""
    patterns = []
    for key, value in names.items():
        if key == "pattern":
            patterns.append(value)
        elif key in ("enum", "const"):
            listed = [text for text in (value if key == "enum" else [value]) if isinstance(text, str)]
            patterns.append("^(?:" + "|".join(map(negation.literal, listed)) + ")$" if listed else "[^\\s\\S]")
        elif key == "minLength":
            patterns.append(f"^[\\s\\S]{{{int(value)},}}$")
        elif key == "maxLength":
            patterns.append(f"^[\\s\\S]{{0,{int(value)}}}$")
        elif key not in ("description", "title", "$comment", "type") or (key == "type" and value != "string"):
            return None
    return patterns if len(patterns) <= 1 else None
