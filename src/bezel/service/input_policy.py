"""What is done to texts before a model sees them: one form of Unicode, nothing that a person would not see.

Changes are reported to the client by their names. Lengths are checked, and never cut.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bezel.safety.cleaning import JOINERS, joins
from bezel.service.errors import ApiError
from bezel.service.exchange import Exchange

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SEEN = "\n\t\r\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Of the categories of what is invisible, and seen all the same."""
_SELECTORS = range(0xE0100, 0xE01F0)
_SUSPECTS = re.compile(
    "["
    + "".join(
        re.escape(chr(code))
        for codes in (range(0x20000), range(0xE0000, 0xE1000))
        for code in codes
        if unicodedata.category(chr(code)) in ("Cc", "Cf") or code in _SELECTORS
        if chr(code) not in _SEEN
    )
    + "]"
)
"""What may have to go; most texts have none, and are read once."""
_TEXTS = ("text", "refusal")


@dataclass
class InputPolicy:
    """The texts of one request. `changes` names what was done to any; ApiError "too_much_text" beyond `most`."""

    most: int
    changes: dict[str, None] = field(default_factory=dict)
    _characters: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def content_sha256(self) -> str:
        """Of all texts as they came."""
        return str(self._digest.hexdigest())

    def note(self, exchange: Exchange) -> None:
        """Tell the client what was changed, and the log what came."""
        exchange.content_sha256, exchange.changes = self.content_sha256, tuple(self.changes)
        if self.changes:
            exchange.headers["x-bezel-input-changes"] = ", ".join(self.changes)

    def text(self, text: str) -> str:
        """A text as the model sees it."""
        self._characters += len(text)
        if self._characters > self.most:
            raise ApiError("too_much_text", f"Together they may have {self.most:,} characters.")
        self._digest.update(text.encode())
        self._digest.update(b"\0")
        if text.isascii() and text.isprintable():
            return text
        seen = _SUSPECTS.sub(lambda found: found[0] if self._kept(text, found.start(), found[0]) else "", text)
        if unicodedata.is_normalized("NFC", seen):
            return seen
        self.changes["unicode normalised"] = None
        return unicodedata.normalize("NFC", seen)

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Chat messages with the texts of their content changed."""
        return [{**message, "content": self._content(message.get("content"))} for message in messages]

    def tools(self, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Tools with every description changed, where servers of tools could hide words."""
        return [self._described(tool) for tool in tools]

    def _content(self, content: Any) -> Any:
        if isinstance(content, str):
            return self.text(content)
        if content is None:
            return None
        return [
            {name: self.text(value) if name in _TEXTS else value for name, value in part.items()} for part in content
        ]

    def _described(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name: self.text(each) if name == "description" and isinstance(each, str) else self._described(each)
                for name, each in value.items()
            }
        return [self._described(each) for each in value] if isinstance(value, list) else value

    def _kept(self, text: str, place: int, character: str) -> bool:
        if character in JOINERS and joins(text, place):
            return True
        if ord(character) in _SELECTORS and place and unicodedata.name(text[place - 1], "").startswith("CJK"):
            return True  # it chooses a form of the ideograph before it
        if character in _BIDI:
            change = "direction marks removed"
        else:
            control = unicodedata.category(character) == "Cc"
            change = "control characters removed" if control else "invisible characters removed"
        self.changes[change] = None
        return False
