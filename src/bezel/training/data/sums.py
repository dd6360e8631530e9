"""Sums and differences of two-digit numbers, bare and as small stories."""

import random

from bezel.training.data import words
from bezel.training.data.example import Example, Split, choose, held_out, single_turn

_OPENERS = (
    "",
    "Please work out ",
    "What is ",
    "what's ",
    "Calculate ",
    "Tell me ",
    "Quick: ",
    "Compute ",
    "How much is ",
    "Can you do ",
)
_PLUS = ("{a}+{b}", "{a} + {b}", "{a} plus {b}", "{a} and {b} added up", "the sum of {a} and {b}", "{b} more than {a}")
_MINUS = (
    "{a}-{b}",
    "{a} - {b}",
    "{a} minus {b}",
    "{b} subtracted from {a}",
    "{b} less than {a}",
    "the difference of {a} and {b}",
)
_ENDS = ("", "?", " =", ", please")
_GAIN = ("buys", "finds", "gets", "wins", "picks up", "is given", "collects", "makes", "receives", "adds")
_LOSS = ("sells", "loses", "spends", "gives away", "uses up", "drops", "hands over", "returns", "eats", "breaks")
_STARTS = (
    "{who} has {a} {thing}s and {verb} {b}",
    "{who} had {a} {thing}s, then {verb} {b}",
    "There are {a} {thing}s and {who} {verb} {b}",
    "With {a} {thing}s at first, {who} {verb} {b}",
)
_QUESTIONS = ("How many now?", "What is the total?", "how many in the end", "And now?", "So how many {thing}s?")
PLUS = tuple(o + p + e for o in _OPENERS for p in _PLUS for e in _ENDS)
MINUS = tuple(o + p + e for o in _OPENERS for p in _MINUS for e in _ENDS)
STORIES = tuple(f"{start}. {question}" for start in _STARTS for question in _QUESTIONS)
COMPARISONS = tuple(
    f"{{who}} is {{a}}{joint} {{other}} is {{b}} years {{age}}{end}"
    for joint in (",", " and", ";", ".", " while")
    for end in (
        ". How old is {other}?",
        ", what age is {other}?",
        ". What is the age of {other}?",
        " - how old is that?",
    )
)


def sample(rng: random.Random, split: Split) -> Example:
    """One sum or difference with a result of zero or more; pairs and phrasings are both held out."""
    while True:
        a, b, plus = rng.randint(0, 100), rng.randint(0, 100), rng.random() < 0.5
        a, b = (a, b) if plus else (max(a, b), min(a, b))
        if held_out(f"{a}{'+' if plus else '-'}{b}") == (split == "held_out"):
            break
    result, kind = a + b if plus else a - b, rng.random()
    if kind < 0.6:
        question = choose(rng, split, PLUS if plus else MINUS).format(a=a, b=b)
    elif kind < 0.85:
        question = choose(rng, split, STORIES).format(
            who=rng.choice(words.PEOPLE),
            thing=words.noun(rng, split, 0.3),
            verb=rng.choice(_GAIN if plus else _LOSS),
            a=a,
            b=b,
        )
    else:
        who, other = rng.sample(words.PEOPLE, 2)
        question = choose(rng, split, COMPARISONS).format(
            who=who, other=other, a=a, b=b, age="older" if plus else "younger"
        )
    return single_turn(question, f"{a} {'+' if plus else '-'} {b} = {result}", "sums")
