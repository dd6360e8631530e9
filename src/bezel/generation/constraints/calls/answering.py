"""An answer of text and calls: the text is free, and a call follows its grammar from where it surely begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bezel.errors import ConstraintFailedError
from bezel.generation.constraints.matching import Following
from bezel.generation.constraints.vocabulary import Vocabulary, with_bits
from bezel.kernels.interface import U32


class Text(Protocol):
    """The text between calls, of one answer."""

    def takes(self, token: int) -> bool:
        """Whether the text may go on with a token; only then is it added."""

    def begun(self) -> Following | None:
        """The call that the text has become with its last token."""

    def resumed(self) -> None:
        """A call has ended, and text goes on behind it."""


@dataclass(frozen=True)
class Calls:
    """Compiled for the tools of a request. `text` begins the text of one answer, `call` a call that must be.

    `pieces`: the control pieces that may stand in the text.
    """

    vocabulary: Vocabulary
    text: Callable[[], Text]
    call: Callable[[], Following]
    pieces: tuple[int, ...] = ()

    def start(self, required: bool = False) -> Answering:
        """A constraint for one answer; with `required` it begins with a call."""
        return Answering(self, required)


class Answering:
    """Implements `Constraint`. Nothing is taken back but tokens of a call that its judge refused."""

    def __init__(self, calls: Calls, required: bool) -> None:
        self._calls, self._required = calls, required
        self._free = with_bits(calls.vocabulary.content, (*calls.vocabulary.stops, *calls.pieces))
        self._begin()

    def _begin(self) -> None:
        self._text = self._calls.text()
        self._call = self._calls.call() if self._required else None
        self._tokens: list[int] = []
        self._refused: set[int] = set()

    @property
    def holds(self) -> bool:
        """See `Constraint`: a call may be taken back until it is whole, text never."""
        return self._call is not None and self._call.holds

    def mask(self) -> U32:
        """See `Constraint.mask`."""
        if self._call is not None:
            return self._call.mask()
        if not self._refused:
            return self._free
        found = self._free.copy()
        for token in self._refused:
            found[token // 32] &= ~np.uint32(1 << token % 32)
        return found

    def accept(self, token: int) -> int:
        """See `Constraint.accept`."""
        if self._call is not None:
            return self._called(self._call, token)
        if token not in self._calls.vocabulary.stops:
            if not int(self._free[token // 32]) >> token % 32 & 1:
                raise ConstraintFailedError(f"token {token} was taken though the constraint does not allow it")
            if not self._text.takes(token):
                self._refused.add(token)
                return 1
            self._call = self._text.begun()
        self._tokens.append(token)
        self._refused.clear()
        return 0

    def _called(self, call: Following, token: int) -> int:
        self._tokens.append(token)
        taken_back = call.accept(token)
        if taken_back:
            del self._tokens[len(self._tokens) - taken_back :]
        elif call.finished:
            self._call = None
            self._text.resumed()
        return taken_back

    def rewind(self, count: int) -> None:
        """See `Constraint.rewind`."""
        kept = self._tokens[: len(self._tokens) - count]
        self._begin()
        for token in kept:
            self.accept(token)
