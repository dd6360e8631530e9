"""A constraint at work: llguidance's matcher, the tokens refused so far, and the validator at the end."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from llguidance import LLMatcher

from bezel.errors import ConstraintFailedError
from bezel.generation.constraints.gate import in_string
from bezel.generation.constraints.judging import Fault, Judge
from bezel.generation.constraints.limits import Limits
from bezel.generation.constraints.vocabulary import Vocabulary, with_bits
from bezel.kernels.interface import U32


class Following:
    """Implements `Constraint` over a matcher of its own.

    Where the validator refuses a whole document, the search goes back into the value that was wrong: first to its last
    token, then twice as far with every refusal. What was taken there is not taken again. Where so nothing is left to
    take, the tokens that were passed over are allowed again, and from then on the last token is changed before those
    in front of it, so that nothing is left out. White space does not make another document: it is skipped on the way
    back, and no more is taken.

    `pieces`: control pieces that the grammar has; no others are allowed.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        vocabulary: Vocabulary,
        judge: Judge | None,
        limits: Limits,
        holds: bool,
        pieces: Sequence[int] = (),
    ) -> None:
        self.holds = holds
        self._matcher, self._vocabulary, self._judge, self._limits = matcher, vocabulary, judge, limits
        self._allowed_at_all = with_bits(vocabulary.content, pieces)
        self._floor = 0
        self._raw = np.zeros(-(-vocabulary.tokenizer.vocabulary_size // 32), np.uint32)
        self._tokens: list[int] = []
        # Tokens not to be taken, by how many stand before them: True where no document goes on with the token.
        self._refused: dict[int, dict[int, bool]] = {}
        self._refusals, self._leaps = 0, True
        self._valid = -1  # how many tokens made a valid document last
        self._mask: U32 | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing can follow but the end."""
        return bool(self._matcher.is_stopped())

    def allows(self, token: int) -> bool:
        """Whether the grammar goes on with a token."""
        return bool(self._matcher.validate_tokens([token]) == 1)

    def settle(self) -> None:
        """Never take back what was accepted so far."""
        self._floor = len(self._tokens)

    def mask(self) -> U32:
        """See `Constraint.mask`."""
        found = self._allowed()
        if not found.any():
            self._check()
            raise ConstraintFailedError("no token of the vocabulary continues the answer; loosen the constraint")
        return found

    def accept(self, token: int) -> int:
        """See `Constraint.accept`."""
        self._mask = None
        ends = token in self._vocabulary.stops
        if not ends and not self._matcher.consume_token(token):
            self._check()
            raise ConstraintFailedError(f"token {token} was taken though the constraint does not allow it")
        self._tokens.append(token)
        if self._judge is None or (ends and self._valid == len(self._tokens) - 1):
            return 0
        if ends or self._matcher.is_stopped():
            tokens = self._tokens[: len(self._tokens) - ends]
            return self._judged(tokens, self._judge.fault(tokens))
        early = self._judge.early_fault(self._tokens) if self.holds else None
        return self._judged(self._tokens, early) if early else 0

    def rewind(self, count: int) -> None:
        """See `Constraint.rewind`."""
        if count == 0:
            return
        dropped = self._tokens[len(self._tokens) - count :]
        consumed = sum(token not in self._vocabulary.stops for token in dropped)
        if consumed and not self._matcher.rollback(consumed):
            self._check()
        del self._tokens[len(self._tokens) - count :]
        self._valid = -1
        for place in [place for place in self._refused if place > len(self._tokens)]:
            del self._refused[place]
        self._mask = None

    def _allowed(self) -> U32:
        if self._mask is None:
            self._mask = self._computed()
        return self._mask

    def _computed(self) -> U32:
        vocabulary, raw = self._vocabulary, self._raw
        self._matcher.unsafe_compute_mask_ptr(raw.ctypes.data, raw.nbytes)
        if self._matcher.is_error():
            self._check()
        out = np.zeros(vocabulary.words, np.uint32)
        shared = min(len(raw), len(out))
        np.bitwise_and(raw[:shared], self._allowed_at_all[:shared], out=out[:shared])
        if self._matcher.is_accepting():
            for stop in vocabulary.stops:
                out[stop // 32] |= np.uint32(1 << stop % 32)
        if self._refusals and self._between(len(self._tokens)):
            out &= ~vocabulary.spaced
        for token in self._refused.get(len(self._tokens), ()):
            out[token // 32] &= ~np.uint32(1 << token % 32)
        return out

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()
            raise ConstraintFailedError(
                f"the constraint could not be followed any further ({reason[0][:200] if reason else 'no reason given'})"
                "; simplify it"
            )

    def _judged(self, tokens: Sequence[int], fault: Fault | None) -> int:
        """How many tokens to take back for the fault of what is whole; forgets them."""
        if fault is None:
            self._valid = len(self._tokens)
            return 0
        self._refusals += 1
        if self._refusals > self._limits.refusals or not self.holds:
            raise ConstraintFailedError(
                f"{self._refusals} documents in a row broke what only the schema's validator knows (last at "
                f"{fault.place}); simplify the schema or ask again with another seed"
            )
        ends = list(accumulate(map(len, self._vocabulary.bytes_of(tokens))))
        first, last = bisect_right(ends, fault.start + 1), bisect_left(ends, min(fault.end, ends[-1]))
        leap = (1 << (self._refusals - 1)) - 1 if self._leaps else 0
        return self._retreat(max(min(first, last), last - leap, self._floor), leap == 0)

    def _retreat(self, place: int, surely: bool) -> int:
        """Forget the tokens from `place` on, and do not take the first of them again; earlier ones where none is left.

        `surely`: no document goes on with it.
        """
        whole = len(self._tokens)
        while True:
            while place > self._floor and self._is_space(place):
                place -= 1
            refused = self._tokens[place]
            self.rewind(len(self._tokens) - place)
            self._refused.setdefault(place, {})[refused] = surely
            self._mask = None
            if self._allowed().any():
                return whole - place
            if not all(self._refused[place].values()):
                self._allow_again()
                return whole - place
            if place == self._floor:
                raise ConstraintFailedError("no document satisfies the schema; check it for contradictions")
            place, surely = place - 1, True

    def _between(self, place: int) -> bool:
        """Whether the token at `place` stands between a document's parts, not in a string."""
        return not in_string(b"".join(self._vocabulary.bytes_of(self._tokens[:place])))

    def _is_space(self, place: int) -> bool:
        text = self._vocabulary.bytes_of([self._tokens[place]])[0]
        return text.isspace() and self._between(place)

    def _allow_again(self) -> None:
        self._leaps = False
        sure = {place: {t: True for t, surely in tokens.items() if surely} for place, tokens in self._refused.items()}
        self._refused, self._mask = sure, None
