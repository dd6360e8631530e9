"""`bezel embed TEXT...`: texts as vectors that can be compared."""

from __future__ import annotations

import json
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.cli.piped import piped_lines

EMBEDS = "google/embeddinggemma-300m"


def embed(
    texts: Annotated[list[str] | None, Argument(help="Texts; nothing: lines of standard input.")] = None,
    model: Annotated[str, Option("--model", "-m", help="A model that embeds.")] = EMBEDS,
    task: Annotated[str | None, Option(help="What the embedding is for: query, document, STS, ...")] = None,
    dimensions: Annotated[int | None, Option(help="Keep the first numbers alone: 512, 256 or 128.")] = None,
    level: options.Level = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Print the embedding of each text: its numbers in a line."""
    given = texts or piped_lines('bezel embed "your text"')
    from bezel.api import load

    found = load(model, level, threads=threads).embed(given, task, dimensions)
    if as_json:
        print(json.dumps({"model": model, "embeddings": found.tolist()}))
        return
    for row in found:
        print(" ".join(f"{number:.6g}" for number in row.tolist()))
