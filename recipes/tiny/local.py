"""A tower whose patches look at their neighbours from the first step, as convolutions do (d'Ascoli et al. 2021)."""

import torch
from transformers import SiglipVisionModel

Move = tuple[int | None, int | None]
AROUND: tuple[tuple[Move, Move, Move], ...] = (
    ((0, -1), (0, 1), (1, 0)),
    ((0, -1), (0, 1), (-1, 0)),
    ((0, 1), (1, 0), (-1, 0)),
    ((None, 0), (0, None), (None, None)),
    ((None, 0), (0, None), (None, None)),
)
"""By layer: rows and columns from a patch to what each head looks at, None for any."""
SHARPNESS = 0.3
"""What a row or a column that is right adds to a score, over the frequencies."""


def begin_local(tower: SiglipVisionModel, side: int) -> None:
    """Positions become waves in the first elements, which nothing else writes; the first layers look around.

    The waves have odd multiples of half a turn in `side` patches as frequencies, so that of two rows, or columns, only
    equal ones agree, and turning a wave moves it by a patch. What heads see adds nothing at first, and so disturbs
    nothing that a patch shows by itself. Needs as many heads as AROUND has places, with as many elements as 2 * `side`.
    """
    heads, head_dim = tower.config.num_attention_heads, tower.config.hidden_size // tower.config.num_attention_heads
    if (heads, head_dim) != (len(AROUND[0]), 2 * side):
        raise ValueError(f"{heads} heads of {head_dim} elements; {len(AROUND[0])} of {2 * side} are wanted")
    embeddings, waves = tower.embeddings, slice(0, 2 * side)
    frequencies = torch.pi * (torch.arange(side // 2) + 0.5) / (side // 2)
    with torch.no_grad():
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        turns = [at.reshape(-1, 1) * frequencies for at in (rows, columns)]
        places = torch.cat([part for turn in turns for part in (turn.cos(), turn.sin())], 1)
        embeddings.position_embedding.weight.zero_()[:, waves] = places
        embeddings.patch_embedding.weight[waves] = 0
        for layer in tower.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
            layer.mlp.fc2.weight[waves] = 0
        scale = (SHARPNESS * head_dim**0.5) ** 0.5
        for layer, around in zip(tower.encoder.layers, AROUND, strict=True):
            moves = torch.cat([_moved(move, frequencies) for move in around])
            for matrix, begin in (
                (layer.self_attn.q_proj.weight, moves),
                (layer.self_attn.k_proj.weight, torch.eye(head_dim).repeat(heads, 1)),
            ):
                matrix.mul_(0.1)[:, waves] = scale * begin


def _moved(move: Move, frequencies: torch.Tensor) -> torch.Tensor:
    """The matrix that turns a place's waves into those of the place `move` further, or of none."""
    blocks = []
    for by in move:
        if by is None:
            blocks.append(torch.zeros(2 * len(frequencies), 2 * len(frequencies)))
            continue
        cosine, sine = (by * frequencies).cos().diag(), (by * frequencies).sin().diag()
        blocks.append(torch.cat([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)]))
    return torch.block_diag(*blocks)
