"""`bezel show MODEL`: what a variant or a checkpoint is, from the catalogue and its header alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bezel.catalog.memory import LEVEL_BITS, footprint
from bezel.catalog.variants import Variant, find
from bezel.cli import options
from bezel.errors import InvalidRequestError, UnknownModelError

if TYPE_CHECKING:
    from bezel.weights.hub import Reference


def show(
    model: Annotated[str, typer.Argument(help="A variant's name, tiny, a hub name, or a path.")],
    header: Annotated[
        bool, typer.Option("--header", help="Read the checkpoint's own header, on the hub too; no weights are fetched.")
    ] = False,
    context: Annotated[int, typer.Option("--context", "-c", help="Tokens of context for the memory figures.")] = 4096,
    as_json: options.Json = False,
) -> None:
    """Show a variant's facts and memory, or what a checkpoint here or on the hub holds."""
    facts = _facts(model, header, context)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:<{width}}  {', '.join(text) if isinstance(text, list) else text}")


def _variant(variant: Variant, context: int) -> dict[str, Any]:
    planned = min(context, variant.context)
    memory = {level: options.gigabytes(footprint(variant, level, planned).total) for level in LEVEL_BITS}
    facts = {
        "id": variant.id,
        "family": variant.family,
        "parameters": f"{variant.parameters / 1e9:.2f} billion",
        "context": f"{variant.context} tokens",
        "modalities": list(variant.modalities),
        "languages": variant.languages,
        "licence": variant.licence,
        "base": variant.base,
        "quantised": variant.quantised,
        "note": variant.note,
        f"memory at {planned} tokens": memory,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _facts(model: str, header: bool, context: int) -> dict[str, Any]:
    from bezel.weights.hub import parse_reference

    try:
        reference = parse_reference(model)
    except (UnknownModelError, InvalidRequestError):
        return _variant(find(model), context)
    if reference.path is not None or reference.file or reference.revision or header:
        return _checkpoint(reference)
    try:
        return _variant(find(model), context)
    except UnknownModelError:
        return _checkpoint(reference)


def _checkpoint(reference: Reference) -> dict[str, Any]:
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.remote import open_remote

    checkpoint = open_remote(reference) if reference.path is None else open_checkpoint(reference.path)
    try:
        config = checkpoint.config.get("text_config", checkpoint.config)
        infos = [checkpoint.source.tensors[name] for name in checkpoint.stored_names.values()]
        formats: dict[str, int] = {}
        for info in infos:
            formats[info.type_name] = formats.get(info.type_name, 0) + 1
        return {
            "checkpoint": str(reference.path or reference.repo),
            "architecture": checkpoint.config.get("model_type"),
            "layers": config.get("num_hidden_layers"),
            "hidden size": config.get("hidden_size"),
            "vocabulary": config.get("vocab_size"),
            "context": f"{config.get('max_position_embeddings')} tokens",
            "tensors": formats,
            "size": options.gigabytes(sum(info.nbytes for info in infos)),
        }
    finally:
        checkpoint.close()
