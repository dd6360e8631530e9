"""`bezel pull owner/name`: download into the Hugging Face cache."""

from __future__ import annotations

import json
from typing import Annotated

from bezel.cli import options
from bezel.cli.commands import Argument


def pull(
    model: Annotated[str, Argument(help="owner/name, owner/name@revision or owner/name:file.gguf.")],
    as_json: options.Json = False,
) -> None:
    """Download a model; an interrupted download goes on where it stopped. HF_TOKEN opens gated ones."""
    from bezel.weights.hub import fetch, parse_reference

    path = fetch(parse_reference(model))
    print(json.dumps({"model": model, "path": str(path)}) if as_json else path)
