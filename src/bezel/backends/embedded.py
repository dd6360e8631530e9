"""tiny: small models behind one name, of which each conversation goes to the one that takes what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from bezel.backends.answer import Answer
from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
from bezel.engine.driver import Stream
from bezel.engine.request import Progress
from bezel.engine.scheduler import Statistics
from bezel.errors import UnsupportedInputError
from bezel.kernels.interface import F32
from bezel.text.messages import is_video, kind_of, parts_of
from bezel.weights.embedded import Embedded, taking

if TYPE_CHECKING:
    from bezel.backends.hearing import Hearing
    from bezel.media.fetching import Sources
    from bezel.media.limits import Limits
    from bezel.media.spectrograms import Sound


class EmbeddedBackend(NativeBackend):
    """The model that writes. One that sees and one that hears stand beside it, opened by `others` when first needed.

    What is asked of a model without a conversation (its tokenizer, `text_of`, `logits`) is that of the one that writes.
    """

    translates_into: Sequence[str] | None = ("en",)

    def __init__(self, *loaded: Any, **named: Any) -> None:
        super().__init__(*loaded, **named)
        self.others: Callable[[Embedded], NativeBackend] | None = None
        self._opened: dict[str, NativeBackend | None] = {}
        self._opening = threading.Lock()

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids that a request starts with, of the model that answers it. Raises as `stream`."""
        chosen = self._chosen(request)
        return chosen.prompt_ids(request) if chosen else super().prompt_ids(request)

    def next_logits(self, request: Request) -> F32:
        """Logits of the first token of an answer, float32 [vocabulary]. Raises as `stream`."""
        chosen = self._chosen(request)
        return chosen.next_logits(request) if chosen else super().next_logits(request)

    def release_towers(self) -> None:
        """See `NativeBackend.release_towers`."""
        for other in self._opened.values():
            if other is not None:
                other.release_towers()

    @property
    def ears(self) -> Hearing | None:
        """See `NativeBackend.ears`."""
        hears = self._other("audio")
        return hears.ears if hears else None

    def sound(self, source: Any, sources: Sources, limits: Limits | None = None) -> tuple[Sound, Hearing]:
        """See `NativeBackend.sound`."""
        hears = self._other("audio")
        return hears.sound(source, sources, limits) if hears else super().sound(source, sources, limits)

    def statistics(self) -> Statistics:
        """See `NativeBackend.statistics`; of all that were loaded."""
        others = [other.statistics() for other in self._opened.values() if other is not None]
        return sum(others, super().statistics())

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`."""
        senses = {"images": taking("image") is not None, "sounds": taking("audio") is not None}
        return {**super().describe(), **(senses if self.others else {})}

    def _chosen(self, request: Request) -> NativeBackend | None:
        """The one that answers; None for the one that writes.

        Raises UnsupportedInputError for a conversation with both images and sounds.
        """
        parts = [part for message in request.messages or () for part in parts_of(message)]
        kinds = {kind for part in parts if (kind := "image" if is_video(part) else kind_of(part))}
        if len(kinds) > 1:
            raise UnsupportedInputError(
                "tiny sees or hears, and not both in one conversation; load a Gemma 3n, such as google/gemma-3n-E2B-it"
            )
        return self._other(kinds.pop()) if kinds else None

    def _other(self, kind: str) -> NativeBackend | None:
        """The one for "image" or "audio"; None where the package holds none."""
        with self._opening:
            if kind not in self._opened:
                found = taking(kind) if self.others else None
                self._opened[kind] = self.others(found) if found and self.others else None
            return self._opened[kind]

    def _answer(self, request: Request) -> Answer:
        chosen = self._chosen(request)
        return chosen._answer(request) if chosen else super()._answer(request)

    def _submit(self, request: Request, queue: SimpleQueue[Progress] | None = None) -> Stream:
        chosen = self._chosen(request)
        return chosen._submit(request, queue) if chosen else super()._submit(request, queue)
