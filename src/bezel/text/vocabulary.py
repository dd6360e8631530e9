"""Pieces, their kinds and their merges, read from `tokenizer.json`, `tokenizer.model` or GGUF metadata."""

from __future__ import annotations

import enum
import json
import math
import operator
import re
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bezel.errors import ModelFileError, UnsupportedModelError
from bezel.text.merging import NEVER, ScoredMerges

_FILE_LIMIT = 256 << 20
_PIECES_LIMIT = 1 << 21
_PIECE_LENGTH_LIMIT = 256
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# Pieces that vocabularies list beside the control pieces although they are text: white space, HTML tags, and the places
# and codes of masks that PaliGemma is asked about and answers with.
_TEXT = re.compile(
    r"[\s▁]+|<loc\d{4}>|<seg\d{3}>"
    r"|</?(table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup|code|a|p|ul|ol|li)>"
)
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE_TYPE = range(1, 7)


class Kind(enum.IntEnum):
    """TEXT may come from any text, BYTE only from a character without a piece, CONTROL only from scaffolding."""

    TEXT = enum.auto()
    BYTE = enum.auto()
    CONTROL = enum.auto()


@dataclass(frozen=True)
class Vocabulary:
    """`pieces[id]` ("" is a hole); `kinds[id]`, a byte each; `merges`, best first; `whole`: text found before merging.

    A Gemma has 262,144 pieces, so nothing is copied that can be shared.
    """

    source: str
    pieces: Sequence[str]
    kinds: bytes
    merges: Sequence[tuple[str, str]]
    whole: tuple[str, ...]
    bos_id: int | None
    eos_id: int | None
    end_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bytes_found = self.kinds.count(Kind.BYTE)
        if bytes_found != 256:
            raise UnsupportedModelError(
                f"{self.source}: {bytes_found} of the 256 byte pieces <0x00> ... <0xFF> are there; only "
                "vocabularies with byte fallback, as Gemma's, can be read"
            )
        for name, token_id in [("bos", self.bos_id), ("eos", self.eos_id), *(("end", i) for i in self.end_ids)]:
            if token_id is not None and not (_is_integer(token_id) and 0 <= token_id < len(self.pieces)):
                raise ModelFileError(
                    f"{self.source}: {name} token id is {token_id!r}, the vocabulary has {len(self.pieces)} pieces; "
                    "fetch the file again"
                )

    def ids_of(self, kind: Kind) -> list[int]:
        """Every id of one kind, ascending."""
        return [token_id for token_id, found in enumerate(self.kinds) if found == kind]

    def within(self, rows: int) -> Vocabulary:
        """Without the control pieces behind the last of an embedding's `rows` rows.

        Gemma 3 1B lists an image token for which it has no row. Raises ModelFileError where text would be lost.
        """
        if len(self.pieces) <= rows:
            return self
        if any(kind != Kind.CONTROL for kind in self.kinds[rows:]):
            raise ModelFileError(
                f"{self.source}: the tokenizer has {len(self.pieces)} pieces and the model {rows}; "
                "they do not belong together, download the checkpoint again"
            )
        ends = tuple(i for i in self.end_ids if i < rows)
        return replace(self, pieces=self.pieces[:rows], kinds=self.kinds[:rows], end_ids=ends)


