"""Stop strings, found across the borders of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from bezel.errors import InvalidRequestError


class StopStrings:
    """Passes text through until one of `stops` appears, holding back what could be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise InvalidRequestError("a stop string is empty; leave it out")
        self._stops = tuple(stops)
        self._held = ""
        self.hit: str | None = None

    def push(self, text: str) -> str:
        """The part of the text so far that may be shown now. After a hit: what stood before it, then nothing."""
        if self.hit is not None:
            return ""
        held = self._held + text
        found = [(held.find(stop), stop) for stop in self._stops if stop in held]
        if found:
            place, self.hit = min(found)
            self._held = ""
            return held[:place]
        keep = max((self._overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def flush(self) -> str:
        """What was held back, once no more text comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Length of the longest end of `text` that begins `stop`."""
        return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
