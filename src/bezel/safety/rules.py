"""Rules over texts: what is looked for, in requests or answers, and what becomes of a text that has it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from bezel.errors import InvalidRequestError
from bezel.safety.cleaning import cleaned
from bezel.safety.patterns import Pattern, words
from bezel.safety.settings import ACTIONS, Action

Side = Literal["input", "output"]
"""Requests, or answers."""
SIDES = get_args(Side)
_NAME = re.compile(r"[a-z0-9][a-z0-9_/-]{0,63}")
_OURS = ("personal/", "guard/")
_FIELDS = {"name", "action", "on", "words", "patterns"}
_MOST = 1_000


@dataclass(frozen=True)
class Rule:
    """Its name is what metrics, logs and clients are told: never what it found."""

    name: str
    action: Action
    patterns: tuple[Pattern, ...]
    sides: tuple[Side, ...] = SIDES

    def spans(self, text: str, start: int = 0) -> Iterator[tuple[int, int]]:
        """Where it finds something, from `start` on; pattern by pattern."""
        for pattern in self.patterns:
            yield from pattern.spans(text, start)

    def finds(self, text: str) -> bool:
        """Whether it finds anything."""
        return next(self.spans(text), None) is not None

    def finds_disguised(self, text: str) -> bool:
        """Whether it finds anything in a text as it is, or as a person would read it."""
        if self.finds(text):
            return True
        read = cleaned(text).text
        return read != text and self.finds(read)


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The rules of a TOML file, each a table [[rule]].

    `name`, `action` (block, redact or flag), `on` (input, output; both where it is left out), and `words` (texts that
    stand alone, in any case), `patterns` (RE2's syntax) or both. Raises InvalidRequestError that names the file, the
    rule and what is wrong, and MissingExtraError.
    """
    try:
        read = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{file}: the rules cannot be read as TOML ({error})") from None
    tables = read.pop("rule", [])
    if read or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidRequestError(f"{file}: a file of rules has tables [[rule]] and nothing else")
    if len(tables) > _MOST:
        raise InvalidRequestError(f"{file}: {len(tables)} rules; at most {_MOST:,} are used, so join some")
    found: dict[str, Rule] = {}
    for number, table in enumerate(tables, 1):
        try:
            rule = _rule(table)
            if rule.name in found:
                raise InvalidRequestError("another rule has this name")
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{file}: rule {table.get('name', number)!r}: {error}") from None
        found[rule.name] = rule
    return tuple(found.values())


def _rule(table: Mapping[str, Any]) -> Rule:
    unknown = sorted(set(table) - _FIELDS)
    if unknown:
        raise InvalidRequestError(f"{unknown[0]!r} is not known; choose from {', '.join(sorted(_FIELDS))}")
    name, action, sides = table.get("name"), table.get("action"), table.get("on", list(SIDES))
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith(_OURS):
        raise InvalidRequestError(
            "its name must be 1 to 64 of a-z, 0-9, -, _ and /, and not begin with " + " or ".join(_OURS)
        )
    if action not in ACTIONS:
        raise InvalidRequestError(f"its action must be one of {', '.join(ACTIONS)}")
    if not isinstance(sides, list) or not sides or not all(side in SIDES for side in sides):
        raise InvalidRequestError(f"`on` must be a list of {' and '.join(SIDES)}")
    patterns = [Pattern(source) for source in _texts(table, "patterns")]
    alone = _texts(table, "words")
    if alone:
        patterns.append(Pattern(*words(alone)))
    if not patterns:
        raise InvalidRequestError("it looks for nothing; give it words or patterns")
    return Rule(name, cast(Action, action), tuple(patterns), tuple(side for side in SIDES if side in sides))


def _texts(table: Mapping[str, Any], field: str) -> list[str]:
    found = table.get(field, [])
    if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
        raise InvalidRequestError(f"`{field}` must be a list of texts that are not empty")
    return found
