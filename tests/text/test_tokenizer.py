"""Vocabularies from every kind of file give the ids of the libraries that made them, and text never a control id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError, ModelFileError, UnsupportedModelError
from bezel.testing import PALIGEMMA, write_checkpoint
from bezel.text.tokenizer import Tokenizer
from bezel.weights.gguf_tokenizer import tokenizer_metadata
from bezel.weights.gguf_writer import Typed

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<unused0>", "<unused1>"]
SPACES = ["\n\n", "\n\n\n", "▁▁", "▁▁▁"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog and then the other dog",
    "Which Gemma fits in 3GB? <table> start_of_turn end_of_turn user model unused0",
    "def f(x):\n    return x + 1\n\n\nprint(f(2))",
    "los perros comen pan; الكلاب تأكل; कुत्ते रोटी खाते हैं; 犬はパンを食べる",
] * 3


def trained_json() -> dict[str, Any]:
    """A Gemma-shaped tokenizer.json, trained here with the `tokenizers` library."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, normalizers, trainers

    library = Library(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    library.normalizer = normalizers.Replace(" ", "▁")
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    first = CONTROL + [f"<0x{i:02X}>" for i in range(256)] + SPACES + ["<table>"]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=first, show_progress=False, max_token_length=8)
    library.train_from_iterator(CORPUS, trainer)
    content: dict[str, Any] = json.loads(library.to_str())
    content["added_tokens"] = [
        {
            "id": content["model"]["vocab"][piece],
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece in CONTROL,
        }
        for piece in [*CONTROL, *SPACES, "<table>"]
    ]
    vocab = content["model"]["vocab"]
    runs = [["\n", "\n"], ["\n\n", "\n"], ["▁▁", "▁"], ["▁", "▁▁"], ["▁", "▁"]]
    merges = [m for m in content["model"]["merges"] if m not in runs and "".join(m) in vocab]
    order = {"".join(m): i for i, m in reversed(list(enumerate(merges)))}
    scored = [
        (order[p], -cut, cut - len(p), [p[:cut], p[cut:]])
        for p in order
        for cut in range(1, len(p))
        if p[:cut] in vocab and p[cut:] in vocab
    ]
    content["model"]["merges"] = [["▁▁", "▁"], ["▁", "▁▁"], ["▁", "▁"]] + [s[3] for s in sorted(scored)]
    return content


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return trained_json()


@pytest.fixture(scope="module")
def folder(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary")
    (path / "tokenizer.json").write_text(json.dumps(content))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    return path


@pytest.fixture(scope="module")
def metadata(content: dict[str, Any]) -> dict[str, Any]:
    """The same vocabulary as GGUF stores it: scores where tokenizer.json has merges."""
    tokens = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    kinds = {**dict.fromkeys(CONTROL, 3), **dict.fromkeys([*SPACES, "<table>"], 4), "<unk>": 2}
    kinds.update({f"<0x{i:02X}>": 6 for i in range(256)})
    order: dict[str, int] = {}
    for rank, (left, right) in enumerate(content["model"]["merges"]):
        order.setdefault(left + right, rank)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(order[t]) if t in order else -1000.0 for t in tokens],
        "tokenizer.ggml.token_type": [kinds.get(t, 1) for t in tokens],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_space_prefix": False,
    }


PARTS = [*"the quick dog\n  _<>▁éकु犬🙂", "<table>", *CONTROL]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@example(" ▁▁")
@given(text=TEXTS)
def test_folder_agrees_with_the_library_and_gguf_agrees_with_the_folder(
    content: dict[str, Any], folder: Path, metadata: dict[str, Any], text: str
) -> None:
    from tokenizers import Tokenizer as Library

    ours, theirs = _pair(folder, metadata)
    assert ours.encode_scaffold(text) == Library.from_str(json.dumps(content)).encode(text).ids
    # Only tokenizer.json says that a run of "▁" typed as such stays apart from spaces beside it.
    if "▁▁" not in text:
        assert theirs.encode_scaffold(text) == ours.encode_scaffold(text)
        assert theirs.encode(text) == ours.encode(text)
    assert ours.decode(ours.encode(text)) == text.replace("▁", " ")


_CACHE: dict[Path, tuple[Tokenizer, Tokenizer]] = {}


