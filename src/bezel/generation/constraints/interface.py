"""What generation asks of a constraint."""

from __future__ import annotations

from typing import Protocol

from bezel.kernels.interface import U32


class Constraint(Protocol):
    """What one answer may still become. The state is one sequence's; nothing is shared with other answers."""

    @property
    def holds(self) -> bool:
        """Whether tokens that were accepted may still be taken back, so that nobody should see them yet.

        Once it is False, what was accepted so far stands.
        """

    def mask(self) -> U32:
        """The tokens that may come next: bit t % 32 of word t // 32. At least one is set.

        Raises ConstraintFailedError where no token may come.
        """

    def accept(self, token: int) -> int:
        """Go on behind a token that the mask allows. Returns how many tokens must be taken back for it.

        0: none, the token stands. 1: the token itself, which the mask will not allow again here; n: it and the n - 1
        before it, which the constraint has forgotten already.

        Raises ConstraintFailedError where the whole answer was refused too often.
        """

    def rewind(self, count: int) -> None:
        """Forget the last `count` accepted tokens."""
