"""What charts are about: groups of labels with a word for one of them, and what is counted.

Labels are read off pictures, so a third of all are made-up words, which no list can have taught.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from importlib import resources

from bezel.training.data import words
from bezel.training.data.example import Split

_DATA = tomllib.loads(resources.files(__package__).joinpath("topics.toml").read_text("utf-8"))
GROUPS: dict[str, tuple[str, ...]] = {name: tuple(words.split()) for name, words in _DATA["groups"].items()}
MONTHS, DAYS = GROUPS["month"], GROUPS["day"]
COUNTED, SIGNS, SMALL_WORDS = (tuple(_DATA["lists"][name]) for name in ("counted", "signs", "small_words"))


@dataclass(frozen=True)
class Topic:
    """A title, labels, a word for one of them, and what is counted, as it stands in a question."""

    title: str
    labels: tuple[str, ...]
    one: str
    counted: str


def categories(rng: random.Random, split: Split, count: int) -> Topic:
    """Labels without an order: of one group, numbered ones ("Row 3"), or made-up words."""
    kind = rng.random()
    if kind < 0.55:
        one = rng.choice(list(GROUPS))
        labels = rng.sample(GROUPS[one], min(count, len(GROUPS[one])))
        if one in ("day", "month"):
            labels.sort(key=GROUPS[one].index)
    elif kind < 0.65:
        one = rng.choice(("row", "bus", "hen", "shop", "team", "room", "plan", "line", "group", "box", "class", "unit"))
        numbers = sorted(rng.sample("ABCDEFG" if rng.random() < 0.4 else "123456789", count))
        labels = [f"{one.capitalize()} {number}" for number in numbers]
    else:
        one = rng.choice(("one", "bar", "name", "item", "thing", "part", "product", "place", "river", "dog", "village"))
        labels = []
        while len(labels) < count:
            label = words.made_up(rng, split).capitalize()[:9]
            labels += [label] if label not in labels else []
    return _topic(rng, one, labels)


def times(rng: random.Random, count: int) -> Topic:
    """Labels that follow each other: months, days, years, weeks, quarters, hours."""
    kind = rng.choice(("month", "day", "year", "year", "week", "quarter", "hour"))
    if kind in ("month", "day"):
        named = MONTHS if kind == "month" else DAYS
        step = rng.choice((1, 1, 2)) if len(named) > 2 * count else 1
        first = rng.randrange(max(1, len(named) - step * (count - 1)))
        labels = [named[(first + step * index) % len(named)] for index in range(min(count, len(named)))]
    elif kind == "year":
        first, step = rng.randint(1985, 2020), rng.choice((1, 1, 2, 5))
        labels = [str(first + step * index) for index in range(count)]
    elif kind == "hour":
        first, step, end = rng.randint(0, 9), rng.choice((1, 2, 3)), rng.choice(("", "h", ":00"))
        labels = [f"{first + step * index}{end}" for index in range(count)]
    else:
        labels = [f"{'Q' if kind == 'quarter' else rng.choice(('Week ', 'W'))}{index + 1}" for index in range(count)]
        labels = labels[:4] if kind == "quarter" else [f"{labels[0][:-1]}{index + 1}" for index in range(count)]
    return _topic(rng, kind, labels)


def _topic(rng: random.Random, one: str, labels: list[str]) -> Topic:
    counted = rng.choice(COUNTED)
    title = counted
    if rng.random() < 0.4:
        title = rng.choice((f"{counted} by {one}", f"{counted} in {rng.randint(1990, 2026)}", f"{counted} this year"))
    return Topic(title, tuple(labels), one, counted.lower())