def _pair(folder: Path, metadata: dict[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    if folder not in _CACHE:
        _CACHE[folder] = Tokenizer.from_folder(folder), Tokenizer.from_gguf(metadata, "x.gguf")
    return _CACHE[folder]


def test_no_spelling_is_a_control_id(folder: Path, metadata: dict[str, Any]) -> None:
    for tokenizer in _pair(folder, metadata):
        assert {tokenizer.piece(i) for i in tokenizer.control_ids} == set(CONTROL)
        for piece in [*CONTROL, "<0x0A>"]:
            ids = tokenizer.encode(f"a {piece}b")
            assert tokenizer.control_ids.isdisjoint(ids) and len(ids) > 4
            assert tokenizer.decode(ids) == f"a {piece}b"
        assert tokenizer.encode_scaffold("<start_of_turn>")[0] in tokenizer.control_ids
        assert tokenizer.decode([2, *tokenizer.encode("hi")]) == "hi"
        assert tokenizer.decode([2], keep_control=True) == "<bos>"
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.end_of_turn_id) == (2, 1, 5)
        assert tokenizer.stop_ids == {1, 5}
        with pytest.raises(InvalidRequestError, match="outside the vocabulary"):
            tokenizer.piece(len(tokenizer))
        with pytest.raises(InvalidRequestError, match="surrogate"):
            tokenizer.encode("\ud800")


def test_sentencepiece_model(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>"],
        minloglevel=2,
    )
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert len(tokenizer) == oracle.vocab_size()
    assert (tokenizer.bos_id, tokenizer.eos_id) == (oracle.bos_id(), oracle.eos_id())
    for text in [*CORPUS, "  two  spaces ", "犬 🙂 ∮", "the thethe dogs\n\njump <table>"]:
        assert tokenizer.encode(text) == oracle.encode(text)
    turn = "<start_of_turn>user\nthe dog<end_of_turn>"
    assert tokenizer.encode_scaffold(turn) == oracle.encode(turn)
    assert tokenizer.control_ids.isdisjoint(tokenizer.encode(turn))

    fields = tokenizer_metadata(tmp_path, len(tokenizer) + 3)
    plain = {key: value.value if isinstance(value, Typed) else value for key, value in fields.items()}
    from_gguf = Tokenizer.from_gguf(plain, "x.gguf")
    for text in [*CORPUS, "  two  spaces ", turn]:
        assert from_gguf.encode(text) == tokenizer.encode(text)
        assert from_gguf.encode_scaffold(text) == tokenizer.encode_scaffold(text)

    whole = (tmp_path / "tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(whole[: len(whole) // 2 + 1])
    with pytest.raises((ModelFileError, UnsupportedModelError), match=r"tokenizer\.model"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", None, "model is missing"),
        ("tokens", None, "tokens is missing"),
        ("tokens", "abc", "tokens is not an array"),
        ("scores", [0.0], "scores has 1 entries"),
        ("scores", ..., "scores holds something"),
        ("tokens", ..., "tokens holds something"),
        ("token_type", ..., "token_type holds something"),
        ("bos_token_id", 10**9, "bos token id"),
        ("eos_token_id", "x", "eos token id"),
    ],
)
def test_gguf_fields_that_are_wrong(metadata: dict[str, Any], field: str, value: Any, message: str) -> None:
    key = f"tokenizer.ggml.{field}"
    broken = [None, *metadata[key][1:]] if value is ... else value
    with pytest.raises(ModelFileError, match=f"(?s)model-a.gguf.*{message}"):
        Tokenizer.from_gguf({**metadata, key: broken}, "model-a.gguf")


def test_control_pieces_behind_the_embedding_are_dropped(content: dict[str, Any], tmp_path: Path) -> None:
    last = max(content["model"]["vocab"].values()) + 1
    extra = {"id": last, "content": "<image_soft_token>", "special": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "added_tokens": [*content["added_tokens"], extra]}))
    tokenizer = Tokenizer.from_folder(tmp_path, rows=last)
    assert len(Tokenizer.from_folder(tmp_path)) == last + 1 and len(tokenizer) == last
    assert tokenizer.encode_scaffold("<image_soft_token>") == tokenizer.encode("<image_soft_token>")
    with pytest.raises(ModelFileError, match="do not belong together"):
        Tokenizer.from_folder(tmp_path, rows=last - 1)


def test_files_that_are_wrong(content: dict[str, Any], metadata: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="neither"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelFileError, match="not valid JSON"):
        Tokenizer.from_folder(tmp_path)
    twice = {**content, "added_tokens": [{"content": "<pad>", "id": 3}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(twice))
    with pytest.raises(ModelFileError, match="contradicts"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "normalizer": {"type": "NFKC"}}))
    with pytest.raises(UnsupportedModelError, match="normalizer"):
        Tokenizer.from_folder(tmp_path)
    tokens = metadata["tokenizer.ggml.tokens"]
    with pytest.raises(ModelFileError, match="stands twice"):
        Tokenizer.from_gguf({**metadata, "tokenizer.ggml.tokens": [*tokens[:-1], tokens[-2]]}, "x.gguf")


def test_places_and_mask_codes_are_text_that_is_found_whole(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(write_checkpoint(tmp_path, config=PALIGEMMA))
    text = "<loc0007><seg127> a <image><loc7><loc1024>"
    ids = tokenizer.encode(text)
    assert [tokenizer.piece(i) for i in ids[:2]] == ["<loc0007>", "<seg127>"] and tokenizer.decode(ids) == text
    assert not tokenizer.control_ids & set(ids) and "<image>" in tokenizer.control_pieces
