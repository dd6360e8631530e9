"""The tokenizer of a Hugging Face folder as GGUF metadata, in the form that llama.cpp reads for Gemma."""

from __future__ import annotations

from pathlib import Path

from bezel.text.vocabulary import Kind, Vocabulary, vocabulary_from_folder
from bezel.weights.companions import folder_template
from bezel.weights.gguf_writer import Kind as ValueKind
from bezel.weights.gguf_writer import Typed

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_IDS = {"<unk>": "unknown", "<pad>": "padding", "<end_of_turn>": "eot"}


def tokenizer_metadata(folder: Path, rows: int) -> dict[str, Typed | str | bool]:
    """`tokenizer.*` for a folder whose embedding has `rows` rows; a folder of bare weights gets the model "none".

    Raises ModelFileError for a broken tokenizer and UnsupportedModelError for one that is not Gemma's kind (BPE with
    bytes as the last resort).
    """
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        return {"tokenizer.ggml.model": "none"}
    vocabulary = vocabulary_from_folder(folder).within(rows)
    unused = range(len(vocabulary.pieces), rows)
    tokens = [piece or f"[PAD{i}]" for i, piece in enumerate(vocabulary.pieces)] + [f"[PAD{i}]" for i in unused]
    metadata: dict[str, Typed | str | bool] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": Typed(ValueKind.STRING, tokens),
        "tokenizer.ggml.scores": Typed(ValueKind.FLOAT32, _scores(vocabulary, tokens)),
        "tokenizer.ggml.token_type": Typed(ValueKind.INT32, _types(vocabulary) + [_UNUSED] * len(unused)),
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
    ids = {name: vocabulary.pieces.index(piece) for piece, name in _IDS.items() if piece in vocabulary.pieces}
    for name, token_id in {"bos": vocabulary.bos_id, "eos": vocabulary.eos_id, **ids}.items():
        if token_id is not None:
            metadata[f"tokenizer.ggml.{name}_token_id"] = Typed(ValueKind.UINT32, token_id)
    template = folder_template(folder)
    return metadata if template is None else metadata | {"tokenizer.chat_template": template}


def _types(vocabulary: Vocabulary) -> list[int]:
    """A type for every id; what the tokenizer finds before merging is "user defined"."""
    whole = set(vocabulary.whole)
    plain: dict[int, int] = {Kind.TEXT: _NORMAL, Kind.BYTE: _BYTE, Kind.CONTROL: _CONTROL}
    special = {"": _UNUSED, "<unk>": _UNKNOWN}
    return [
        _USER_DEFINED if piece in whole else special.get(piece, plain[kind])
        for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)
    ]


def _scores(vocabulary: Vocabulary, tokens: list[str]) -> list[float]:
    """The earlier a piece is first merged, the higher its score; llama.cpp merges the highest first."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(vocabulary.merges):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(token, len(vocabulary.merges))) for token in tokens]
