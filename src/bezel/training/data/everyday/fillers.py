"""What fills the slots of everyday requests: each filler gives words as spoken and the value they stand for."""

import random
from collections.abc import Callable
from typing import Any

from bezel.training.data import words
from bezel.training.data.everyday import lexicon
from bezel.training.data.example import Split

_UP_TO_TWELVE = "one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve"
NUMBER_WORDS = {word: value for value, word in enumerate(_UP_TO_TWELVE.split(","), start=1)}
NUMBER_WORDS |= {"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}
_SPELLED = {value: word for word, value in NUMBER_WORDS.items()}
_MADE_UP_SHARE = 0.3
FREE = frozenset({"message", "note", "subject", "event", "query", "sentence", "song", "movie", "news", "dish"})
"""Fillers that end anywhere: what follows them must be set off clearly."""


def _hour(rng: random.Random) -> str:
    hour, minute = rng.randint(0, 23), rng.choice(("00", "05", "10", "15", "20", "30", "40", "45", "50"))
    half = rng.randint(1, 12)
    return rng.choice(
        (
            f"{hour:02d}:{minute}",
            f"{hour}:{minute}",
            f"{half}:{minute} {rng.choice(('am', 'pm'))}",
            f"{half}:{minute}{rng.choice(('am', 'pm'))}",
            f"{half}{rng.choice(('am', 'pm'))}",
            f"{half} {rng.choice(('am', 'pm', 'AM', 'PM', 'a.m.'))}",
            f"half past {rng.choice(list(_SPELLED.values())[:12])}",
            f"quarter to {rng.choice(list(_SPELLED.values())[:12])}",
            rng.choice(("noon", "midnight", "six", "eight", "seven o'clock", "9 o'clock")),
        )
    )


def _date(rng: random.Random) -> str:
    day, month = rng.randint(1, 28), rng.choice(lexicon.EXACT["month"])
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    year = rng.randint(2024, 2035)
    return rng.choice(
        (
            f"{day} {month}",
            f"{month} {day}",
            f"{month} {day}{ending}",
            f"the {day}{ending}",
            f"{year}-{lexicon.EXACT['month'].index(month) + 1:02d}-{day:02d}",
            f"{day} {month} {year}",
            f"{day}/{lexicon.EXACT['month'].index(month) + 1}",
            rng.choice(lexicon.EXACT["weekday"]),
            rng.choice(lexicon.EXACT["weekday"]),
        )
    )


def _day(rng: random.Random) -> str:
    weekday = rng.choice(lexicon.EXACT["weekday"])
    return rng.choice(
        ("tomorrow", "tomorrow", "today", "tonight", f"next {weekday}", f"this {weekday}", "next week", "this weekend")
    )


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 4)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 8)))
    return rng.choice((letters + digits, f"{letters}-{digits}", digits, f"#{digits}", f"{letters.lower()}_{digits}"))


def _email(rng: random.Random, split: Split) -> str:
    user = rng.choice((rng.choice(words.PEOPLE).lower(), words.made_up(rng, split)))
    user += rng.choice(("", f".{words.made_up(rng, split)}", str(rng.randint(1, 99)), f"_{rng.choice('abcdefg')}"))
    host = rng.choice((words.made_up(rng, split), "mail", "post", "example", "office"))
    return f"{user}@{host}.{rng.choice(('com', 'org', 'net', 'de', 'io', 'co.uk'))}"


def _file(rng: random.Random, split: Split) -> str:
    stem = rng.choice((rng.choice(words.TOPICS), rng.choice(words.NOUNS), words.made_up(rng, split)))
    stem += rng.choice(("", f"_{words.made_up(rng, split)}", f"-{rng.randint(1, 40)}", f"_{rng.choice(words.TOPICS)}"))
    return f"{stem}.{rng.choice(lexicon.EXACT['ending'])}"


