"""Merging by scores gives what the `tokenizers` library gives with the table of all merges."""

from __future__ import annotations

from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.text.merging import NEVER, ScoredMerges, ScoreEncoder

OCTETS = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = st.text("ab▁", min_size=2, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    made=st.dictionaries(WORDS, st.sampled_from([-2.0, -1.0, 0.0, 1.0, -NEVER, NEVER]), max_size=25),
    text=st.text("ab c\n", max_size=120),
)
def test_merging_agrees_with_the_library(made: dict[str, float], text: str) -> None:
    from tokenizers import Tokenizer as Library
    from tokenizers import models, normalizers

    pieces = ["a", "b", "▁", *made]
    merges = ScoredMerges({piece: i for i, piece in enumerate(pieces)}, array("d", [0.0, 0.0, 0.0, *made.values()]))
    vocabulary = {piece: i for i, piece in enumerate([*pieces, *OCTETS])}
    library = Library(models.BPE(vocab=vocabulary, merges=list(merges), byte_fallback=True))
    library.normalizer = normalizers.Replace(" ", "▁")
    encoder = ScoreEncoder(merges, (), range(len(pieces), len(pieces) + 256))
    assert encoder.encode(text) == library.encode(text).ids
