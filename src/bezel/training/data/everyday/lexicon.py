"""Words and sentence grammars that everyday values are drawn from, read from `lexicon.json`."""

import json
from importlib.resources import files

from bezel.training.data import words

_READ: dict[str, dict[str, list[str]]] = json.loads(
    (files("bezel.training.data.everyday") / "lexicon.json").read_text("utf-8")
)
_TOO = {"city": words.PLACES, "person": words.PEOPLE}
LOWER = {name: tuple(items) for name, items in _READ["lower"].items()}
"""Lists to which made-up words are added as they are."""
CAPITAL = {name: (*_TOO.get(name, ()), *items) for name, items in _READ["capital"].items()}
"""Lists to which made-up words are added with a capital letter."""
EXACT = {name: tuple(items) for name, items in _READ["exact"].items()}
"""Lists that are complete."""
GRAMMAR = {name: tuple(items) for name, items in _READ["grammar"].items()}
"""Sentences by symbol; `<symbol>` in them is a further symbol or a filler."""
FRAMING = {name: tuple(items) for name, items in _READ["framing"].items()}
"""What people say before, after and between requests."""
