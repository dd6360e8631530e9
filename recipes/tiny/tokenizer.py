"""Trains tokenizers: BPE with byte fallback, of 2,048 pieces for the text model.

There digits, underscores, spaces and line breaks always stand alone, so that an identifier has the same pieces
in prose ("room name"), in a function's name ("room_name") and in JSON.
"""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from bezel.text.vocabulary import vocabulary_from_gguf
from bezel.training.data import rendering
from bezel.weights.checkpoint import open_checkpoint
from recipes.tiny.mix import GENERATORS

SIZE = 2048
CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"]
ALONE = r"\d|▁|\n|_|\p{L}\p{M}*(?:\p{L}|\p{M})*|[^\p{L}\d▁\n_]+"
WITH_SPACES = r"\d|\n|▁?\p{L}\p{M}*(?:\p{L}|\p{M})*|▁|[^\p{L}\d▁\n]"
"""How texts are split: spaces alone, as between the words of a name; or in front of the words behind them."""
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_COUNTS = {"calls": 12000, "advisor": 6000, "copying": 5000, "phrases": 4000, "refusals": 3000, "sums": 2000}


def train() -> Tokenizer:
    """That of the text model; the same on every run."""
    rng = random.Random(7)
    texts = []
    for task, count in _COUNTS.items():
        for _ in range(count):
            prompt, answer = rendering.pair(GENERATORS[task](rng, "train"))
            texts.append((prompt + answer).replace("<start_of_turn>", "").replace("<end_of_turn>", ""))
    return trained_on(texts, SIZE, CONTROL)


def trained_on(
    texts: Iterable[str], size: int, control: Sequence[str], words: str = ALONE, frequency: int = 3
) -> Tokenizer:
    """BPE of `size` pieces; merges stay within `words`, a pattern that splits a text."""
    control = list(control)
    tokenizer = _around(models.BPE(byte_fallback=True, unk_token="<unk>"), words)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=control + BYTES,
            initial_alphabet=[chr(code) for code in range(33, 127)] + ["▁", "\n"],
            min_frequency=frequency,
            show_progress=False,
        ),
    )
    # A text that spells "<0x0A>" must not become that byte, so bytes are pieces but not added tokens.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in control]
    return Tokenizer.from_str(json.dumps(state))


def of_gguf(path: Path, control: Sequence[str] = CONTROL, words: str = ALONE) -> Tokenizer:
    """The tokenizer of a tiny that was exported, to train it on; `control` and `words` as it was trained with."""
    checkpoint = open_checkpoint(path)
    vocabulary = vocabulary_from_gguf(checkpoint.metadata, str(path))
    checkpoint.close()
    pieces = {piece: number for number, piece in enumerate(vocabulary.pieces)}
    model = models.BPE(pieces, list(vocabulary.merges), byte_fallback=True, unk_token="<unk>")
    tokenizer = _around(model, words)
    tokenizer.add_special_tokens(list(control))
    return tokenizer


def _around(model: models.BPE, words: str = ALONE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(words), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def load_or_train(folder: Path, start: Path | None = None) -> Tokenizer:
    """The run's tokenizer, kept in `folder`: that of the GGUF `start`, or trained once."""
    path = folder / "tokenizer.json"
    if not path.exists():
        (of_gguf(start) if start else train()).save(str(path))
    return Tokenizer.from_file(str(path))
