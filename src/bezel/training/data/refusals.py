"""Requests outside what the model can do, and the one honest answer to them."""

import random

from bezel.training.data import calls, words
from bezel.training.data.example import Example, Split, choose, single_turn

ANSWER = (
    "I am a very small model and cannot answer that. "
    "I can say which Gemma fits, call tools, add and subtract, and greet."
)
SHAPES = tuple(
    f"{opening} {matter}{end}"
    for opening, matters in {
        "Write": ("a story about {x}", "an essay on {x}", "a song for {y}", "a letter to {y}", "a speech on {x}"),
        "Explain": ("how {x} works", "the theory of {x}", "why {y} left {z}", "the rules of {x}"),
        "Who": ("invented the {x}", "rules {z} today", "was {y} of {z}", "painted the {x}"),
        "When": ("was {z} founded", "did the {x} begin", "was {y} born", "does {x} end"),
        "Why": ("is the {x} blue", "do people like {x}", "did {z} lose", "is {y} famous"),
        "Give me": (
            "advice about {x}",
            "your opinion on {x}",
            "a recipe with {x}",
            "five ideas for {x}",
            "news from {z}",
        ),
        "My": ("{x} hurts, what do I do", "{x} is broken, help", "friend {y} is sad", "doctor said {x}, is it bad"),
        "Debug": ("my {x} program", "this function for {x}", "the script of {y}"),
        "Should I": ("buy {x}", "sue {y}", "move to {z}", "invest in {x}"),
        "What": (
            "is the capital of {z}",
            "happened in {z}",
            "do you think of {y}",
            "causes {x}",
            "is the meaning of {x}",
        ),
        "How": ("do I learn {x}", "far is {z}", "many people live in {z}", "can I treat {x}", "tall is {y}"),
        "Summarise": ("the novel {x}", "the history of {z}", "what {y} wrote"),
        "Tell me": ("a joke about {x}", "about {y}", "the news in {z}", "a secret of {x}"),
        "Solve": ("the equation of {x}", "the integral of {x}", "this riddle about {y}"),
    }.items()
    for matter in matters
    for end in ("", "?", " please", ".")
)


def sample(rng: random.Random, split: Split) -> Example:
    """A request of an unseen subject; in the held-out split its shape is unseen too. A third offer unrelated tools."""
    x = rng.choice(words.TOPICS) if rng.random() < 0.6 else words.noun(rng, split, 0.4)
    user = choose(rng, split, SHAPES).format(x=x, y=rng.choice(words.PEOPLE), z=rng.choice(words.PLACES))
    tools = [calls.made_up_tool(rng, split).schema for _ in range(rng.randint(1, 2))] if rng.random() < 0.3 else []
    return single_turn(rng.choice((user, user.lower(), user)), ANSWER, "refusals", tools)
