"""What generation asks of a constraint."""

from __future__ import annotations

from typing import Protocol

from bezel.kernels.interface import U32


class Constraint(Protocol):
    """What one answer may still become. The state is one sequence's; nothing is shared with other answers.

    `holds`: the answer may be taken back up to its first token until it has ended, so nobody should see it before.
    """

    holds: bool

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
