"""Positions of patches that are learned as sums: of a row's vector, a column's, and what is a patch's own.

A table with a position for each patch alone says nothing of which patches share a column, and a bar is read along one.
"""

import torch
from torch.nn.utils import parametrize


class _Sum(torch.nn.Module):
    """A table [side * side, width] is what is a patch's own, and its row's and its column's vector."""

    def __init__(self, table: torch.Tensor, side: int) -> None:
        super().__init__()
        square = table.unflatten(0, (side, side))
        self.rows = torch.nn.Parameter(square.mean(1))
        self.columns = torch.nn.Parameter(square.mean(0) - table.mean(0))

    def right_inverse(self, table: torch.Tensor) -> torch.Tensor:
        return table - self._shared()

    def forward(self, own: torch.Tensor) -> torch.Tensor:
        return own + self._shared()

    def _shared(self) -> torch.Tensor:
        return (self.rows[:, None] + self.columns).flatten(0, 1)


def split(positions: torch.nn.Embedding, side: int) -> None:
    """Learn the parts of the table from now on, until `join`."""
    parametrize.register_parametrization(positions, "weight", _Sum(positions.weight.detach(), side))


def join(positions: torch.nn.Embedding) -> None:
    """Make one table of the parts."""
    parametrize.remove_parametrizations(positions, "weight")
