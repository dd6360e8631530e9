"""How far attention is from where it is told to look.

Supervised attention is from Liu et al. (2016), "Neural Machine Translation with Supervised Attention".
"""

import torch

LEAST = 1e-6
"""Added to a weight before its logarithm is taken."""


def looking_loss(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean negative logarithm of the weight on what was to be looked at, over the rows that have any.

    `given` are weights and `wanted` bool, both [..., places].
    """
    right, asked = (given.float() * wanted).sum(-1), wanted.any(-1)
    return -((right + LEAST).log() * asked).sum() / asked.sum().clamp(min=1)


def looked_right(given: torch.Tensor, wanted: torch.Tensor) -> list[bool]:
    """Of each row that has any, whether the place looked at most is one to look at."""
    hit = wanted.gather(-1, given.argmax(-1, keepdim=True))[..., 0]
    found: list[bool] = hit[wanted.any(-1)].tolist()
    return found
