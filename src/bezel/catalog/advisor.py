"""Which Gemma fits: from a need, a memory budget and a context to one variant at one level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bezel.catalog.memory import DEFAULT_CONTEXT, LEVEL_BITS, Footprint, footprint
from bezel.catalog.needs import NEEDS
from bezel.catalog.variants import Variant, catalogue
from bezel.errors import InvalidRequestError

Preference = Literal["best", "small"]
TOWERS: dict[str, tuple[str, ...]] = {
    "image": ("vision",),
    "image safety": ("vision",),
    "medical": ("vision",),
    "audio": ("audio",),
    "video": ("vision", "audio"),
}
"""Parts that a need loads beside the text model; other needs load none."""


@dataclass(frozen=True)
class Advice:
    """One variant at one level that fits, what it needs, and what it was chosen for."""

    variant: Variant
    level: str
    context: int
    footprint: Footprint


def fitting_context(variant: Variant, context: int) -> int:
    """The context to plan for: the asked one, or the default where none (0) is asked and the variant holds it."""
    return context or min(DEFAULT_CONTEXT, variant.context)


def advise(memory: float, need: str = "text", context: int = 0, prefer: Preference = "best") -> list[Advice]:
    """All variants that fit `memory` bytes, the recommended one first; empty where none fits.

    "best" puts the most capable first, "small" the smallest. Each stands at the highest level that fits.
    `context` 0 plans for 4,096 tokens. Raises InvalidRequestError for an unknown need or values out of range.
    """
    if need not in NEEDS:
        raise InvalidRequestError(f"unknown need {need!r}; choose one of {', '.join(NEEDS)}")
    if prefer not in ("best", "small"):
        raise InvalidRequestError(f"unknown preference {prefer!r}; choose best or small")
    if not memory > 0:
        raise InvalidRequestError(f"memory must be more than 0 bytes, not {memory}")
    if context < 0:
        raise InvalidRequestError(f"context must be 0 or more tokens, not {context}")
    found = []
    for variant in candidates(need):
        planned = fitting_context(variant, context)
        if planned > variant.context:
            continue
        for level in reversed(LEVEL_BITS):
            needed = footprint(variant, level, planned, towers=TOWERS.get(need, ()))
            if needed.total <= memory:
                found.append(Advice(variant, level, planned, needed))
                break
    return found if prefer == "best" else found[::-1]


def candidates(need: str) -> list[Variant]:
    """Variants for a need, the most capable first."""
    return sorted((v for v in catalogue() if need in v.needs), key=lambda v: -v.rank)


def least_memory(need: str, context: int = 0) -> Advice:
    """The variant that needs least for a need and context; InvalidRequestError where none holds the context."""
    holding = [v for v in candidates(need) if fitting_context(v, context) <= v.context]
    if not holding:
        longest = max(v.context for v in candidates(need))
        raise InvalidRequestError(f"no variant for {need} holds {context} tokens; the most is {longest}")

    def needed(variant: Variant) -> Footprint:
        return footprint(variant, "Q4_0", fitting_context(variant, context), towers=TOWERS.get(need, ()))

    smallest = min(holding, key=lambda v: needed(v).total)
    return Advice(smallest, "Q4_0", fitting_context(smallest, context), needed(smallest))
