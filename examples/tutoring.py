"""A photographed exercise and a spoken question, answered as a patient teacher would:

python examples/tutoring.py EXERCISE.jpg QUESTION.ogg [MODEL]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bezel
from bezel.prompts import instructions

SEES_AND_HEARS = "google/gemma-3n-E4B-it"
TEACHER = "You are a tutor. Never give the solution: find the step that is missing, and ask one question about it."


def hint(model: bezel.Model, exercise: str, question: str, **options: Any) -> Iterator[str]:
    """The answer in pieces, to an image and a sound in one message."""
    parts = [
        {"type": "text", "text": "This is my exercise:"},
        {"type": "image", "image": exercise},
        {"type": "text", "text": "and this is what I do not understand:"},
        {"type": "audio", "audio": question},
    ]
    messages = [
        {"role": "system", "content": instructions(style="educational", system=TEACHER)},
        {"role": "user", "content": parts},
    ]
    return model.stream(messages, **options)


def main(exercise: str, question: str, name: str = SEES_AND_HEARS) -> None:
    """Print the hint while it is written."""
    for piece in hint(bezel.load(name), exercise, question):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
