"""`bezel quantize MODEL FILE`: write a standard GGUF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.errors import InvalidRequestError


def quantize(
    model: Annotated[str, Argument(help="A hub name, a folder, or a GGUF file of F32, F16 or BF16 weights.")],
    target: Annotated[Path, Argument(help="The GGUF file to write.")],
    level: Annotated[str, Option("--level", "-l", help="Q4_0, Q8_0, BF16 or F32, or a level's name.")] = "Q8_0",
    size: options.Size = None,
    as_json: options.Json = False,
) -> None:
    """Write a model to a GGUF file that llama.cpp and Ollama load too."""
    from bezel.kernels.interface import Format
    from bezel.weights.checkpoint import LEVELS, open_checkpoint
    from bezel.weights.hub import fetch, parse_reference
    from bezel.weights.quantize import quantize as write
    from bezel.weights.slice import sliced

    format = LEVELS.get(level) or Format.__members__.get(level.upper())
    if format is None:
        raise InvalidRequestError(f"unknown level {level!r}; choose Q4_0, Q8_0, BF16, F32, or {', '.join(LEVELS)}")
    checkpoint = open_checkpoint(fetch(parse_reference(model)))
    try:
        with options.progress() as show:
            written = write(sliced(checkpoint, size) if size is not None else checkpoint, target, format, show)
    finally:
        checkpoint.close()
    print(
        json.dumps({"path": str(target), "format": format.name, "bytes": written})
        if as_json
        else f"{target}: {format.name}, {options.gigabytes(written)}"
    )
