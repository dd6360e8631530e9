"""What a checkpoint brings along beside its weights: the chat template and the sampling it recommends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bezel.errors import ModelFileError
from bezel.weights.checkpoint import Checkpoint, read_json

SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
}
_LIMIT = 4 << 20


def chat_template(checkpoint: Checkpoint) -> str | None:
    """The template's source from a folder or from GGUF metadata, or None. Raises ModelFileError."""
    if checkpoint.folder is not None:
        return folder_template(checkpoint.folder)
    source = checkpoint.metadata.get("tokenizer.chat_template")
    return source if isinstance(source, str) else None


def folder_template(folder: Path) -> str | None:
    """From `chat_template.jinja`, else `chat_template.json`, where Transformers 4 put that of a processor.

    Else from `tokenizer_config.json` (its "default" where there are several).
    """
    file = folder / "chat_template.jinja"
    if file.exists():
        return _read_text(file)
    processor = folder / "chat_template.json"
    source = read_json(processor).get("chat_template") if processor.exists() else None
    if isinstance(source, str):
        return source
    settings = folder / "tokenizer_config.json"
    source = read_json(settings).get("chat_template") if settings.exists() else None
    if isinstance(source, list):
        named = {each.get("name"): each.get("template") for each in source if isinstance(each, Mapping)}
        source = named.get("default")
    return source if isinstance(source, str) else None


def _read_text(file: Path) -> str:
    if file.stat().st_size > _LIMIT:
        raise ModelFileError(f"{file}: larger than {_LIMIT >> 20} MiB; this is not a chat template")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file}: not UTF-8 ({error}); download it again") from None


def recommended_sampling(checkpoint: Checkpoint) -> dict[str, int | float]:
    """`temperature`, `top_k` and `top_p` as far as the checkpoint names them; greedy is temperature 0.

    From `generation_config.json` of a folder or `general.sampling.*` of a GGUF. Raises ModelFileError.
    """
    if checkpoint.folder is None:
        found = {name: checkpoint.metadata.get(key) for name, key in SAMPLING_KEYS.items()}
    else:
        file = checkpoint.folder / "generation_config.json"
        settings = read_json(file) if file.exists() else {}
        greedy = settings.get("do_sample") is False
        found = {"temperature": 0.0} if greedy else {name: settings.get(name) for name in SAMPLING_KEYS}
    return {name: v for name, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
