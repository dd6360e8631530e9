"""What can be set of the content policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from bezel.errors import InvalidRequestError

Action = Literal["block", "redact", "flag"]
"""What becomes of a text in which a rule finds something: refused, shown without it, or counted alone."""
ACTIONS = get_args(Action)
HTML = ("keep", "remove", "block")
KINDS = ("email", "phone", "iban", "card", "ip", "ssn")
"""Of personal data."""


@dataclass(frozen=True)
class PolicySettings:
    """[policy] of bezel.toml. Where nothing is set, nothing is looked at.

    Raises InvalidRequestError for numbers out of range and for words that are none of those to choose from.
    """

    rules: str | None = None
    """A file of rules; see `rules.read_rules`."""
    personal_data: tuple[str, ...] = ()
    """Kinds of personal data that are looked for, or "all"."""
    personal_data_action: str = "redact"
    active_html: str = "keep"
    """What becomes of HTML in requests that could run something."""
    hold_back_chars: int = 100
    """Of a stream, held back until what follows has come: no part of a match that is no longer than this is sent."""
    guard: tuple[str, ...] = ()
    """ShieldGemmas that judge requests and answers; a ShieldGemma 2 judges images."""
    guard_threshold: float = 0.5
    """The probability from which one of its policies counts as violated."""
    guard_policies: tuple[str, ...] = ()
    """Those that are asked about; all where nothing is said."""
    guard_every_chars: int = 500
    """Of a stream, judged together with what was sent before it is sent."""

    def __post_init__(self) -> None:
        for name, low, high in (("hold_back_chars", 1, 100_000), ("guard_every_chars", 1, 1_000_000)):
            if not low <= getattr(self, name) <= high:
                raise InvalidRequestError(f"{name} is {getattr(self, name)}; it must lie between {low} and {high}")
        if not 0 < self.guard_threshold <= 1:
            raise InvalidRequestError(f"guard_threshold is {self.guard_threshold}; it must be above 0 and at most 1")
        for name, known in (("personal_data_action", ACTIONS), ("active_html", HTML)):
            if getattr(self, name) not in known:
                raise InvalidRequestError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}")
        for kind in self.personal_data:
            if kind not in (*KINDS, "all"):
                raise InvalidRequestError(f"personal_data has {kind!r}; choose of {', '.join(KINDS)}, or all")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of personal data that are looked for."""
        return KINDS if "all" in self.personal_data else tuple(dict.fromkeys(self.personal_data))
