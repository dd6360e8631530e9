"""The published MatFormer slices of Gemma 3n E4B as data (slices.toml), and sizes as people write them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bezel.errors import InvalidRequestError

WHOLE_LAYERS, WHOLE_FFN, NARROW_FFN = 35, 16384, 8192
"""E4B: its layers, their FFN width, and what a narrow layer keeps of it."""


@dataclass(frozen=True)
class PublishedSlice:
    """One measured size: `wide` and `skipped` are layers of E4B; see slices.toml for what the fields mean."""

    name: str
    level: str
    effective_parameters: float
    mmlu: float
    wide: tuple[int, ...]
    skipped: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The FFN width of each of E4B's layers; 0 where the layer is skipped."""
        return tuple(
            0 if layer in self.skipped else WHOLE_FFN if layer in self.wide else NARROW_FFN
            for layer in range(WHOLE_LAYERS)
        )


@cache
def published_slices() -> tuple[PublishedSlice, ...]:
    """Every published slice, in the order of slices.toml: E4B whole, E2B, then those between."""
    data = tomllib.loads(resources.files("bezel.catalog").joinpath("slices.toml").read_text("utf-8"))
    return tuple(
        PublishedSlice(**row | {"wide": _layers(row["wide"]), "skipped": _layers(row["skipped"])})
        for row in data["slices"]
    )


def _layers(text: str) -> tuple[int, ...]:
    """Layers from "4 9-12"."""
    found: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def find_slice(name: str) -> PublishedSlice:
    """The published slice of that name, in any case; "E1.91B" is E2B and "E3.98B" E4B, by their parameters.

    InvalidRequestError names those that there are.
    """
    wanted = name.strip().lower()
    for each in published_slices():
        if wanted in (each.name.lower(), f"e{each.effective_parameters:.2f}b"):
            return each
    raise InvalidRequestError(
        f"{name!r} is no published size; choose one of {', '.join(each.name for each in published_slices())}, "
        "or give a width for each layer, like 16384x20,0x5,8192x10"
    )


def widths_of(size: str | Sequence[int]) -> tuple[int, ...]:
    """One FFN width a layer, 0 where it is skipped: from a published name, numbers, or "16384x20,0x5,8192x10".

    Raises InvalidRequestError for what is none of these.
    """
    if not isinstance(size, str):
        if not all(type(width) is int and width >= 0 for width in size):
            raise InvalidRequestError(f"size is {size!r}; give one FFN width a layer, 0 where it is skipped")
        return tuple(size)
    if not re.fullmatch(r"\s*\d[\d\sx,]*", size):
        return find_slice(size).widths
    widths: list[int] = []
    for part in size.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*x\s*(\d{1,4}))?\s*", part)
        if match is None or match[2] == "0":
            raise InvalidRequestError(f"size {size!r}: {part.strip()!r} is neither a width nor WIDTHxLAYERS")
        widths += [int(match[1])] * int(match[2] or 1)
    return tuple(widths)
