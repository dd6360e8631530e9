"""Which towers a file of llama.cpp's (`mmproj`) holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bezel.errors import UnknownModelError, UnsupportedModelError
from bezel.weights.gguf import GGUFFile

_HEARING = ("gemma3na",)


def projectors(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's towers are followed by, in llama.cpp's names, by "image" and "audio"; empty for other files."""
    if metadata.get("general.architecture") != "clip":
        return {}
    one = metadata.get("clip.projector_type")
    found = {
        "image": metadata.get("clip.vision.projector_type", None if one in _HEARING else one),
        "audio": metadata.get("clip.audio.projector_type", one if one in _HEARING else None),
    }
    return {kind: name for kind, name in found.items() if name is not None}


def towers_in(path: Path) -> set[str]:
    """What it holds: "image", "audio" or both.

    Raises ModelFileError, UnknownModelError where nothing is there, and UnsupportedModelError for one without towers.
    """
    if not path.is_file():
        raise UnknownModelError(f"{path}: no such file; give the mmproj file of the model")
    file = GGUFFile.open(path)
    file.close()
    found = projectors(file.metadata)
    if not found:
        raise UnsupportedModelError(f"{path}: holds neither an image tower nor an audio tower; give the mmproj file")
    return set(found)
