"""What a step computes in."""

import torch

TILES = torch.cpu._is_amx_tile_supported()


def precision() -> torch.autocast:
    """BF16 where the processor has tiles for it; without them PyTorch multiplies it at half the speed of float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=TILES)