def grown(rng: random.Random, split: Split, text: str) -> str:
    """`text` with each `<symbol>` replaced by a sentence of the grammar or by what a filler gives."""
    while (at := text.find("<")) >= 0:
        end = text.index(">", at)
        symbol = text[at + 1 : end]
        known = lexicon.GRAMMAR.get(symbol)
        text = text[:at] + (rng.choice(known) if known else fill(rng, split, symbol)[0]) + text[end + 1 :]
    return text


def _word_or(rng: random.Random, split: Split, known: tuple[str, ...], capital: bool = False) -> str:
    if rng.random() >= _MADE_UP_SHARE:
        return rng.choice(known)
    word = words.made_up(rng, split)
    return word.capitalize() if capital else word


def _known(name: str, capital: bool = False) -> Callable[[random.Random, Split], str]:
    known = (lexicon.CAPITAL if capital else lexicon.LOWER)[name]
    return lambda rng, split: _word_or(rng, split, known, capital)


def _grammar(start: str) -> Callable[[random.Random, Split], str]:
    return lambda rng, split: grown(rng, split, f"<{start}>")


_TEXT: dict[str, Callable[[random.Random, Split], str]] = {
    "time": lambda rng, split: _hour(rng),
    "date": lambda rng, split: _date(rng),
    "day": lambda rng, split: _day(rng),
    "code": lambda rng, split: _code(rng),
    "email": _email,
    "file": _file,
    "currency": lambda rng, split: rng.choice(lexicon.EXACT["currency"]),
    "unit": lambda rng, split: rng.choice(lexicon.EXACT["unit"]),
    "ticker": lambda rng, split: "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVXZ") for _ in range(rng.randint(3, 4))),
    "address": lambda rng, split: f"{rng.randint(1, 180)} {words.made_up(rng, split).capitalize()} Street",
    "flight": lambda rng, split: rng.choice(("LH", "BA", "AF", "UA", "IB", "KL", "AZ")) + str(rng.randint(10, 9999)),
    "temperature": lambda rng, split: f"{rng.randint(15, 27)}{rng.choice(('°', ' degrees', '°C', 'C'))}",
    "length": lambda rng, split: (
        f"{rng.randint(2, 59)}{rng.choice((' minutes', 'min', ' min', ' seconds', 's', ' hours', 'h'))}"
    ),
    "plate": lambda rng, split: (
        f"{rng.choice('ABKMSW')}-{rng.choice('ABXYZ')}{rng.choice('CDEF')} {rng.randint(10, 9999)}"
    ),
    "phone": lambda rng, split: rng.choice(("+", "0")) + str(rng.randint(10**8, 10**10)),
    "word": words.made_up,
    **{name: _known(name) for name in lexicon.LOWER},
    **{name: _known(name, capital=True) for name in lexicon.CAPITAL},
    **{name: _grammar(name) for name in lexicon.GRAMMAR},
}


def schema(filler: str) -> dict[str, Any]:
    """The JSON schema of what `filler` gives."""
    kind, _, detail = filler.partition(" ")
    if kind == "enum":
        return {"type": "string", "enum": detail.split("/")}
    return {"type": {"int": "integer", "num": "number", "bool": "boolean"}.get(kind, "string")}


def fill(rng: random.Random, split: Split, filler: str) -> tuple[str, Any]:
    """Words as spoken and their value: `("three", 3)` of `int 1-9`, `("7pm", "7pm")` of `time`."""
    kind, _, detail = filler.partition(" ")
    if kind == "enum":
        value = rng.choice(detail.split("/"))
        return value.replace("_", " "), value
    if kind in ("int", "num"):
        low, high = (int(bound) for bound in detail.split("-"))
        number: int | float = rng.randint(low, min(high, max(low, 20)) if rng.random() < 0.4 else high)
        if kind == "num" and rng.random() < 0.3:
            number += rng.randint(1, 9) / 10
            return str(number), number
        spelled = number in _SPELLED and rng.random() < 0.25
        return (_SPELLED[int(number)] if spelled else str(number)), number
    text = _TEXT[filler](rng, split)
    return text, text
