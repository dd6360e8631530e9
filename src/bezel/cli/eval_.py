"""`bezel eval tiny`: the embedded model's held-out scores."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bezel.cli import options


def eval_(
    model: Annotated[str, typer.Argument(help="tiny, or another model trained on the same tasks.")] = "tiny",
    count: Annotated[int, typer.Option(min=1, help="Generated questions a set.")] = 200,
    threads: options.Threads = None,
    cache_type: options.CacheType = "f16",
    as_json: options.Json = False,
) -> None:
    """Print held-out scores on tiny's tasks: greedy answers, exactly right or wrong."""
    from bezel.api import load
    from bezel.training.evaluation import evaluate

    loaded = load(model, threads=threads, cache=cache_type)

    def answer(messages: object, tools: object) -> str:
        result = loaded.chat(messages, tools=tools, temperature=0.0, max_tokens=400)  # type: ignore[arg-type]
        return str(loaded.tokenizer.decode(result.token_ids))  # as the model wrote it, calls included

    scores = []
    for score in evaluate(answer, count):
        scores.append(score)
        if not as_json:
            target = f"  (asked for: {score.target:.0%})" if score.target is not None else ""
            print(f"{score.name:<48} {score.right:>4} of {score.total:<4} {score.share:6.1%}{target}", flush=True)
    if as_json:
        print(json.dumps([{"set": s.name, "right": s.right, "total": s.total, "target": s.target} for s in scores]))
