"""Examples packed into rows: attention stays within an example, and the loss falls on answers only."""

from dataclasses import dataclass

import torch
from torch.nn import functional

UNSEEN = -1e4
"""Added to a score, it leaves nothing of a weight."""
Strands = tuple[list[int], list[tuple[list[int], list[int]]]]
"""Ids that several questions begin with alike, <bos> in front, and how each goes on: (prompt, answer)."""


@dataclass(frozen=True)
class Shape:
    """How many rows of how many tokens a batch has, how many tokens of answers at most, and how far layers slide."""

    rows: int
    length: int
    answers: int
    window: int


def size_of(strands: Strands) -> int:
    """Tokens of an example."""
    return len(strands[0]) + sum(len(prompt) + len(answer) for prompt, answer in strands[1])


@dataclass
class Rows:
    """Packed examples: ids, positions, document and strand numbers [rows, length]; answer places, targets [answers].

    Strand 0 is what an example's questions share; the others stand beside each other, each right behind it.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor
    strands: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owners: list[int]
    window: int

    def masks(self) -> dict[str, torch.Tensor]:
        """True where a row may look: the beginning of its document and its own strand, not ahead, within the window."""
        same = self.documents[:, None, :, None] == self.documents[:, None, None, :]
        key_strand = self.strands[:, None, None, :]
        same &= (key_strand == 0) | (key_strand == self.strands[:, None, :, None])
        distance = self.positions[:, None, :, None] - self.positions[:, None, None, :]
        full = same & (distance >= 0)
        return {"full_attention": full, "sliding_attention": full & (distance < self.window)}

    def first_of_answers(self) -> torch.Tensor:
        """Whether an answer's token is an example's first, bool [answers]."""
        found = torch.zeros(len(self.targets), dtype=torch.bool)
        for index, owner in enumerate(self.owners):
            found[index] = index == 0 or owner != self.owners[index - 1]
        return found

    def wrong(self, logits: torch.Tensor) -> set[int]:
        """Examples with a token of an answer that is not the most probable one; logits [answers, vocabulary]."""
        pairs = zip(self.owners, logits.argmax(-1).tolist(), self.targets.tolist(), strict=False)
        return {owner for owner, best, target in pairs if best != target}

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the answers' tokens; logits [answers, vocabulary]."""
        each = functional.cross_entropy(logits.float(), self.targets, reduction="none")
        return (each * self.weights).sum() / self.weights.sum()


def added(masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Masks as what is added to scores; short rows are attended to faster by plain products, which take them so."""
    return {kind: torch.where(mask, 0.0, UNSEEN) for kind, mask in masks.items()}


def pack(examples: list[Strands], shape: Shape, most: int | None = None) -> tuple[Rows, set[int]]:
    """Best fit, in order, and which examples found room; no more than `most`."""
    ids = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    positions, documents, strands = torch.zeros_like(ids), torch.full_like(ids, -1), torch.zeros_like(ids)
    left = [shape.length] * shape.rows
    places: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    used = set()
    for index, (shared, questions) in enumerate(examples):
        size = size_of((shared, questions))
        rows = [row for row in range(shape.rows) if left[row] >= size]
        if not rows or len(places) + sum(len(answer) for _, answer in questions) > shape.answers or len(used) == most:
            continue
        row = min(rows, key=left.__getitem__)
        start = shape.length - left[row]
        documents[row, start : start + size] = index
        for number, (prompt, answer) in enumerate([(shared, []), *questions]):
            end = start + len(prompt) + len(answer)
            ids[row, start:end] = torch.tensor(prompt + answer)
            strands[row, start:end] = number
            first = 0 if number == 0 else len(shared)
            positions[row, start:end] = torch.arange(first, first + end - start)
            places += range(row * shape.length + end - len(answer) - 1, row * shape.length + end - 1)
            targets += answer
            owners += [index] * len(answer)
            start = end
        left[row] -= size
        used.add(index)
    pad = shape.answers - len(places)
    weights = torch.tensor([1.0] * len(places) + [0.0] * pad)
    places, targets = places + [0] * pad, targets + [0] * pad
    found = Rows(
        ids, positions, documents, strands, torch.tensor(places), torch.tensor(targets), weights, owners, shape.window
    )
    return found, used
