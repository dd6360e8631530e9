"""Where a model is to look while it answers, and how far its heads are from that.

A head is told, by its layer: what the question is about, which letter was just written, or which one comes next.
Left alone, to find the next letter is learned long after letters are read.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bezel.training.data.pictures.canvas import Drawn, Glyph, Mark
from bezel.training.data.pictures.charts import written
from bezel.training.data.pictures.seen import Asked
from recipes.tiny.looking import looked_right, looking_loss
from recipes.tiny.shown import NOT_ASKED, TOKENS, TOKENS_OF_A_SIDE, WHOLE, bin_of, place_of

SIGHTS = ("subject", "written", "next")
HEADS = {3: ("written", "subject"), 4: ("next", "subject")}
"""Layers of the text model, and what their first heads look for."""


def sights_of(drawn: Drawn, asked: Asked, pieces: Sequence[str]) -> np.ndarray:
    """Soft tokens to look at before each piece of an answer is written, bool [pieces, SIGHTS, TOKENS].

    None where nothing shows it: a trend, a value that is not printed, a price that stands there twice.
    """
    found = np.zeros((len(pieces), len(SIGHTS), TOKENS), bool)
    glyphs: Sequence[Glyph] = drawn.glyphs
    if asked.task in ("highest", "lowest", "value"):
        glyphs, about = _subject(drawn, asked)
        found[:, SIGHTS.index("subject"), about] = True
    spelled = _stands_at(glyphs, _without_spaces(asked.answer))
    said = 0
    for number, piece in enumerate(pieces):
        for sight, letter in (("written", said - 1), ("next", said)):
            token = place_of(spelled[letter], TOKENS_OF_A_SIDE, WHOLE) if 0 <= letter < len(spelled) else None
            if token is not None:
                found[number, SIGHTS.index(sight), token] = True
        said += len(_without_spaces(piece))
    return found


def value_of(asked: Asked) -> int:
    """The bin of a value that a chart is asked for; NOT_ASKED for other questions."""
    return bin_of(float(asked.answer)) if asked.task == "value" else NOT_ASKED


def _subject(drawn: Drawn, asked: Asked) -> tuple[list[Glyph], list[int]]:
    """Letters and tokens of what a question about a chart asks for."""

    def meant(at: Glyph | Mark) -> bool:
        if at.meaning is None or at.meaning.rank is None:
            return False
        return written(at.meaning.value) == asked.answer if asked.task == "value" else at.meaning.rank == asked.task

    glyphs = [glyph for glyph in drawn.glyphs if meant(glyph)]
    marks = [mark for mark in drawn.marks if meant(mark)]
    places = (place_of(at, TOKENS_OF_A_SIDE, WHOLE) for at in (*glyphs, *marks))
    return glyphs, [place for place in places if place is not None]


def _stands_at(glyphs: Sequence[Glyph], text: str) -> Sequence[Glyph]:
    """The letters that spell a text; none unless it stands there once."""
    whole = "".join(glyph.character for glyph in glyphs)
    first = whole.find(text)
    return () if first < 0 or whole.find(text, first + 1) >= 0 else glyphs[first : first + len(text)]


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def looked(weights: torch.Tensor, answers: torch.Tensor, start: int) -> torch.Tensor:
    """What heads give soft tokens, [answers, heads, TOKENS], of weights [rows, heads, length, length].

    `answers` are places in all rows one after the other, `start` the column of a row's first soft token.
    """
    length = weights.shape[-1]
    return weights[answers // length, :, answers % length, start : start + TOKENS]


def pointing_loss(looks: dict[int, torch.Tensor], sights: torch.Tensor) -> torch.Tensor:
    """Of all heads that are told where to look, added up; `looks` by layer, [answers, heads, TOKENS]."""
    losses = [looking_loss(given, wanted) for _, given, wanted in _told_heads(looks, sights)]
    return torch.stack(losses).sum()


def pointed_right(looks: dict[int, torch.Tensor], sights: torch.Tensor) -> dict[str, list[bool]]:
    """By kind and layer, whether the token looked at most is one to look at."""
    return {name: looked_right(given, wanted) for name, given, wanted in _told_heads(looks, sights)}


def _told_heads(
    looks: dict[int, torch.Tensor], sights: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Of every head that is told where to look: its name, its weights, and what to look at, [answers, TOKENS]."""
    for layer, kinds in HEADS.items():
        for head, kind in enumerate(kinds):
            yield f"{kind} by {layer}", looks[layer][:, head], sights[:, SIGHTS.index(kind)]