def vocabulary_from_folder(folder: Path) -> Vocabulary:
    """From `tokenizer.json`, else `tokenizer.model`; end ids from `generation_config.json`."""
    config = _json_file(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    generation = _json_file(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    ends = generation.get("eos_token_id")
    end_ids = tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)
    if (folder / "tokenizer.json").exists():
        return _from_json(folder / "tokenizer.json", config, end_ids)
    if (folder / "tokenizer.model").exists():
        return _from_sentencepiece(folder / "tokenizer.model", end_ids)
    raise ModelFileError(f"{folder}: neither tokenizer.json nor tokenizer.model is there; download the folder again")


def vocabulary_from_gguf(metadata: Mapping[str, Any], source: str) -> Vocabulary:
    """From the `tokenizer.ggml.*` fields; merges follow from the scores."""

    def fail(field: str, problem: str) -> ModelFileError:
        return ModelFileError(
            f"{source}: tokenizer.ggml.{field} {problem}; convert the model again or name a folder with tokenizer.json"
        )

    model = metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str):
        raise fail("model", "is missing" if model is None else "is not a string")
    if model not in ("llama", "gemma", "gemma4"):
        raise UnsupportedModelError(
            f"{source}: tokenizer.ggml.model is {model[:80]!r}, readable is 'llama'; "
            "use a folder with tokenizer.json instead"
        )
    if metadata.get("tokenizer.ggml.add_space_prefix", False):
        raise UnsupportedModelError(f"{source}: tokenizer.ggml.add_space_prefix is set, which no Gemma does")
    columns = {}
    for field in ("tokens", "scores", "token_type"):
        value = metadata.get(f"tokenizer.ggml.{field}")
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise fail(field, "is missing" if value is None else "is not an array")
        columns[field] = value
    tokens, scores, types = columns["tokens"], columns["scores"], columns["token_type"]
    for field, value in columns.items():
        if len(value) != len(tokens):
            raise fail(field, f"has {len(value)} entries, tokenizer.ggml.tokens has {len(tokens)}")
    if not set(map(type, tokens)) <= {str}:
        raise fail("tokens", "holds something that is not a string")
    if not set(map(type, scores)) <= {float, int} or any(map(math.isnan, scores)):
        raise fail("scores", "holds something that is not a number")
    if not set(map(type, types)) <= {int} or not set(types) <= set(range(_NORMAL, _BYTE_TYPE + 1)):
        raise fail("token_type", "holds something that is not a token type (1 to 6)")
    ids = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot")}
    ends = () if ids["eot"] is None else (ids["eot"],)
    return _from_scores(source, tokens, scores, types, ids["bos"], ids["eos"], ends)


def _from_scores(
    source: str,
    pieces: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    bos_id: Any,
    eos_id: Any,
    end_ids: tuple[Any, ...],
) -> Vocabulary:
    """Merges are all pairs that make a piece, best score of the result first."""
    ids = _numbered(source, pieces)
    costs = array("d", map(operator.neg, scores))
    kinds, whole = bytearray([Kind.TEXT]) * len(pieces), []
    for token_id, t in enumerate(types):
        if t == _NORMAL:
            continue
        piece = pieces[token_id]
        kind = kinds[token_id] = _kind(piece, t == _BYTE_TYPE)
        if t != _USER_DEFINED or kind != Kind.TEXT:
            continue
        if piece.startswith("<"):
            costs[token_id] = NEVER
        elif _TEXT.fullmatch(piece):
            costs[token_id] = -NEVER
        if piece.strip("▁"):
            whole.append(piece)
    for piece in _BYTES & ids.keys():
        kinds[ids[piece]] = Kind.BYTE
    text = int(Kind.TEXT)
    for token_id in [i for i, kind in enumerate(kinds) if kind != text]:
        ids.pop(pieces[token_id], None)
    ids.pop("", None)
    merges = ScoredMerges(ids, costs)
    return Vocabulary(source, pieces, bytes(kinds), merges, tuple(whole), bos_id, eos_id, end_ids)


def _from_json(path: Path, config: Mapping[str, Any], end_ids: tuple[Any, ...]) -> Vocabulary:
    content = _json_file(path)

    def fail(field: str, problem: str) -> ModelFileError:
        return ModelFileError(f"{path}: {field} {problem}; download the file again")

    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise fail("model.vocab", "is missing")
    if model.get("type", "BPE") != "BPE" or not model.get("byte_fallback"):
        raise UnsupportedModelError(f"{path}: model is not a BPE with byte_fallback, as Gemma's are")
    if not _replaces_space(content.get("normalizer"), content.get("pre_tokenizer")):
        raise UnsupportedModelError(f"{path}: normalizer does more than replace a space by ▁, as Gemma's do")
    ids: dict[str, Any] = dict(model["vocab"])
    added = content.get("added_tokens") or []
    if not isinstance(added, list):
        raise fail("added_tokens", "is not a list")
    for entry in added:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise fail("added_tokens", "holds an entry without content")
        if ids.setdefault(entry["content"], entry.get("id")) != entry.get("id"):
            raise fail("added_tokens", f"gives {entry['content'][:80]!r} an id that model.vocab contradicts")
    if not all(_is_integer(i) and 0 <= i < _PIECES_LIMIT for i in ids.values()):
        raise fail("model.vocab", f"holds an id that is not a number under {_PIECES_LIMIT}")
    if len(set(ids.values())) != len(ids):
        raise fail("model.vocab", "gives one id to two pieces")
    pieces = [""] * (max(ids.values(), default=-1) + 1)
    for piece, token_id in ids.items():
        pieces[token_id] = piece
    _numbered(str(path), pieces)
    listed = {entry["content"] for entry in added} | {model.get("unk_token")}
    kinds = bytes(_kind(piece, piece not in listed) for piece in pieces)
    merges = []
    if not isinstance(model.get("merges", []), list):
        raise fail("model.merges", "is not a list")
    for merge in model.get("merges", []):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or any(p not in ids for p in (*pair, "".join(pair))):
            raise fail("model.merges", f"holds {str(merge)[:80]!r}, which does not join two pieces to a third")
        merges.append((pair[0], pair[1]))
    whole = tuple(e["content"] for e in added if _TEXT.fullmatch(e["content"]))
    bos, eos = (ids.get(_token_name(config.get(f"{name}_token"), f"<{name}>")) for name in ("bos", "eos"))
    return Vocabulary(str(path), pieces, kinds, merges, whole, bos, eos, end_ids)


