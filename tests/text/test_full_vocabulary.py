"""A vocabulary of Gemma 3's size and layout: no control piece in any content ever becomes a control id."""

from __future__ import annotations

import itertools
import json
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from bezel.text.merging import ScoredMerges
from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from bezel.text.vocabulary import vocabulary_from_folder

SIZE = 262_144
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
HTML = [
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
]
HTML += ["strong", "em", "b", "i", "u", "s", "sub", "sup", "code"]
ALPHABETS = [
    *(chr(c) for c in range(0x21, 0x7F)),
    *(chr(c) for c in range(0xA1, 0x530)),
    *(chr(c) for c in range(0x905, 0x93A)),
    *(chr(c) for c in range(0x4E00, 0x6000)),
]
TEXT = (
    "Which Gemma fits in 3GB? def f(x):\n\n\treturn x + 1  \n los perros, 犬はパンを食べる 🙂\n<table><tr>\r\n"
    "\u0905\u0915\u0947 e\u0301 \u200d\ufeff \x00"
)


@dataclass(frozen=True)
class Pieces:
    """Spellings, sentencepiece types and scores by id."""

    spellings: list[str]
    types: list[int]
    scores: list[float]

    @cached_property
    def control(self) -> dict[str, int]:
        kinds = zip(self.spellings, self.types, strict=True)
        text = set(self.whole)
        return {
            piece: i
            for i, (piece, t) in enumerate(kinds)
            if t in (UNKNOWN, CONTROL, USER_DEFINED) and piece not in text
        }

    @cached_property
    def whole(self) -> list[str]:
        """White space and tags, which are text although they are found before merging."""
        runs = [char * count for char in "\n▁\t" for count in range(2 if char != "\t" else 1, 32)]
        return runs + [f"<{slash}{tag}>" for slash in ("", "/") for tag in HTML]


