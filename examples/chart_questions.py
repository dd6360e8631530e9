"""Questions about a chart, one after the other: python examples/chart_questions.py CHART.png [MODEL]

The image is read once: later questions go on from the keys and values that the first one left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import bezel
from bezel.prompts import analysis

SEES = "google/gemma-3-4b-it"


def answers(model: bezel.Model, chart: str, questions: Iterable[str], **options: Any) -> Iterator[tuple[str, str, int]]:
    """Each question, its answer, and how many tokens of the conversation were not read again."""
    messages: list[dict[str, Any]] = []
    for question in questions:
        messages += [{"role": "user", "content": question}] if messages else analysis(question, chart)
        result = model.chat(messages, **{"temperature": 0, **options})
        messages.append({"role": "assistant", "content": result.text})
        yield question, result.text, result.usage.cached_tokens


def main(chart: str, name: str = SEES) -> None:
    """Answer the lines of standard input."""
    print("One question a line; Ctrl-D ends.", file=sys.stderr)
    questions = (line.strip() for line in sys.stdin if line.strip())
    for question, answer, kept in answers(bezel.load(name), chart, questions):
        print(f"{question}\n{answer}\n({kept} tokens were known)\n")


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
