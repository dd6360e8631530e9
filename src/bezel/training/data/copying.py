"""Copying identifiers between prose and JSON: the skill under every call, trained most at the start."""

import random

from bezel.training.data import words
from bezel.training.data.example import Example, Split, choose, compact_json, single_turn

REPEAT = tuple(
    f"{verb} {what}: "
    for verb in ("Repeat", "Copy", "Say", "Echo", "Write", "Spell out", "Give back", "Print", "Return", "Type")
    for what in (
        "this",
        "these words",
        "what follows",
        "the line",
        "exactly",
        "after me",
        "the text",
        "it",
        "word by word",
        "again",
    )
)
LOOK_UP = tuple(
    f"{verb} {article}{{key}}{end}"
    for verb in ("Value of", "What is", "Get", "Look up", "Read", "I need", "Find", "Show", "Tell me", "Which is")
    for article in ("", "the ", "its ")
    for end in ("", "?", ".", " please")
)


def _key(rng: random.Random, split: Split) -> str:
    return "_".join(words.noun(rng, split) for _ in range(rng.choice((1, 1, 2))))


def sample(rng: random.Random, split: Split) -> Example:
    """Repeat a line, look up a key, or gather the named keys as JSON."""
    kind = rng.random()
    if kind < 0.3:
        count = rng.randint(3, 10)
        line = " ".join(
            words.made_up(rng, split) if rng.random() < 0.7 else str(words.integer(rng)) for _ in range(count)
        )
        return single_turn(choose(rng, split, REPEAT) + line, line, "copying")
    facts: dict[str, str | int] = {
        _key(rng, split): words.text(rng, split) if rng.random() < 0.7 else words.integer(rng)
        for _ in range(rng.randint(2, 6))
    }
    keys = list(facts)
    if kind < 0.6:
        key = rng.choice(keys)
        question = choose(rng, split, LOOK_UP).format(key=key.replace("_", " "))
        return single_turn(f"{compact_json(facts)}\n{question}", compact_json({key: facts[key]}), "copying")
    named = rng.sample(keys, min(len(keys), rng.randint(1, 3)))
    prose = ", ".join(f"{key.replace('_', ' ')} {facts[key]}" for key in named)
    answer = compact_json({key: facts[key] for key in keys if key in named})
    return single_turn(f"Keys: {compact_json(keys)}\n{prose}", answer, "copying")
