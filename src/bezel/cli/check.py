"""`bezel check TEXT`: does a text violate a policy?"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bezel.cli import options


def check(
    text: Annotated[list[str] | None, typer.Argument(help="What was asked; - or nothing reads standard input.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A ShieldGemma.")] = "google/shieldgemma-2b",
    answer: Annotated[
        str | None, typer.Option(help="What was answered, to be judged in place of the question.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="dangerous, harassment, hate or sexual; all of them if left out.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Probability from which a policy counts as violated.")] = 0.5,
    level: options.Level = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Print the probability of a violation for each policy. Exit status 3 where one reaches the threshold."""
    asked = " ".join(text or []) if text and text != ["-"] else sys.stdin.read()
    from bezel.api import load
    from bezel.safety.classifier import Classifier
    from bezel.safety.policies import named

    named(policy)
    verdict = Classifier(load(model, level, threads=threads, sequences=1), threshold, policy).check(asked, answer)
    if as_json:
        record = {"model": model, "probabilities": dict(verdict.probabilities), "violated": verdict.violated}
        print(json.dumps(record | {"undone": verdict.changes}))
    else:
        for key, probability in verdict.probabilities.items():
            print(f"{key:<12} {probability:7.2%}{'  violated' if key in verdict.violated else ''}")
        if verdict.changes:
            print(f"read without {', '.join(verdict.changes)}", file=sys.stderr)
    if verdict.blocked:
        raise typer.Exit(3)
