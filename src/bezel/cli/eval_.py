"""`bezel eval tiny`: the embedded models' held-out scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Argument, Option

if TYPE_CHECKING:
    from bezel.api import Model
    from bezel.training.evaluation import Score


def eval_(
    model: Annotated[str, Argument(help="tiny, or another model trained on the same tasks.")] = "tiny",
    count: Annotated[int, Option(min=1, help="Generated questions a set.")] = 200,
    threads: options.Threads = None,
    cache_type: options.CacheType = "f16",
    mmproj: options.Mmproj = None,
    as_json: options.Json = False,
) -> None:
    """Print held-out scores on tiny's tasks, of greedy answers.

    An answer is right or wrong as a whole, and a chart's value right within a tenth; printed text is counted by
    character, and speech that is written down by word. A model that sees is asked about charts and printed text, one
    that hears about speech (which espeak-ng speaks).
    """
    from bezel.api import load

    scores = []
    for name, tower in _parts(model, mmproj):
        for score in _scores(load(name, threads=threads, cache=cache_type, mmproj=tower), count):
            scores.append(score)
            if not as_json:
                target = f"  (asked for: {score.target:.0%})" if score.target is not None else ""
                print(f"{score.name:<48} {score.right:>4} of {score.total:<4} {score.share:6.1%}{target}", flush=True)
    if as_json:
        print(json.dumps([{"set": s.name, "right": s.right, "total": s.total, "target": s.target} for s in scores]))


def _parts(model: str, mmproj: str | None) -> list[tuple[str, str | None]]:
    """The models to be scored with their towers: of "tiny" all that are in this package."""
    from bezel.weights import embedded

    if model != embedded.NAME:
        return [(model, mmproj)]
    return [(str(each.model), str(each.tower) if each.tower else None) for each in embedded.all_of_them()]


def _scores(loaded: Model, count: int) -> Iterator[Score]:
    from bezel.training.evaluation import evaluate
    from bezel.training.media_evaluation import evaluate_pictures, evaluate_sounds

    def answer(messages: Any, tools: Any = ()) -> str:
        result = loaded.chat(messages, tools=tools, temperature=0.0, max_tokens=400)
        return str(loaded.tokenizer.decode(result.token_ids))  # as the model wrote it, calls included

    def about(kind: str, media: Any, question: str) -> str:
        parts = [{"type": kind, kind: media}, {"type": "text", "text": question}]
        return answer([{"role": "user", "content": parts}])

    facts = loaded.describe()
    if facts["images"]:
        return evaluate_pictures(lambda picture, question: about("image", picture, question), count)
    if facts["sounds"]:
        return evaluate_sounds(lambda sound, question: about("audio", sound, question), count)
    return evaluate(answer, count)
