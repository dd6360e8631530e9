"""`bezel check TEXT` and `bezel check --image FILE`: does a text or an image violate a policy?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import click

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.cli.piped import piped
from bezel.errors import InvalidRequestError

_OF_TEXTS, _OF_IMAGES = "google/shieldgemma-2b", "google/shieldgemma-2-4b-it"


def check(
    text: Annotated[list[str] | None, Argument(help="What was asked; - or nothing reads standard input.")] = None,
    model: Annotated[
        str | None,
        Option("--model", "-m", help=f"A ShieldGemma. Default: `{_OF_TEXTS}`, for an image `{_OF_IMAGES}`."),
    ] = None,
    answer: Annotated[str | None, Option(help="What was answered, to be judged in place of the question.")] = None,
    image: Annotated[Path | None, Option("--image", "-i", help="An image to be judged, in place of a text.")] = None,
    policy: Annotated[
        list[str] | None,
        Option(
            help="dangerous, harassment, hate or sexual; of an image dangerous, sexual or violence. All if left out."
        ),
    ] = None,
    threshold: Annotated[float, Option(help="Probability from which a policy counts as violated.")] = 0.5,
    level: options.Level = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Print the probability of a violation for each policy. Exit status 3 where one reaches the threshold."""
    if image is not None and (text or answer is not None):
        raise InvalidRequestError("an image is judged alone; leave the text out, and ask about it in a call of its own")
    from bezel.safety.policies import named

    named(policy, "text" if image is None else "image")
    name = model or (_OF_TEXTS if image is None else _OF_IMAGES)
    question = _question(text, answer) if image is None else ""
    from bezel.api import load

    judge = load(name, level, threads=threads, sequences=1)
    if image is None:
        from bezel.safety.classifier import Classifier

        verdict = Classifier(judge, threshold, policy).check(question, answer)
    else:
        from bezel.safety.images import ImageClassifier

        verdict = ImageClassifier(judge, threshold, policy).check(image)
    if as_json:
        record = {"model": name, "probabilities": dict(verdict.probabilities), "violated": verdict.violated}
        print(json.dumps(record | {"undone": verdict.changes}))
    else:
        for key, probability in verdict.probabilities.items():
            print(f"{key:<12} {probability:7.2%}{'  violated' if key in verdict.violated else ''}")
        if verdict.changes:
            print(f"read without {', '.join(verdict.changes)}", file=sys.stderr)
    if verdict.blocked:
        raise click.exceptions.Exit(3)


def _question(text: list[str] | None, answer: str | None) -> str:
    """What was asked. Raises InvalidRequestError where that, or the answer judged in its place, says nothing."""
    question = " ".join(text) if text and text != ["-"] else piped('bezel check "your text"')
    if not (question if answer is None else answer).strip():
        raise InvalidRequestError(f"the {'text' if answer is None else 'answer'} is empty; there is nothing to judge")
    return question