def _from_sentencepiece(path: Path, end_ids: tuple[Any, ...]) -> Vocabulary:
    """From sentencepiece's ModelProto: 1 = pieces (1 text, 2 score, 3 type), 2 = trainer, 3 = normaliser."""
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _protobuf(_bounded(path)):
            if field == 1:
                piece = dict(_protobuf(value))
                pieces.append(piece[1].decode("utf-8"))
                scores.append(struct.unpack("<f", piece.get(2, bytes(4)))[0])
                types.append(piece.get(3, _NORMAL))
            elif field == 2:
                trainer = dict(_protobuf(value))
            elif field == 3:
                normalizer = dict(_protobuf(value))
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise ModelFileError(f"{path}: not a sentencepiece model ({error}); download the file again") from error
    if trainer.get(3, 1) != 2:
        raise UnsupportedModelError(f"{path}: trainer_spec.model_type is not BPE, as Gemma's are")
    if normalizer.get(3, 1) or normalizer.get(4, 1) or normalizer.get(2):
        raise UnsupportedModelError(f"{path}: normalizer_spec changes the text, which Gemma's do not")
    bos_id, eos_id = trainer.get(41, 1), trainer.get(42, 2)
    bos_id, eos_id = (i if i < len(pieces) else None for i in (bos_id, eos_id))
    return _from_scores(str(path), pieces, scores, types, bos_id, eos_id, end_ids)


def _protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of one message: integers for varints, bytes for everything else."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 70, 7):
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a varint is longer than ten bytes")

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        if key & 7 not in (1, 2, 5):
            raise ValueError(f"wire type {key & 7}")
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        if place + size > len(data):
            raise ValueError("a field reaches past the end")
        yield key >> 3, data[place : place + size]
        place += size


def _kind(piece: str, ordinary: bool) -> Kind:
    if piece in _BYTES:
        return Kind.BYTE
    return Kind.TEXT if ordinary or _TEXT.fullmatch(piece) else Kind.CONTROL


def _numbered(source: str, pieces: Sequence[str]) -> dict[str, int]:
    """Piece to id. ModelFileError for too many or too long pieces and for one that stands twice ("" may)."""
    if len(pieces) > _PIECES_LIMIT:
        raise ModelFileError(f"{source}: {len(pieces)} tokens, at most {_PIECES_LIMIT} can be read")
    if max(map(len, pieces), default=0) > _PIECE_LENGTH_LIMIT:
        raise ModelFileError(f"{source}: a token is longer than {_PIECE_LENGTH_LIMIT} characters; fetch the file again")
    ids = dict(zip(pieces, range(len(pieces)), strict=True))
    if len(ids) + max(0, pieces.count("") - 1) != len(pieces):
        twice = next(piece for token_id, piece in enumerate(pieces) if piece and ids[piece] != token_id)
        raise ModelFileError(f"{source}: token {twice[:80]!r} stands twice; fetch the file again")
    return ids


def _replaces_space(normalizer: Any, pre_tokenizer: Any) -> bool:
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    if steps and all(step == replaced for step in steps):
        return True
    metaspace = isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Metaspace"
    return not steps and metaspace and pre_tokenizer.get("prepend_scheme") == "never" and not pre_tokenizer.get("split")


def _token_name(value: Any, default: str) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > _FILE_LIMIT:
        raise ModelFileError(f"{path}: larger than {_FILE_LIMIT >> 20} MiB, which no tokenizer is")
    return path.read_bytes()


def _json_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_bounded(path))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not valid JSON ({error}); download the file again") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: not a JSON object; download the file again")
    return content
