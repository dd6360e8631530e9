"""Towers of a loaded model: read when a request first needs them, put away when asked to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bezel.kernels.interface import F32, Format, Kernels
from bezel.models.interface import SoftSpan
from bezel.text.soft import Part
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.memory import tower_level

KEPT = 16
"""Images or sounds whose soft tokens are kept, 2.6 MB each for Gemma 3 4B: every turn has those before it."""


@dataclass(frozen=True)
class Shown:
    """What stands in a prompt for an image or a sound: its parts, and for each run of soft tokens its span.

    `prepare` reads what the spans will need; it raises what reading a tower raises.
    """

    parts: Sequence[Part]
    spans: Sequence[Callable[[int], SoftSpan]]
    prepare: Callable[[], None]


class Tower:
    """One tower. `view` is its part of a checkpoint (`weights.vision`, `weights.audio`), which it closes.

    A tower that is stored whole is kept at `level`, of 4 bits at 8; one that was rounded stays as it is. One that is
    not `kept` is read for each request, what it has in turn for each image or sound, and let go before the text model
    runs.
    """

    def __init__(self, view: Checkpoint, kernels: Kernels, level: Format | None, kept: bool = True) -> None:
        self._view, self._kernels, self._stays = view, kernels, kept
        self._level = tower_level(view, level)
        self._model: Any = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, F32] = OrderedDict()

    @property
    def loaded(self) -> bool:
        """Whether the tower is in memory."""
        return self._model is not None

    def load(self) -> None:
        """Read the tower, unless it is in memory. Raises ModelFileError and UnsupportedModelError."""
        if self._model is None:
            with self._lock:
                self._loaded()

    def release(self) -> None:
        """Give the tower's memory back; what needs it next reads it anew."""
        with self._lock:
            self._model = None
            self._kept.clear()

    def showing(self, parts: Sequence[Part], spans: Sequence[Callable[[int], SoftSpan]]) -> Shown:
        """What stands in a prompt, prepared as this tower has to be.

        Where the tower does not stay, a request holds its soft tokens itself: others may push them out of what is kept.
        """
        if self._stays:
            return Shown(parts, spans, self.load)
        held: list[F32] = []

        def look() -> None:
            held.extend(span(0).embed() for span in spans)

        def holding(place: int, start: int) -> SoftSpan:
            span = spans[place](start)
            return replace(span, embed=lambda: held[place] if held else span.embed())

        return Shown(parts, [partial(holding, place) for place in range(len(spans))], look)

    def rest(self) -> None:
        """Let go of a tower that is not kept; its soft tokens stay."""
        if not self._stays:
            with self._lock:
                self._model = None
                self._view.close()

    def soft(self, key: bytes, embed: Callable[[Any], F32]) -> F32:
        """Soft tokens [length, hidden] that are known by `key`; of the tower, where they are not kept."""
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                with self._view.named_in_errors():  # what is read in turn is read now
                    found = embed(self._loaded())
            self._kept[key] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def _build(self, weights: CheckpointWeights) -> Any:
        raise NotImplementedError

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                with self._view.named_in_errors():
                    weights = CheckpointWeights(self._view, self._kernels, self._level, self._stays)
                    self._model = self._build(weights)
            finally:
                self._view.close()
        return self._model
