"""Which size, precision and context of a checkpoint to load: by what is asked for, a memory budget, or a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bezel.backends.loading import DEFAULT_CONTEXT, longest_context
from bezel.catalog.hardware import probe
from bezel.catalog.memory import DEFAULT_CONTEXT as PLANNED_CONTEXT
from bezel.catalog.memory import Footprint
from bezel.catalog.slices import WHOLE_FFN, WHOLE_LAYERS, published_slices
from bezel.errors import InvalidRequestError
from bezel.kernels.interface import Format
from bezel.weights.checkpoint import LEVELS, WHOLE_FORMATS, Checkpoint
from bezel.weights.memory import predicted, shape_of
from bezel.weights.slice import sliced

Size = str | Sequence[int]


@dataclass(frozen=True)
class Profile:
    """Choices that belong together; what is asked for beside it goes before it."""

    size: str
    levels: tuple[str, ...]
    context: int
    sequences: int


PROFILES = {"edge": Profile(size="E2B", levels=("balanced", "maximum_efficiency"), context=2048, sequences=1)}


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a model to be loaded; None is left open. `fit` is the budget in bytes.

    `towers`: bytes of towers in memory beside a text model at a level.
    """

    size: Size | None = None
    level: str | None = None
    context: int | None = None
    cache: Format = Format.F16
    fit: int | None = None
    profile: str | None = None
    towers: Callable[[str | None], int] = lambda level: 0


@dataclass(frozen=True)
class Choice:
    """What is loaded: a view of the checkpoint, its level and context, and where something was chosen, why."""

    view: Checkpoint
    level: str | None
    context: int
    why: str | None = None


def choose(checkpoint: Checkpoint, wanted: Wanted) -> Choice:
    """The best that fits, where a budget or a profile is given; else what is asked for.

    The whole model goes first, then the size with the best published score; of a size the highest precision that fits,
    of both the longest context. Raises InvalidRequestError where nothing fits, saying what the least would need, and
    for a profile that is none; what `sliced` raises.
    """
    most = longest_context(checkpoint)
    if wanted.context is not None and not 1 <= wanted.context <= most:
        raise InvalidRequestError(f"context is {wanted.context}; {checkpoint.path} holds 1 to {most} tokens")
    if wanted.profile is not None and wanted.profile not in PROFILES:
        raise InvalidRequestError(f"unknown profile {wanted.profile!r}; choose {', '.join(PROFILES)}")
    if wanted.fit is not None and wanted.fit <= 0:
        raise InvalidRequestError(f"fit is {wanted.fit} bytes; give a budget like 2.3GB")
    if wanted.fit is None and wanted.profile is None:
        view = checkpoint if wanted.size is None else sliced(checkpoint, wanted.size)
        return Choice(view, wanted.level, wanted.context or min(DEFAULT_CONTEXT, most))
    return _best(checkpoint, wanted, most)


@dataclass(frozen=True)
class _Candidate:
    name: str
    choice: Choice
    needed: Footprint

    def __str__(self) -> str:
        level = LEVELS[self.choice.level].name if self.choice.level else "the stored precision"
        return f"{self.name} at {level} with {self.choice.context} tokens of context"


def _best(checkpoint: Checkpoint, wanted: Wanted, most: int) -> Choice:
    profile = PROFILES[wanted.profile] if wanted.profile else None
    planned = wanted.context or min(most, profile.context if profile else PLANNED_CONTEXT)
    candidates = list(_candidates(checkpoint, wanted, profile, planned))
    budget = probe().available if wanted.fit is None else wanted.fit
    found = next((each for each in candidates if each.needed.total <= budget), None)
    least = min(candidates, key=lambda each: each.needed.total)
    if found is None:
        if wanted.fit is not None:
            raise InvalidRequestError(
                f"nothing of {checkpoint.path.name} fits in {_gb(budget)}; the least is {least}, which needs "
                f"{_gb(least.needed.total)}"
            )
        found = least  # a profile asks for the smallest there is, whatever else runs on the machine now
    if wanted.context is None and profile is None:
        found = _longest(found, wanted, budget, most)
    return replace(found.choice, why=f"{found} needs {_gb(found.needed.total)} of {_gb(budget)}")


def _candidates(checkpoint: Checkpoint, wanted: Wanted, profile: Profile | None, context: int) -> Iterator[_Candidate]:
    """Sizes, the best first, each at its levels, the highest first."""
    levels = (wanted.level,) if wanted.level is not None else _levels(checkpoint, profile)
    for name, size in _sizes(checkpoint, wanted.size, profile):
        view = checkpoint if size is None else sliced(checkpoint, size)
        for level in levels:
            yield _candidate(name, Choice(view, level, context), wanted)


def _candidate(name: str, choice: Choice, wanted: Wanted) -> _Candidate:
    level = LEVELS[choice.level] if choice.level else None
    needed = predicted(choice.view, level, choice.context, wanted.cache)
    return _Candidate(name, choice, replace(needed, towers=wanted.towers(choice.level)))


def _levels(checkpoint: Checkpoint, profile: Profile | None) -> tuple[str | None, ...]:
    stored = {checkpoint.info(name).format for name in checkpoint.stored_names if name.startswith("layers.")}
    if not stored <= set(WHOLE_FORMATS):
        return (None,)
    return profile.levels if profile else tuple(reversed(LEVELS))


def _sizes(checkpoint: Checkpoint, size: Size | None, profile: Profile | None) -> list[tuple[str, Size | None]]:
    if size is not None:
        return [(size if isinstance(size, str) else "the given size", size)]
    shape = shape_of(checkpoint)
    if not shape.per_layer_size or shape.widths != (WHOLE_FFN,) * WHOLE_LAYERS:
        return [(checkpoint.path.name, None)]
    if profile:
        return [(profile.size, profile.size)]
    whole, *others = published_slices()
    others.sort(key=lambda each: (-each.mmlu, each.effective_parameters))
    return [(whole.name, None), *((each.name, each.name) for each in others)]


def _longest(found: _Candidate, wanted: Wanted, budget: int, most: int) -> _Candidate:
    """The same with a context doubled as often as it fits."""
    while found.choice.context < most:
        longer = _candidate(found.name, replace(found.choice, context=min(2 * found.choice.context, most)), wanted)
        if longer.needed.total > budget:
            break
        found = longer
    return found


def _gb(size: int) -> str:
    return f"{size / 2**30:.2f} GB"
