"""Words for tools and values: everyday ones, read from `words.toml`, and made-up ones that no training set has seen."""

import random
import tomllib
from importlib.resources import files
from typing import Any

from bezel.training.data.example import Split, choose, held_out

_READ: dict[str, Any] = tomllib.loads((files("bezel.training.data") / "words.toml").read_text("utf-8"))
NOUNS: tuple[str, ...] = tuple(_READ["nouns"])
TEXT_PARAMETERS: tuple[str, ...] = tuple(_READ["text_parameters"])
NUMBER_PARAMETERS: tuple[str, ...] = tuple(_READ["number_parameters"])
FLAGS: tuple[str, ...] = tuple(_READ["flags"])
PLACES: tuple[str, ...] = tuple(_READ["places"])
PEOPLE: tuple[str, ...] = tuple(_READ["people"])
TOPICS: tuple[str, ...] = tuple(_READ["topics"])
_ONSETS: tuple[str, ...] = tuple(_READ["onsets"])
_RIMES: tuple[str, ...] = tuple(_READ["rimes"])
VERBS: dict[str, tuple[str, ...]] = {name: tuple(each) for name, each in _READ["verbs"].items()}
ENUMS: dict[str, tuple[str, ...]] = {name: tuple(each) for name, each in _READ["enums"].items()}


def made_up(rng: random.Random, split: Split) -> str:
    """A pronounceable word that means nothing; the two splits share none."""
    while True:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_RIMES) for _ in range(rng.choice((2, 2, 3))))
        if held_out(word) == (split == "held_out"):
            return word


def noun(rng: random.Random, split: Split, made_up_share: float = 0.6) -> str:
    """A word for an identifier, made up in `made_up_share` of cases."""
    return made_up(rng, split) if rng.random() < made_up_share else choose(rng, split, NOUNS)


def integer(rng: random.Random) -> int:
    """A number of one to five digits, small ones as often as large ones."""
    return rng.randrange(1, 10 ** rng.randint(1, 5))


def code(rng: random.Random, split: Split) -> str:
    """An identifier as people write them: letters and digits, a file name, a mail address, a date or a time."""
    word, digits = made_up(rng, split), str(integer(rng))
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    return rng.choice(
        (
            letters + digits,
            f"{letters}-{digits}",
            f"{word}.{rng.choice(('txt', 'pdf', 'csv', 'zip', 'png'))}",
            f"{word}@{made_up(rng, split)}.{rng.choice(('com', 'org', 'net'))}",
            f"20{rng.randint(20, 35)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
            f"{rng.randint(0, 23):02d}:{rng.choice(('00', '10', '15', '20', '30', '45', '50'))}",
            word + digits,
        )
    )


def text(rng: random.Random, split: Split) -> str:
    """A string argument: a place, a person, a few words, a made-up word or a code."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(PLACES)
    if kind < 0.4:
        return rng.choice(PEOPLE)
    if kind < 0.6:
        return " ".join(rng.sample(TOPICS, rng.choice((1, 2, 2, 3))))
    if kind < 0.8:
        word = made_up(rng, split)
        return rng.choice((word, word.capitalize(), f"{word} {rng.choice(TOPICS)}"))
    return code(rng, split)
