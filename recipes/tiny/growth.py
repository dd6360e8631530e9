"""Begins a larger model with the weights of a smaller one, so that it answers at once nearly as the smaller one did."""

import torch

NEW_LAYER_SHARE = 0.1
"""What a layer that was put in adds at first, relative to the layer that it is a copy of."""


def sources(small: int, large: int, period: int) -> list[tuple[int, bool]]:
    """The small model's layer for each of the large one's, and whether it is put in, behind the first pattern.

    Both counts are multiples of `period`, the length of the pattern of local and global layers.
    """
    added = large - small
    if added < 0 or added % period or small % period:
        raise ValueError(f"{small} layers grow by whole patterns of {period}, not to {large}")
    kept = list(range(small))
    return [
        *((layer, False) for layer in kept[:period]),
        *((layer % period, True) for layer in range(added)),
        *((layer, False) for layer in kept[period:]),
    ]


def fill(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Copies `values` into the first rows and columns; further rows keep their draw, further columns become zero.

    A wider feed-forward layer computes what it did: its new inner units are read with weight zero.
    """
    if tensor.dim() == 2 and values.shape[1] < tensor.shape[1]:
        tensor.zero_()
    tensor[tuple(map(slice, values.shape))] = values