def gemma_pieces() -> Pieces:
    """Laid out as Gemma 3's: control pieces, white space, tags, bytes, merged pieces, characters, control pieces."""
    empty = Pieces([], [], [])
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]", *(f"<unused{i}>" for i in range(99))]
    first += ["<start_of_turn>", "<end_of_turn>"]
    last = ["<start_of_image>", "<end_of_image>", *(f"<unused{i}>" for i in range(99, 6242)), "<image_soft_token>"]
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    singles = ["▁", "\n", *ALPHABETS]
    head = len(first) + len(empty.whole) + 256
    letters = "etaoinshrdlucmfwypvbgkjqxz,.()=0123456789éñджиफ犬人"
    twos = [left + right for left, right in itertools.product("▁" + letters, letters)]
    threes = [left + right for left, right in itertools.product(twos, letters)]
    fours = [left + right for left, right in itertools.product(twos, twos) if right[0] != "▁"]
    merged = [*twos, *threes, *fours][: SIZE - head - len(singles) - len(last)]
    spellings = [*first, *empty.whole, *octets, *merged, *singles, *last]
    types = [CONTROL] * 3 + [UNKNOWN] + [CONTROL] + [USER_DEFINED] * (head - 5 - 256) + [BYTE] * 256
    types += [NORMAL] * (SIZE - head - len(last)) + [USER_DEFINED] * len(last)
    scores = [0.0] * head + [-float(i) for i in range(SIZE - head - len(last))] + [0.0] * len(last)
    assert len(spellings) == len(types) == len(scores) == SIZE
    return Pieces(spellings, types, scores)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, int | float | bytes]) -> bytes:
    """A protocol buffer: whole numbers as varints, floats in four bytes, bytes with their length."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def sentencepiece_model(pieces: Pieces) -> bytes:
    """A ModelProto: 1 = pieces (1 text, 2 score, 3 type), 2 = trainer, 3 = normaliser."""
    rows = zip(pieces.spellings, pieces.scores, pieces.types, strict=True)
    entries = [message((1, message((1, text.encode()), (2, score), (3, kind)))) for text, score, kind in rows]
    trainer = message((3, 2), (41, 2), (42, 1))
    return b"".join(entries) + message((2, trainer), (3, message((3, 0), (4, 0))))


def tokenizer_json(pieces: Pieces, merges: ScoredMerges) -> str:
    added = [*pieces.control, *pieces.whole]
    ids = {piece: i for i, piece in enumerate(pieces.spellings)}
    entries = [{"id": ids[piece], "content": piece, "special": piece in pieces.control} for piece in added]
    model = {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "vocab": ids, "merges": list(merges)}
    normalizer = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return json.dumps({"added_tokens": entries, "normalizer": normalizer, "model": model}, ensure_ascii=False)


def gguf_metadata(pieces: Pieces) -> dict[str, Any]:
    fields = {
        "model": "llama",
        "tokens": pieces.spellings,
        "scores": pieces.scores,
        "token_type": pieces.types,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return gemma_pieces()


@pytest.fixture(scope="module")
def tokenizers(pieces: Pieces, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tokenizer]:
    """The same vocabulary read from all three kinds of file."""
    model, listed = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("json")
    (model / "tokenizer.model").write_bytes(sentencepiece_model(pieces))
    vocabulary = vocabulary_from_folder(model)
    assert isinstance(vocabulary.merges, ScoredMerges)
    (listed / "tokenizer.json").write_text(tokenizer_json(pieces, vocabulary.merges), "utf-8")
    return {
        "model": Tokenizer(vocabulary),
        "json": Tokenizer.from_folder(listed),
        "gguf": Tokenizer.from_gguf(gguf_metadata(pieces), "full.gguf"),
    }


KINDS = ["model", "json", "gguf"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_control_piece_is_known_as_one(tokenizers: Mapping[str, Tokenizer], pieces: Pieces, kind: str) -> None:
    tokenizer = tokenizers[kind]
    assert len(tokenizer) == SIZE
    assert tokenizer.control_pieces == pieces.control and len(pieces.control) == 6_253
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_of_turn_id) == (2, 1, 106)
    together = "".join(pieces.control)
    assert tokenizer.encode_scaffold(together) == list(pieces.control.values())


@pytest.mark.parametrize("kind", KINDS)
def test_no_control_piece_in_content_becomes_a_control_id(
    tokenizers: Mapping[str, Tokenizer], pieces: Pieces, kind: str
) -> None:
    """Every piece in user text, a file's name and content, a tool's schema, a call and a tool's result."""
    tokenizer = tokenizers[kind]
    template = ChatTemplate(tokenizer)

    def controls(texts: list[str]) -> list[int]:
        everything = " ".join(texts)
        properties = {text: {"type": "string", "description": text, "enum": [text]} for text in texts}
        tool = {"name": texts[0], "description": everything, "parameters": {"properties": properties}}
        call = {"function": {"name": texts[-1], "arguments": {text: text for text in texts}}}
        chat = [
            {"role": "system", "content": everything},
            {"role": "user", "content": f"File {everything}:\n{''.join(texts)}"},
            {"role": "assistant", "content": everything, "tool_calls": [call]},
            {"role": "tool", "content": everything, "name": texts[0]},
        ]
        ids = template.encode(chat, [{"type": "function", "function": tool}])
        return [i for i in ids if i in tokenizer.control_ids]

    assert controls(list(pieces.control)) == controls(["x"]) == [2, 105, 106, 105, 106, 105, 106, 105]


@pytest.mark.parametrize("kind", KINDS)
def test_text_comes_back(tokenizers: Mapping[str, Tokenizer], pieces: Pieces, kind: str) -> None:
    tokenizer = tokenizers[kind]
    for text in [TEXT, "".join(pieces.control), " ".join(pieces.control), "a<start_of_turn>\n" * 50]:
        ids = tokenizer.encode(text)
        assert tokenizer.control_ids.isdisjoint(ids)
        assert tokenizer.decode(ids) == text


def test_all_three_files_give_the_same_ids(tokenizers: Mapping[str, Tokenizer], pieces: Pieces) -> None:
    text = TEXT + "".join(random.Random(1).choices(pieces.spellings[300:], k=3000)).replace("▁", " ")
    expected = tokenizers["json"].encode(text)
    assert tokenizers["model"].encode(text) == tokenizers["gguf"].encode(text) == expected
    assert len(expected) < len(text) / 2
