"""Text to token ids and back, for sentencepiece-style BPE vocabularies with byte fallback (all of Gemma's).

Only one vocabulary is ever handed to the `tokenizers` library: the one without control pieces. Text therefore has no
way to a control id; `encode_scaffold` finds the control pieces itself and encodes only what stands between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bezel.errors import InvalidRequestError, ModelFileError
from bezel.text.merging import ScoredMerges, ScoreEncoder
from bezel.text.vocabulary import Kind, Vocabulary, vocabulary_from_folder, vocabulary_from_gguf

# What ends an answer beside what a checkpoint says: the turn's end, and a tool's result, which is ours to write.
_ENDS = ("<end_of_turn>", "<turn|>", "<start_function_response>", "<|tool_response>")


class Tokenizer:
    """Encodes and decodes with one vocabulary. Build it with `from_folder` or `from_gguf`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._encoder = _encoder(vocabulary)
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.control_ids = frozenset(vocabulary.ids_of(Kind.CONTROL))
        self._control = {vocabulary.pieces[i]: i for i in self.control_ids if vocabulary.pieces[i]}
        self.end_of_turn_id = self._control.get("<end_of_turn>")
        ends = {*vocabulary.end_ids, self.eos_id, *map(self._control.get, _ENDS)} - {None}
        self.stop_ids: frozenset[int] = frozenset(i for i in ends if i is not None)

    @classmethod
    def from_folder(cls, folder: Path | str, rows: int | None = None) -> Tokenizer:
        """From `tokenizer.json`, else `tokenizer.model`, of a Hugging Face folder. Raises ModelFileError.

        Control pieces behind an embedding's `rows` rows are left out.
        """
        vocabulary = vocabulary_from_folder(Path(folder))
        return cls(vocabulary if rows is None else vocabulary.within(rows))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any], source_name: str, rows: int | None = None) -> Tokenizer:
        """From the `tokenizer.ggml.*` fields of a GGUF; `source_name` is for messages. See `from_folder`."""
        vocabulary = vocabulary_from_gguf(metadata, source_name)
        return cls(vocabulary if rows is None else vocabulary.within(rows))

    def __len__(self) -> int:
        return len(self._vocabulary.pieces)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, control pieces and holes included."""
        return len(self)

    def agrees_with(self, other: Tokenizer) -> bool:
        """Do the same ids mean the same? Control pieces at the end that only one of the two has are let pass."""
        mine, theirs = self._vocabulary, other._vocabulary
        shared = min(len(self), len(other))
        more = (*mine.kinds[shared:], *theirs.kinds[shared:])
        return mine.pieces[:shared] == theirs.pieces[:shared] and all(kind == Kind.CONTROL for kind in more)

    @property
    def control_pieces(self) -> Mapping[str, int]:
        """Spelling to id, for every piece that only scaffolding may use."""
        return self._control

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as content: no spelling in it is ever a control id, and no BOS is put in front."""
        return self._encode(text)

    def encode_scaffold(self, text: str) -> list[int]:
        """Ids of trusted `text`, in which the spellings of control pieces become their ids."""
        return self.encode_segments(self.split_control(text))

    def split_control(self, text: str) -> list[tuple[str, bool]]:
        """`text` cut into (part, is it a control piece); the longest piece wins, empty parts are left out."""
        parts: list[tuple[str, bool]] = []
        begin = at = 0
        while self._control and (edge := self._control_edge.search(text, at)):
            at = edge.start()
            spelled = (text[at : at + length] for length in self._control_lengths)
            piece = next((part for part in spelled if part in self._control), None)
            if piece is None:
                at += 1
                continue
            parts += [(text[begin:at], False), (piece, True)]
            begin = at = at + len(piece)
        return [(part, control) for part, control in (*parts, (text[begin:], False)) if part]

    def encode_segments(self, segments: Iterable[tuple[str, bool]]) -> list[int]:
        """Ids of (part, is it a control piece) segments. Neighbouring ordinary parts are encoded as one text.

        Raises InvalidRequestError if a part that claims to be a control piece is none.
        """
        ids: list[int] = []
        run: list[str] = []
        for part, is_control in segments:
            if not is_control:
                run.append(part)
                continue
            if part not in self._control:
                raise InvalidRequestError(f"{part!r} is not a control piece of this vocabulary")
            ids += self._encode("".join(run))
            ids.append(self._control[part])
            run.clear()
        return ids + self._encode("".join(run))

    def decode(self, ids: Sequence[int], keep_control: bool = False) -> str:
        """Text of `ids`; control pieces are dropped unless kept, bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.piece_bytes(i, keep_control) for i in ids).decode("utf-8", errors="replace")

    def piece(self, token_id: int) -> str:
        """The piece as the vocabulary spells it (▁ for a space). Raises InvalidRequestError outside the vocabulary."""
        if not 0 <= token_id < len(self):
            raise InvalidRequestError(f"token id {token_id} is outside the vocabulary of {len(self)} pieces")
        return self._vocabulary.pieces[token_id]

    def is_byte(self, token_id: int) -> bool:
        """Whether the piece stands for one byte of a character that has no piece."""
        return self._vocabulary.kinds[token_id] == Kind.BYTE

    def piece_bytes(self, token_id: int, keep_control: bool = False) -> bytes:
        """What the piece adds to the text, as bytes: a byte piece is half a character as often as not."""
        piece, kind = self.piece(token_id), self._vocabulary.kinds[token_id]
        if kind == Kind.BYTE:
            return bytes([int(piece[3:5], 16)])
        if kind == Kind.CONTROL:
            return piece.encode() if keep_control else b""
        return piece.replace("▁", " ").encode()

    @cached_property
    def _control_edge(self) -> re.Pattern[str]:
        return re.compile("[" + re.escape("".join(sorted({piece[0] for piece in self._control}))) + "]")

    @cached_property
    def _control_lengths(self) -> list[int]:
        """Longest first. Six thousand alternatives in one pattern would be tried at every "<"."""
        return sorted({len(piece) for piece in self._control}, reverse=True)

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"the text has half a surrogate pair at character {error.start}; send valid Unicode"
            ) from error
        return self._encoder(text)


def _encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
    """Ids of text over everything but the control pieces."""
    if not isinstance(vocabulary.merges, ScoredMerges):
        return _library_encoder(vocabulary)
    byte_ids = sorted(vocabulary.ids_of(Kind.BYTE), key=vocabulary.pieces.__getitem__)
    return ScoreEncoder(vocabulary.merges, vocabulary.whole, byte_ids).encode


def _library_encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
    """The `tokenizers` library's, for merges that a file lists."""
    from tokenizers import AddedToken, models, normalizers
    from tokenizers import Tokenizer as Encoder

    hidden = {p for p, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True) if kind == Kind.CONTROL}
    sealed = {p for p, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True) if kind != Kind.TEXT}
    pieces = {piece: i for i, piece in enumerate(vocabulary.pieces) if piece and piece not in hidden}
    merges = [(a, b) for a, b in vocabulary.merges if sealed.isdisjoint((a, b, a + b))]
    try:
        model = models.BPE(vocab=pieces, merges=merges, byte_fallback=True)
    except Exception as error:
        raise ModelFileError(
            f"{vocabulary.source}: the pieces and merges contradict each other ({error}); fetch the file again"
        ) from error
    encoder = Encoder(model)
    encoder.normalizer = normalizers.Replace(" ", "▁")
    encoder.add_tokens([AddedToken(p, normalized=False, special=False) for p in vocabulary.whole])
    if encoder.get_vocab_size(with_added_tokens=True) != len(pieces):
        raise ModelFileError(
            f"{vocabulary.source}: an added piece is missing from the vocabulary; fetch the file again"
        )
    return lambda text: encoder.encode(text, add_special_tokens=False).ids
