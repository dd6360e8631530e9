"""`bezel slice MODEL OUT --size E2.98B`: a smaller Gemma 3n out of a larger one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument


def slice_(
    model: Annotated[str, Argument(help="A hub name, a folder, or a GGUF file of Gemma 3n.")],
    target: Annotated[Path, Argument(help="The folder to write, or the .gguf file where the model is one.")],
    size: options.NeededSize,
    as_json: options.Json = False,
) -> None:
    """Write a smaller Gemma 3n: a checkpoint of its own that Transformers and bezel load."""
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.hub import fetch, parse_reference
    from bezel.weights.slice_files import write_slice

    checkpoint = open_checkpoint(fetch(parse_reference(model)))
    try:
        with options.progress() as show:
            written = write_slice(checkpoint, target, size, show)
    finally:
        checkpoint.close()
    print(
        json.dumps({"path": str(target), "size": size, "bytes": written})
        if as_json
        else f"{target}: {size}, {options.gigabytes(written)}"
    )
