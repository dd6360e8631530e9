"""Personal data that can be known by its form: what is looked for, and what of it is checked by its digits.

Names and addresses of people have no form; who must find them too needs a model for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from bezel.safety.patterns import Pattern, Refine
from bezel.safety.rules import Rule
from bezel.safety.settings import Action

# Characters of an IBAN by country, from the registry that SWIFT keeps (ISO 13616).
_IBAN = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL OM SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_CARD_DIGITS = range(13, 20)


def _behind(text: str, start: int, count: int) -> int:
    """The place behind the `count`-th letter or digit from `start` on."""
    place = start
    while count:
        count -= text[place].isalnum()
        place += 1
    return place


def _touched(text: str, start: int, end: int) -> bool:
    """Whether a letter or digit goes on before or behind."""
    return (start > 0 and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum())


def _card(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The longest run of groups of digits that has the check digit of Luhn, and a length that cards have."""
    digits = [character for character in text[start:end] if character.isdigit()]
    for count in range(min(len(digits), _CARD_DIGITS.stop - 1), _CARD_DIGITS.start - 1, -1):
        last = _behind(text, start, count)
        if not _touched(text, start, last) and digits[0] in "23456" and luhn("".join(digits[:count])):
            return start, last
    return None


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _iban(text: str, start: int, end: int) -> tuple[int, int] | None:
    """As many characters as the country's have, where they leave 1 (ISO 7064, MOD 97-10)."""
    length = _IBAN.get(text[start : start + 2].upper(), 0)
    if not length or sum(character.isalnum() for character in text[start:end]) < length:
        return None
    last = _behind(text, start, length)
    compact = "".join(character for character in text[start:last] if character.isalnum()).upper()
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return (start, last) if int(number) % 97 == 1 and not _touched(text, start, last) else None


def _ip(text: str, start: int, end: int) -> tuple[int, int] | None:
    """An address that is not this machine's own; of version 6 with three groups at least, since C++ writes a::b."""
    if text[end - 1] == ":" and text[end - 2] != ":":
        end -= 1  # of the sentence
    more = (".",) if "." in text[start:end] else (".", ":")  # a port may follow an address of version 4
    goes_on = text[end : end + 1] in more and text[end + 1 : end + 2].isalnum()
    if _touched(text, start, end) or goes_on or (start > 0 and text[start - 1] in ".:"):
        return None
    try:
        address = ip_address(text[start:end])
    except ValueError:
        return None
    if address.version == 6 and sum(bool(group) for group in text[start:end].replace(".", ":").split(":")) < 3:
        return None
    return None if address.is_loopback or address.is_unspecified else (start, end)


def _phone(text: str, start: int, end: int) -> tuple[int, int] | None:
    if text[end - 1] == ")" and text.count("(", start, end) < text.count(")", start, end):
        end -= 1
    if text[start] == "(" and ")" not in text[start:end]:
        start += 1
    digits = sum(character.isdigit() for character in text[start:end])
    least = 8 if text[start] == "+" else 9
    return (start, end) if least <= digits <= 15 and not _touched(text, start, end) else None


def _ssn(text: str, start: int, end: int) -> tuple[int, int] | None:
    """As the Social Security Administration gives them out: no 000, 666 or 9xx first, no group of zeros."""
    if text[start + 3] != text[start + 6] or _touched(text, start, end):
        return None
    area, group, serial = text[start : start + 3], text[start + 4 : start + 6], text[start + 7 : end]
    given = area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
    return (start, end) if given else None


_LOOKED_FOR: dict[str, tuple[str, Refine | None]] = {
    "email": (r"[\pL\pN._%+'-]*[\pL\pN_%+-]@(?:[\pL\pN-]+\.)+\pL{2,24}", None),
    "phone": (
        r"\+[0-9]{1,3}(?:[ ./-]?\(?[0-9]{1,5}\)?){1,6}"
        r"|(?:\([0-9]{3}\) ?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}"
        r"|\(?0[0-9]{2,4}\)?[ /-][0-9]{3,8}(?:[ -][0-9]{1,6}){0,3}",
        _phone,
    ),
    "iban": (r"(?i)[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}", _iban),
    "card": (r"[0-9]{13,19}|[0-9]{4}[ -][0-9]{4,6}[ -][0-9]{4,5}(?:[ -][0-9]{1,7})?", _card),
    "ip": (r"(?i)(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:(?:\.[0-9]{1,3}){3})?", _ip),
    "ssn": (r"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}", _ssn),
}


def personal_rules(kinds: Iterable[str], action: Action) -> tuple[Rule, ...]:
    """A rule "personal/KIND" for each of `settings.KINDS` that is named. Raises MissingExtraError."""
    return tuple(Rule(f"personal/{kind}", action, (Pattern(*_LOOKED_FOR[kind]),)) for kind in kinds)
