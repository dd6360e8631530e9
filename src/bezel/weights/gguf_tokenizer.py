"""The tokenizer of a Hugging Face folder as GGUF metadata, in the form that llama.cpp reads for Gemma."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.weights.checkpoint import read_json
from bezel.weights.gguf_writer import Kind, Typed

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SPECIAL = {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>"}
_KEYS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def tokenizer_metadata(folder: Path, vocabulary: int) -> dict[str, Typed | str | bool]:
    """`tokenizer.*` for a folder whose embedding has `vocabulary` rows.

    A folder of bare weights gets the model "none". Raises ModelFileError for a broken tokenizer and
    UnsupportedModelError for one that is not Gemma's kind (BPE with bytes as the last resort).
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        if (folder / "tokenizer.model").exists():
            raise ModelFileError(f"{path}: missing; download it from the checkpoint's repository")
        return {"tokenizer.ggml.model": "none"}
    tokenizer = read_json(path)
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens", [])
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or not isinstance(added, list):
        raise ModelFileError(f"{path}: model, its vocab or added_tokens are not what a tokenizer has")
    if model.get("type", "BPE") != "BPE" or not model.get("byte_fallback"):
        raise UnsupportedModelError(f"{path}: {model.get('type')} without byte_fallback is not a Gemma tokenizer")
    tokens, types = _tokens(path, model, added, vocabulary)
    scores = _scores(path, model.get("merges", []), tokens)
    ids = {token: i for i, token in enumerate(tokens)}
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.exists() else {}
    metadata: dict[str, Typed | str | bool] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": Typed(Kind.STRING, tokens),
        "tokenizer.ggml.scores": Typed(Kind.FLOAT32, scores),
        "tokenizer.ggml.token_type": Typed(Kind.INT32, types),
    }
    for name, default in _SPECIAL.items():
        token = config.get(f"{name}_token") or default
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token in ids:
            metadata[f"tokenizer.ggml.{_KEYS[name]}_token_id"] = Typed(Kind.UINT32, ids[token])
    if "<end_of_turn>" in ids:
        metadata["tokenizer.ggml.eot_token_id"] = Typed(Kind.UINT32, ids["<end_of_turn>"])
    metadata["tokenizer.ggml.add_bos_token"] = config.get("add_bos_token", True) is not False
    metadata["tokenizer.ggml.add_eos_token"] = config.get("add_eos_token", False) is True
    metadata["tokenizer.ggml.add_space_prefix"] = False
    template = _chat_template(folder, config)
    if template is not None:
        metadata["tokenizer.chat_template"] = template
    return metadata


def _tokens(path: Path, model: Mapping[str, Any], added: list[Any], vocabulary: int) -> tuple[list[str], list[int]]:
    """Every id's piece and type; ids that the tokenizer leaves out are unused.

    Added tokens behind the last row are dropped: Gemma 3 1B lists one for images and has no row for it.
    """
    tokens, types = [f"[PAD{i}]" for i in range(vocabulary)], [_UNUSED] * vocabulary
    unknown = model.get("unk_token")
    for token, i in model["vocab"].items():
        if type(i) is not int or not 0 <= i < vocabulary:
            raise ModelFileError(f"{path}: token {token[:40]!r} has the id {i!r}; the embedding has {vocabulary} rows")
        byte = _BYTE_TOKEN.fullmatch(token)
        tokens[i], types[i] = token, _BYTE if byte else _UNKNOWN if token == unknown else _NORMAL
    for entry in added:
        if not isinstance(entry, dict) or type(entry.get("id")) is not int or not isinstance(entry.get("content"), str):
            raise ModelFileError(f"{path}: added_tokens holds an entry without id and content")
        i, token = entry["id"], entry["content"]
        if 0 <= i < vocabulary and types[i] != _BYTE:
            kind = _CONTROL if entry.get("special") else _USER_DEFINED
            tokens[i], types[i] = token, _UNKNOWN if token == unknown else kind
    if len(set(tokens)) != vocabulary:
        raise ModelFileError(f"{path}: a token stands under two ids")
    return tokens, types


def _scores(path: Path, merges: Any, tokens: list[str]) -> list[float]:
    """The earlier a piece is first merged, the higher its score; llama.cpp merges the highest first."""
    ranks: dict[str, int] = {}
    if not isinstance(merges, list):
        raise ModelFileError(f"{path}: merges is not a list")
    for rank, merge in enumerate(merges):
        pair = merge.split(" ", 1) if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(half, str) for half in pair):
            raise ModelFileError(f"{path}: merge {rank} is not a pair of pieces")
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ModelFileError(f"{path}: not UTF-8; download it again") from None
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
