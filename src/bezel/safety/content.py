"""The content policy: what is looked for in requests and answers, as one object that another can replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

from bezel.errors import ContentBlockedError
from bezel.safety.cleaning import cleaned
from bezel.safety.guard import Guard
from bezel.safety.markup import active, check_installed, without_active
from bezel.safety.personal import personal_rules
from bezel.safety.rules import Rule, Side, read_rules
from bezel.safety.settings import Action, PolicySettings

Note: TypeAlias = Callable[[str, Action, Side], None]
"""Told of a rule by its name, once for a text in which it found something."""
HTML_RULE = "active-html"


@dataclass(frozen=True)
class ContentPolicy:
    """Frozen: a request is answered under the one that held when it came.

    `hold_back` and `guard_every` are characters of a stream; see `PolicySettings`.
    """

    rules: tuple[Rule, ...] = ()
    html: Literal["keep", "remove", "block"] = "keep"
    guard: Guard | None = None
    hold_back: int = 100
    guard_every: int = 500

    @classmethod
    def of(cls, settings: PolicySettings, guard: Guard | None = None) -> ContentPolicy:
        """The policy of settings, whose file of rules is read. Raises as `read_rules`.

        `guard` holds the models that `settings.guard` names.
        """
        if settings.active_html != "keep":
            check_installed()
        own = read_rules(Path(settings.rules)) if settings.rules else ()
        personal = personal_rules(settings.kinds, cast(Action, settings.personal_data_action))
        html = cast(Literal["keep", "remove", "block"], settings.active_html)
        return cls((*own, *personal), html, guard, settings.hold_back_chars, settings.guard_every_chars)

    def with_rules_of(self, settings: PolicySettings) -> ContentPolicy:
        """The policy of other settings, with the models that are loaded already. Raises as `of`."""
        return replace(self.of(settings), guard=self.guard)

    @property
    def described(self) -> tuple[object, ...]:
        """What it looks for and does, to be compared with another's."""
        rules = [(rule.name, rule.action, rule.sides, [each.source for each in rule.patterns]) for rule in self.rules]
        return rules, self.html, self.hold_back, self.guard_every

    @property
    def looks_at_answers(self) -> bool:
        """Whether anything of an answer may be changed or held back."""
        return self.guard is not None or bool(self.of_side("output"))

    @property
    def looks_at_requests(self) -> bool:
        """Whether the texts of a request are searched."""
        return self.html != "keep" or bool(self.of_side("input"))

    def of_side(self, side: Side) -> tuple[Rule, ...]:
        """The rules for requests, or for answers."""
        return tuple(rule for rule in self.rules if side in rule.sides)

    def request_text(self, text: str, note: Note) -> str:
        """A text of a request, without active HTML and what rules redact. Raises ContentBlockedError."""
        if self.html != "keep" and active(text):
            after = without_active(text) if self.html == "remove" else text
            if self.html == "block" or after != text:
                note(HTML_RULE, "block" if self.html == "block" else "redact", "input")
            if self.html == "block":
                raise ContentBlockedError("the request was blocked by policy: active HTML")
            text = after
        return searched(text, self.of_side("input"), "input", note)


def searched(text: str, rules: Sequence[Rule], side: Side, note: Note) -> str:
    """A whole text without what rules redact. Raises ContentBlockedError where one blocks.

    Those that block and flag look at it as a person would read it too (`cleaning`).
    """
    cuts: list[tuple[int, int, str]] = []
    blocked = False
    read = None
    for rule in rules:
        if rule.action == "redact":
            found = [(start, end, rule.name) for start, end in rule.spans(text)]
            cuts += found
            if found:
                note(rule.name, rule.action, side)
            continue
        read = cleaned(text).text if read is None else read
        if rule.finds(text) or (read != text and rule.finds(read)):
            note(rule.name, rule.action, side)
            blocked = blocked or rule.action == "block"
    if blocked:
        raise ContentBlockedError("the text was blocked by policy")
    return redacted(text, cuts)


def redacted(text: str, cuts: Sequence[tuple[int, int, str]]) -> str:
    """A text with the name of a rule in the place of each piece (start, end, rule); those that overlap become one."""
    parts: list[str] = []
    place = 0
    for start, end, name in sorted(cuts):
        if start >= place:
            parts += text[place:start], placeholder(name)
        place = max(place, end)
    return "".join(parts) + text[place:]


def placeholder(name: str) -> str:
    """What stands where a rule redacted something; JSON needs no escapes for it."""
    return f"[{name}]"
