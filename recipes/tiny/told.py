"""What a model tells of pictures in training, and how far that is from what they show."""

from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn import functional

from recipes.tiny.looking import looking_loss
from recipes.tiny.shown import EACH_PATCH, EACH_TOKEN, LETTERS, MEANINGS, NOT_ASKED, Shown, in_rows

MEANING_WEIGHT = 0.3
"""Of a question about what a token stands for, beside letters."""
LEGENDS_WEIGHT = 0.3
"""Of each head that looks from legends to what they explain."""
NOTHING_FIRST = 5.0
"""Added to the logits of no letter, which is what most places show, before anything is learned."""


@dataclass
class Told:
    """Logits of what is `Shown`, each with one dimension more behind; of meanings one tensor for each question.

    `looks` are weights of the heads that look from legends to what they explain, each [n, TOKENS, TOKENS].
    """

    by_patch: torch.Tensor
    by_token: torch.Tensor
    meanings: tuple[torch.Tensor, ...]
    looks: tuple[torch.Tensor, ...]

    def loss(self, shown: Shown[torch.Tensor], placed: float) -> torch.Tensor:
        """By letter, and by token that stands for something.

        `placed` is as in `spelling_loss`.
        """
        found = spelling_loss(self.by_patch, shown.by_patch, placed)
        found = found + spelling_loss(self.by_token, shown.by_token, placed)
        for logits, wanted in zip(self.meanings, shown.meanings.unbind(-1), strict=True):
            found = found + MEANING_WEIGHT * meaning_loss(logits.flatten(0, 1), wanted.flatten())
        for weights in self.looks:
            found = found + LEGENDS_WEIGHT * looking_loss(weights, shown.explained)
        return found


class Heads(torch.nn.Module):
    """Tell what is shown: letters by a tower's patches, and the rest by tokens inside of a text model."""

    def __init__(self, patch_width: int, token_width: int) -> None:
        super().__init__()
        self.patch_head = torch.nn.Linear(patch_width, EACH_PATCH * (len(LETTERS) + 1))
        self.token_head = torch.nn.Linear(token_width, EACH_TOKEN * (len(LETTERS) + 1))
        self.meaning_head = torch.nn.Linear(token_width, sum(MEANINGS.values()))
        with torch.no_grad():
            for head in (self.patch_head, self.token_head):
                head.bias.view(-1, len(LETTERS) + 1)[:, 0] = NOTHING_FIRST

    def by_patch(self, patches: torch.Tensor) -> torch.Tensor:
        """Letters, of patches [n, PATCHES, patch_width]."""
        found: torch.Tensor = self.patch_head(patches).unflatten(-1, (EACH_PATCH, -1))
        return found

    def values(self, hidden: torch.Tensor) -> torch.Tensor:
        """Bins of values, [n, BINS], of any places of the text model [n, token_width]."""
        return self._meanings(hidden)[[*MEANINGS].index("value")]

    def _meanings(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = self.meaning_head(hidden).split([*MEANINGS.values()], -1)
        return found

    def forward(self, patches: torch.Tensor, tokens: torch.Tensor, looks: tuple[torch.Tensor, ...]) -> Told:
        """Of patches [n, PATCHES, patch_width], tokens [n, TOKENS, token_width], and `looks` as they are told."""
        by_token = self.token_head(tokens).unflatten(-1, (EACH_TOKEN, -1))
        return Told(self.by_patch(patches), by_token, self._meanings(tokens), looks)


def meaning_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy where something is asked for; logits [n, answers], wanted [n]."""
    each = functional.cross_entropy(logits.float(), wanted, ignore_index=NOT_ASKED, reduction="sum")
    return each / (wanted != NOT_ASKED).sum().clamp(min=1)


def rows_read(logits: torch.Tensor) -> list[list[int]]:
    """The letters of each row of each picture, as the most probable ones tell them."""
    best = in_rows(logits.argmax(-1)).tolist()
    return [[letter for letter, _ in groupby(row) if letter] for row in best]


def spelling_loss(logits: torch.Tensor, letters: torch.Tensor, placed: float) -> torch.Tensor:
    """By letter: cross-entropy at the letters' own places, and connectionist temporal classification of each row.

    For the latter (Graves et al. 2006) a letter on the border of two places may be told by either. It leaves out rows
    with more letters than it can tell. `placed` is the share of the former, without which nothing is learned at first.
    """
    found = torch.zeros(())
    if placed:
        each = functional.cross_entropy(logits.float().flatten(0, 2), letters.flatten(), reduction="sum")
        found = found + placed * each
    if placed < 1:
        rows, odds = in_rows(letters), in_rows(logits.float().log_softmax(-1)).transpose(0, 1)
        lengths = (rows > 0).sum(1)
        given = torch.full_like(lengths, rows.shape[1])
        each = functional.ctc_loss(odds, rows[rows > 0], given, lengths, reduction="none", zero_infinity=True)
        found = found + (1 - placed) * each.sum()
    return found / (letters > 0).sum().clamp(min=1)
