"""Training that goes on from exported files, where there is no checkpoint of a run."""

from collections.abc import Callable
from pathlib import Path

import torch

from bezel.kernels.formats import dequantize
from bezel.weights.audio import open_audio
from bezel.weights.checkpoint import Checkpoint, open_checkpoint
from bezel.weights.vision import open_vision


def take(module: torch.nn.Module, view: Checkpoint, from_one: Callable[[str], bool]) -> None:
    """Every parameter from the tensor of its name, as float32. KeyError where there is none.

    `from_one`: whether a parameter stands in the file with one more than in training, as norms of Gemma do.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            info = view.info(name)
            rows = info.nbytes // info.readable().row_bytes(info.columns)
            values = dequantize(info.readable(), view.source.read_rows(info.name, info.first_row, rows), info.columns)
            parameter.copy_(torch.from_numpy(values).view(parameter.shape) - float(from_one(name)))
    view.close()


def take_sight(model: torch.nn.Module, text: Path, tower: Path) -> None:
    """The parts of a Gemma 3 that sees, from its two files."""
    take(model.language_model, open_checkpoint(text), lambda name: name.endswith("norm.weight"))
    seen = torch.nn.ModuleDict({name: getattr(model, name) for name in ("vision_tower", "multi_modal_projector")})
    take(seen, open_vision(tower), lambda name: name.endswith("mm_soft_emb_norm.weight"))


def take_hearing(model: torch.nn.Module, text: Path, tower: Path) -> None:
    """The parts of a Gemma 3n that hears, from its two files."""
    take(model.language_model, open_checkpoint(text), lambda _: False)
    heard = torch.nn.ModuleDict({name: getattr(model, name) for name in ("audio_tower", "embed_audio")})
    take(heard, open_audio(tower), lambda _: False)
