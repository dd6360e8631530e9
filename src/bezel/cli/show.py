"""`bezel show MODEL`: what a variant or a checkpoint is, from the catalogue and its header alone."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

from bezel.cli import options
from bezel.cli.commands import Argument, Option
from bezel.errors import InvalidRequestError, UnknownModelError

if TYPE_CHECKING:
    from bezel.catalog.memory import Footprint
    from bezel.catalog.variants import Variant
    from bezel.weights.checkpoint import Checkpoint
    from bezel.weights.hub import Reference


def show(
    model: Annotated[str, Argument(help="A variant's name, tiny, a hub name, or a path.")],
    header: Annotated[
        bool, Option("--header", help="Read the checkpoint's own header, on the hub too; no weights are fetched.")
    ] = False,
    context: Annotated[
        int | None, Option("--context", "-c", help="Tokens of context for the memory figures; default: 4096 at most.")
    ] = None,
    memory: Annotated[bool, Option("--memory", help="Predict the memory of a running model, by part.")] = False,
    level: options.Level = None,
    size: options.Size = None,
    as_json: options.Json = False,
) -> None:
    """Show a variant's facts and memory, or what a checkpoint here or on the hub holds."""
    if memory:
        _show_memory(model, context, level, size, as_json)
        return
    if level is not None or size is not None:
        raise InvalidRequestError("--level and --size are for the memory of a running model; add --memory")
    facts = _facts(model, header, context)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:<{width}}  {', '.join(text) if isinstance(text, list) else text}")


def _planned(context: int | None, longest: int) -> int:
    """The context that was asked for, or the default where the model holds that many tokens."""
    from bezel.catalog.memory import DEFAULT_CONTEXT

    return min(DEFAULT_CONTEXT, longest) if context is None else context


def _variant(variant: Variant, context: int | None) -> dict[str, Any]:
    from bezel.catalog.memory import LEVEL_BITS, footprint

    planned = _planned(context, variant.context)
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


def _facts(model: str, header: bool, context: int | None) -> dict[str, Any]:
    from bezel.catalog.variants import find
    from bezel.weights.hub import parse_reference

    try:
        reference = parse_reference(model)
    except (UnknownModelError, InvalidRequestError):
        return _variant(find(model), context)
    if reference.path is None and not reference.file and not reference.revision and not header:
        with contextlib.suppress(UnknownModelError):
            return _variant(find(model), context)
    if context is not None:
        raise InvalidRequestError(f"--context is for the memory that {model} takes when it runs; add --memory")
    return _checkpoint(reference)


def _show_memory(model: str, context: int | None, level: str | None, size: str | None, as_json: bool) -> None:
    """Predicted memory as a table, or in bytes; of a variant that is not here, at 4 bit where no level is asked."""
    needed, planned = _predicted(model, context, level, size)
    if as_json:
        print(json.dumps({"model": model, "context": planned, "memory": needed.table()}))
        return
    for name, size_of_part in needed.table().items():
        print(f"{name:<14}  {options.gigabytes(size_of_part):>9}")


def _predicted(model: str, context: int | None, level: str | None, size: str | None) -> tuple[Footprint, int]:
    """The memory and the context that it is for. InvalidRequestError where the model does not hold that."""
    from bezel.catalog.memory import sized_footprint
    from bezel.catalog.variants import find
    from bezel.weights.checkpoint import LEVELS
    from bezel.weights.hub import parse_reference

    if level is not None and level not in LEVELS:
        raise InvalidRequestError(f"unknown level {level!r}; choose one of {', '.join(LEVELS)}")
    format = LEVELS[level] if level else None
    try:
        reference = parse_reference(model)
    except (UnknownModelError, InvalidRequestError):
        reference = None
    if reference is None or (reference.path is None and not reference.file and not reference.revision):
        variant = find(model)
        planned = _planned(context, variant.context)
        return sized_footprint(variant, format.name if format else "Q4_0", planned, size), planned
    from bezel.backends.loading import longest_context
    from bezel.weights.memory import predicted
    from bezel.weights.slice import sliced

    checkpoint = _opened(reference)
    try:
        longest = longest_context(checkpoint)
        planned = _planned(context, longest)
        if not 0 < planned <= longest:
            raise InvalidRequestError(f"{model} holds 1 to {longest} tokens of context, not {planned}")
        return predicted(sliced(checkpoint, size) if size is not None else checkpoint, format, planned), planned
    finally:
        checkpoint.close()


def _opened(reference: Reference) -> Checkpoint:
    from bezel.weights.checkpoint import open_checkpoint
    from bezel.weights.remote import open_remote

    return open_remote(reference) if reference.path is None else open_checkpoint(reference.path)


def _checkpoint(reference: Reference) -> dict[str, Any]:
    from bezel.backends.loading import longest_context

    checkpoint = _opened(reference)
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
            "context": f"{longest_context(checkpoint)} tokens",
            "tensors": formats,
            "size": options.gigabytes(sum(info.nbytes for info in infos)),
        }
    finally:
        checkpoint.close()
