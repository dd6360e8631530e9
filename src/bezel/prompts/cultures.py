"""Whom an answer is for. Five cultures come along; a TOML file or `register_culture` adds more."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bezel.errors import InvalidRequestError
from bezel.prompts.messages import known


@dataclass(frozen=True)
class Culture:
    """Readers ("Japanese readers") and what an answer to them should mind, in a sentence or two."""

    audience: str
    guidance: str

    def __post_init__(self) -> None:
        for name, text in (("audience", self.audience), ("guidance", self.guidance)):
            if not isinstance(text, str) or not text.strip():
                raise InvalidRequestError(f"a culture's {name} must be a text that says something")


def read_cultures(path: Path | str) -> dict[str, Culture]:
    """The cultures of a TOML file: a table a name, with `audience` and `guidance`.

    Raises InvalidRequestError naming the file, the table and the field.
    """
    try:
        tables = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InvalidRequestError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InvalidRequestError(f"{path}: is not TOML ({error})") from None
    cultures = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or set(table) != {"audience", "guidance"}:
            raise InvalidRequestError(f"{path}: [{name}] must have audience and guidance, and nothing else")
        try:
            cultures[name.casefold()] = Culture(**table)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{path}: [{name}]: {error}") from None
    return cultures


_cultures = read_cultures(Path(__file__).with_name("cultures.toml"))
CULTURES: Mapping[str, Culture] = MappingProxyType(_cultures)
"""Every culture known by name, those that were added included."""


def register_culture(name: str, audience: str, guidance: str) -> None:
    """Add a culture, or replace the one of that name. Names are compared without regard to case.

    Raises InvalidRequestError for a name that is empty or has a comma, and for empty texts.
    """
    if not name.strip() or "," in name:
        raise InvalidRequestError(f"{name!r} cannot name a culture; use a word or two without a comma")
    _cultures[name.strip().casefold()] = Culture(audience, guidance)


def load_cultures(path: Path | str) -> list[str]:
    """Add every culture of a TOML file, and return their names. See `cultures.toml` beside this module."""
    found = read_cultures(path)
    for name, culture in found.items():
        register_culture(name, culture.audience, culture.guidance)
    return list(found)


def culture_lines(cultures: Sequence[str]) -> list[str]:
    """An instruction a culture. Raises InvalidRequestError, with those known, for any other name."""
    found = [CULTURES[known("culture", name, CULTURES)] for name in cultures]
    return [f"For {culture.audience}: {culture.guidance}" for culture in found]
