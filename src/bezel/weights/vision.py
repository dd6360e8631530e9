"""Where the image tower of a checkpoint lies: in the folder with the text model, or in a GGUF file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bezel.errors import ModelFileError, UnknownModelError
from bezel.weights import names
from bezel.weights.checkpoint import Checkpoint, read_json
from bezel.weights.gguf import GGUFFile


def vision_of(checkpoint: Checkpoint, beside: Path | None = None) -> Checkpoint | None:
    """A view of the tower and projector of Gemma 3, closed as any checkpoint; None where there are none.

    Of a GGUF file the view is llama.cpp's `mmproj` file: `beside`, or the smallest whose name says so in its folder.
    Raises ModelFileError, UnsupportedModelError, and UnknownModelError where `beside` does not exist.
    """
    if beside is not None and not beside.is_file():
        raise UnknownModelError(f"{beside}: no such file; give the mmproj file of the model")
    if beside is None and checkpoint.folder is None and checkpoint.config["model_type"] == "gemma3_text":
        found = [file for file in checkpoint.path.parent.glob("*mmproj*.gguf") if file != checkpoint.path]
        beside = min(found, key=lambda file: (file.stat().st_size, file.name), default=None)
    if beside is not None:
        return open_vision(beside)
    stored = names.vision_from_hugging_face(checkpoint.source.tensors)
    if checkpoint.config["model_type"] != "gemma3" or not stored:
        return None
    return replace(checkpoint, stored_names=stored, norms_lack_one=True)


def preprocessor_config(view: Checkpoint) -> Mapping[str, Any]:
    """The fields of `preprocessor_config.json`, or what GGUF metadata say of them. Raises ModelFileError."""
    if view.folder is None:
        return view.config
    file = view.folder / "preprocessor_config.json"
    return read_json(file) if file.exists() else {}


def open_vision(path: Path) -> Checkpoint:
    """Open llama.cpp's file of a tower. Raises ModelFileError and UnsupportedModelError."""
    file = GGUFFile.open(path)
    config = names.vision_config_from_gguf(file.metadata, str(path))
    up = file.tensors.get("v.blk.0.ffn_up.weight")
    if up is None:
        raise ModelFileError(f"{path}: tensor v.blk.0.ffn_up.weight is missing; download the file again")
    vision = config["vision_config"]
    swapped = up.shape == (vision["hidden_size"], vision["intermediate_size"])
    stored = names.vision_from_gguf(file.tensors, swapped)
    return Checkpoint(path, config, file, stored, norms_lack_one=False, metadata=file.metadata)
