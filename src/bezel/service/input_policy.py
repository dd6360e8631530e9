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

from bezel.backends.interface import Backend
from bezel.safety.cleaning import JOINERS, joins
from bezel.safety.content import HTML_RULE, ContentPolicy, Note
from bezel.safety.marks import stream_safe
from bezel.safety.rules import Side
from bezel.safety.settings import Action
from bezel.safety.values import changed, changed_json
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
_MEANT = ("type", "name", "format", "$ref")
"""Fields of tools and schemas whose texts mean something to the server."""


@dataclass
class InputPolicy:
    """The texts of one request. `changes` names what was done to any; ApiError "too_much_text" beyond `most`.

    Behind that `content` searches them, also those that are no content of messages: names, and arguments of calls. It
    raises ContentBlockedError, and `told` is told of its rules.
    """

    most: int
    content: ContentPolicy = field(default_factory=ContentPolicy)
    told: Note | None = None
    changes: dict[str, None] = field(default_factory=dict)
    _rules: set[str] = field(default_factory=set)
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
        return self._searched(self._readable(text))

    def tokens(self, token_ids: Sequence[int], backend: Backend) -> Sequence[int]:
        """Token ids, whose text passes too. ApiError "invalid" where something of it would have to be redacted."""
        if self.content.looks_at_requests:
            text = backend.text_of(token_ids)
            if self._searched(text) != text:
                raise ApiError(
                    "invalid", "A rule redacts a part of these token ids; send the prompt as text.", "prompt"
                )
        return token_ids

    def _readable(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > self.most:
            raise ApiError("too_much_text", f"Together they may have {self.most:,} characters.")
        self._digest.update(text.encode())
        self._digest.update(b"\0")
        if text.isascii() and text.isprintable():
            return text
        seen = _SUSPECTS.sub(lambda found: found[0] if self._kept(text, found.start(), found[0]) else "", text)
        safe = stream_safe(seen)
        if safe == seen and unicodedata.is_normalized("NFC", seen):
            return seen
        self.changes["unicode normalised"] = None
        return unicodedata.normalize("NFC", safe)

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Chat messages with the texts of their content changed."""
        return [{**self._others(message), "content": self._content(message.get("content"))} for message in messages]

    def tools(self, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Tools with every description changed, where servers of tools could hide words."""
        described = [self._described(tool) for tool in tools]
        if not self.content.looks_at_requests:
            return described
        searched: list[dict[str, Any]] = changed(described, self._searched, _MEANT)
        return searched

    def _content(self, content: Any) -> Any:
        if isinstance(content, str):
            return self.text(content)
        if content is None:
            return None
        return [
            {name: self.text(value) if name in _TEXTS else value for name, value in part.items()} for part in content
        ]

    def _others(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message, what stands beside its content searched too."""
        if not self.content.looks_at_requests:
            return message
        found = dict(message)
        if "name" in found:
            found["name"] = self._searched(found["name"])
        if "tool_calls" in found:
            found["tool_calls"] = [
                {**call, "function": {**function, "arguments": changed_json(function["arguments"], self._searched)}}
                for call in found["tool_calls"]
                for function in (call["function"],)
            ]
        return found

    def _searched(self, text: str) -> str:
        return self.content.request_text(text, self._note_rule) if self.content.looks_at_requests else text

    def _note_rule(self, name: str, action: Action, side: Side) -> None:
        if name not in self._rules:
            self._rules.add(name)
            if action == "redact":
                self.changes["active HTML removed" if name == HTML_RULE else f"{name} redacted"] = None
            if self.told is not None:
                self.told(name, action, side)

    def _described(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name: self._readable(each) if name == "description" and isinstance(each, str) else self._described(each)
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
