"""Text on its way to a reader: looked at before it goes on, and held back while a match may not be whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bezel.errors import ContentBlockedError
from bezel.safety.content import Note, placeholder, searched
from bezel.safety.rules import Rule, Side
from bezel.safety.settings import Action

Judge = Callable[[str], None]
"""Raises ContentBlockedError for a text, as far as it is written, that may not go on."""


class Window:
    """`push` pieces of a text and `close` it; what they give back may be sent.

    A match of at most `size` characters never goes on in part, wherever the pieces end: so many characters are held
    back, and more where a match reaches the last of them. A longer one is found too, as far as it lies within `size`
    characters of what was sent, or else at the end; then its beginning may have been sent. `judge` is told of the whole
    text each time that `judge_every` more characters would be sent. With `size` None nothing is sent before the end.
    All raise ContentBlockedError.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        note: Note,
        size: int | None,
        judge: Judge | None = None,
        judge_every: int = 1,
    ) -> None:
        self._rules, self._note, self._size = rules, note, size
        self._judge, self._every, self._judged = judge, judge_every, 0
        self._pieces: list[str] = []
        self._text, self._from = "", 0
        """The end of the text that is still looked at, and where in the text it starts."""
        self._searches = [(rule, pattern) for rule in rules for pattern in rule.patterns]
        self._next = [0] * len(self._searches)
        """From where on each is searched for, in the text."""
        self._cuts: list[tuple[int, int, str]] = []
        self._noted: set[str] = set()
        self._sent = self._covered = 0
        """How far the text has gone on, and how far of that it was redacted last."""

    def push(self, piece: str) -> str:
        """What may be sent now, redacted."""
        self._pieces.append(piece)
        self._text += piece
        return "" if self._size is None else self._released(self._look(self._end - self._size), False)

    def close(self) -> str:
        """The rest. What is longer than the window, or hidden from its patterns, is found here."""
        others = [rule for rule in self._rules if rule.action != "redact" and rule.name not in self._noted]
        searched(self.whole, others, "output", self._once)
        return self._released(self._look(None), True)

    @property
    def redacted(self) -> bool:
        """Whether anything was."""
        return self._covered > 0

    @property
    def whole(self) -> str:
        """The text as it came, so far."""
        return "".join(self._pieces)

    @property
    def _end(self) -> int:
        return self._from + len(self._text)

    def _look(self, until: int | None) -> int:
        """Search, and how far the text may go on: at most `until`; None: to its end, which nothing follows."""
        last = self._end if until is None else max(self._sent, until)
        for index, (rule, pattern) in enumerate(self._searches):
            begin = max(self._next[index] - self._from, 1 if self._from else 0)  # no text begins where it was cut
            for first, behind in pattern.spans(self._text, begin):
                if until is not None and self._from + first >= until:
                    break  # what follows may change it
                if until is not None and behind == len(self._text) and self._may_wait(rule, behind - first):
                    last = min(last, max(self._sent, self._from + first))  # also whether a word ends here
                    break
                self._next[index] = self._from + behind
                self._once(rule.name, rule.action, "output")
                if rule.action == "block":
                    raise ContentBlockedError("the answer was blocked by policy")
                if rule.action == "redact":
                    self._cuts.append((self._from + first, self._from + behind, rule.name))
        return last

    def _may_wait(self, rule: Rule, length: int) -> bool:
        """Whether a match at the end of what has come may wait for more: what is redacted is not sent in any case."""
        return rule.action == "redact" or length <= (self._size or 0)

    def _released(self, last: int, closing: bool) -> str:
        """The text up to `last`, or further where something is redacted, unless it is still to be judged."""
        if self._judge is not None:
            if not closing and last - self._judged < self._every:
                return ""
            if last > self._judged:
                self._judge(self.whole[:last])
                self._judged = last
        parts: list[str] = []
        place = self._sent
        self._cuts.sort()
        while self._cuts and self._cuts[0][0] < last:
            first, behind, name = self._cuts.pop(0)
            if behind > place:
                if first >= self._covered:
                    parts += self._text[place - self._from : max(place, first) - self._from], placeholder(name)
                place = self._covered = behind
        parts.append(self._text[place - self._from : max(place, last) - self._from])
        self._sent = max(place, last)
        self._forget()
        return "".join(parts)

    def _forget(self) -> None:
        """Keep what is not sent, and as much before it as the window is long."""
        forgotten = self._sent - (self._size or 0) - self._from
        if forgotten > 0:
            self._text, self._from = self._text[forgotten:], self._from + forgotten

    def _once(self, name: str, action: Action, side: Side) -> None:
        if name not in self._noted:
            self._noted.add(name)
            self._note(name, action, side)
