"""The small models that are part of the package: one writes, and others take images or sounds."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

NAME = "tiny"
"""What the model that writes is called; with it come the others."""
_OTHERS = {"image": "tiny-sees", "audio": "tiny-hears"}


@dataclass(frozen=True)
class Embedded:
    """A text model, and the tower beside it where it has one: GGUF files."""

    model: Path
    tower: Path | None = None


def writing() -> Embedded:
    """The one that writes."""
    return Embedded(_folder() / f"{NAME}.gguf")


def taking(kind: str) -> Embedded | None:
    """The one for "image" or "audio"; None where this package holds none."""
    name = _OTHERS[kind]
    found = Embedded(_folder() / f"{name}.gguf", _folder() / f"mmproj-{name}.gguf")
    return found if found.model.is_file() else None


def all_of_them() -> list[Embedded]:
    """Those that this package holds, the one that writes first."""
    return [writing(), *(found for kind in _OTHERS if (found := taking(kind)))]


def _folder() -> Path:
    return Path(str(resources.files("bezel").joinpath("tiny")))
