"""Where the image tower of a checkpoint lies: in the folder with the text model, or in a GGUF file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bezel.errors import ModelFileError, UnknownModelError, UnsupportedModelError
from bezel.models.leaves import field_of
from bezel.weights import configs, tower_names
from bezel.weights.checkpoint import Checkpoint, read_json
from bezel.weights.gguf import GGUFFile
from bezel.weights.projectors import projectors

_FAMILIES = {"gemma3": "gemma3", "gemma3_text": "gemma3", "gemma3n": "gemma3n", "gemma3n_text": "gemma3n"}


def vision_of(checkpoint: Checkpoint, beside: Path | None = None) -> Checkpoint | None:
    """A view of the image tower and its projection, closed as any checkpoint; None where there are none.

    Of a GGUF file the view is llama.cpp's `mmproj` file: `beside`, or for Gemma 3 of those in its folder whose names
    say so the smallest that is a tower for a text model of this width. Raises ModelFileError, UnsupportedModelError,
    and UnknownModelError where `beside` does not exist.
    """
    kind = str(checkpoint.config.get("model_type"))
    family = _FAMILIES.get(kind)
    if beside is not None:
        if not beside.is_file():
            raise UnknownModelError(f"{beside}: no such file; give the mmproj file of the model")
        view = open_vision(beside) if family else None
        if view is None or view.config["model_type"] != family:
            raise UnsupportedModelError(f"{checkpoint.path}: a {kind} takes no image tower of {beside}; leave it out")
        return view
    if kind == "gemma3_text" and checkpoint.folder is None:
        return _beside(checkpoint)
    if kind in ("gemma3", "shieldgemma2", "paligemma"):
        stored = tower_names.vision_from_hugging_face(checkpoint.source.tensors)
    elif kind == "gemma3n":
        stored = tower_names.gemma3n_vision_from_hugging_face(checkpoint.source.tensors)
    else:
        return None
    if kind == "paligemma" and not stored:
        raise ModelFileError(
            f"{checkpoint.path}: holds no image tower, without which PaliGemma does nothing; pull it again"
        )
    return replace(checkpoint, stored_names=stored, norms_lack_one=kind != "gemma3n") if stored else None


def _beside(checkpoint: Checkpoint) -> Checkpoint | None:
    found = [file for file in checkpoint.path.parent.glob("*mmproj*.gguf") if file != checkpoint.path]
    for file in sorted(found, key=lambda file: (file.stat().st_size, file.name)):
        try:
            view = open_vision(file)
        except UnsupportedModelError:
            continue  # of another family's model
        if view.config["text_config"]["hidden_size"] == checkpoint.config["hidden_size"]:
            return view
    return None


def preprocessor_config(view: Checkpoint) -> Mapping[str, Any]:
    """The fields of `preprocessor_config.json`, or what GGUF metadata say of them. Raises ModelFileError."""
    if view.folder is None:
        return view.config
    file = view.folder / "preprocessor_config.json"
    return read_json(file) if file.exists() else {}


def open_vision(path: Path) -> Checkpoint:
    """Open llama.cpp's file of a tower. Raises ModelFileError and UnsupportedModelError."""
    file = GGUFFile.open(path)
    projector = projectors(file.metadata).get("image")
    if projector not in _READERS:
        raise UnsupportedModelError(
            f"{path}: architecture {file.metadata.get('general.architecture')!r} with projector {projector!r} is no "
            "image tower of Gemma 3 or 3n"
        )
    return _READERS[projector](path, file)


def _gemma3(path: Path, file: GGUFFile) -> Checkpoint:
    config = configs.vision_config_from_gguf(file.metadata, str(path))
    up = file.tensors.get("v.blk.0.ffn_up.weight")
    if up is None:
        raise ModelFileError(f"{path}: tensor v.blk.0.ffn_up.weight is missing; download the file again")
    vision = config["vision_config"]
    swapped = up.shape == (vision["hidden_size"], vision["intermediate_size"])
    stored = tower_names.vision_from_gguf(file.tensors, swapped)
    return Checkpoint(path, config, file, stored, norms_lack_one=False, metadata=file.metadata)


def _gemma3n(path: Path, file: GGUFFile) -> Checkpoint:
    """What metadata and tensors do not tell is as in the published models."""
    stored = tower_names.gemma3n_vision_from_gguf(file.tensors)
    view = Checkpoint(path, {}, file, stored, norms_lack_one=False, metadata=file.metadata)
    with view.named_in_errors():
        side = field_of(file.metadata, "clip.vision.image_size", int)
        hidden = field_of(file.metadata, "clip.vision.projection_dim", int)
        embedding = view.info("embed_vision.embedding.weight").shape
    config = {
        "model_type": "gemma3n",
        "vision_config": {"hidden_size": embedding[-1], "vocab_size": embedding[0]},
        "text_config": {"hidden_size": hidden},
        "size": {"height": side, "width": side},
    }
    return replace(view, config=config)


_READERS = {"gemma3": _gemma3, "gemma3nv": _gemma3n}
