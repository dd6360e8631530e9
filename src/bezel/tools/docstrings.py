"""What a docstring says of a function and of its parameters: Google's, NumPy's and reST's styles."""

from __future__ import annotations

import inspect
import re

_GOOGLE = re.compile(r"(Args|Arguments|Parameters|Params)\s*:\s*$")
_ANY_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Attributes|See Also|Warns?)\s*:?\s*$"
)
_GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD = re.compile(r":(\w+)(?:\s+([^:]*))?:\s*(.*)")


def read_docstring(docstring: str | None) -> tuple[str, dict[str, str]]:
    """(what the function does, parameter to what is said of it). Both empty where nothing is said."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    about: list[str] = []
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(lines):
        underlined = at + 1 < len(lines) and re.fullmatch(r"-{3,}\s*", lines[at + 1])
        if underlined or _ANY_SECTION.fullmatch(lines[at]):
            parameters = _GOOGLE.fullmatch(lines[at] if lines[at].rstrip().endswith(":") else lines[at].rstrip() + ":")
            start = at + (2 if underlined else 1)
            at = _end_of_section(lines, start, bool(underlined))
            if parameters:
                found |= (_numpy if underlined else _google)(lines[start:at])
        elif field := _FIELD.match(lines[at]):
            at = _field(lines, at, field, found)
        else:
            about.append(lines[at])
            at += 1
    return _joined(about), {name: _joined(said) for name, said in found.items()}


def _end_of_section(lines: list[str], at: int, underlined: bool) -> int:
    """The line behind a section: where the next begins, or what is not indented any more."""
    while at < len(lines):
        next_underlined = at + 1 < len(lines) and re.fullmatch(r"-{3,}\s*", lines[at + 1])
        if next_underlined or (lines[at].strip() and not lines[at][0].isspace() and not underlined):
            break
        at += 1
    return at


def _google(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    said: list[str] = []
    for line in lines:
        entry = _GOOGLE_ENTRY.fullmatch(line.strip())
        if entry and len(line) - len(line.lstrip()) == indent:
            said = found.setdefault(entry[1], [])
            line = entry[2]
        said.append(line)
    return found


def _numpy(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    said: list[str] = []
    for line in lines:
        entry = _NUMPY_ENTRY.fullmatch(line.rstrip()) if line and not line[0].isspace() else None
        if entry:
            said = []
            for name in entry[1].split(","):
                found[name.strip().lstrip("*")] = said
        else:
            said.append(line)
    return found


def _field(lines: list[str], at: int, field: re.Match[str], found: dict[str, list[str]]) -> int:
    said = [field[3]]
    at += 1
    while at < len(lines) and (not lines[at].strip() or lines[at][0].isspace()):
        said.append(lines[at])
        at += 1
    if field[1] in ("param", "parameter", "arg", "argument") and field[2]:
        found[field[2].split()[-1].lstrip("*")] = said
    return at


def _joined(lines: list[str]) -> str:
    """One line a paragraph."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())
