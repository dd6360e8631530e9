"""Everyday tools and the requests people make of them, read from `tools/*.txt`.

A tool in those files is a block of lines, and a domain begins with `## name`:

    @ function_name, another_name             what the function may be called
    : One description. / Another one.
    room* room : room, location               key, * if required, filler, names it may bear
    level int 1-100 : brightness, level
    quiet bool : quiet
    mode enum eco/auto : mode
    - dim the {room} (light|lamp) to {level}  an imperative; (a|b) picks one
    ? is it {day:date} already                a question; slot:filler overrides the filler
    ~ too bright in here => quiet=true        a statement; the words after => are what it implies

`indirect/*.txt` have further requests below the first name of a tool, of which most do not say what the tool does.
"""

import random
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from bezel.training.data import words
from bezel.training.data.everyday import fillers
from bezel.training.data.example import Split, choose

Piece = tuple[str, bool]
"""A stretch of text, and whether it is a value, whose letters nothing may change."""


@dataclass(frozen=True)
class Parameter:
    """A parameter: what fills it, its JSON schema, and the names it may bear."""

    key: str
    required: bool
    filler: str
    names: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        return fillers.schema(self.filler)


@dataclass(frozen=True)
class Everyday:
    """An everyday tool; each request, `indirect` ones too, is its kind (`-`, `?` or `~`), a space and its wording."""

    domain: str
    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    requests: tuple[str, ...]
    indirect: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A tool as shown to the model: its OpenAI schema, and the name each parameter bears there."""

    tool: Everyday
    schema: dict[str, Any]
    bears: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What a person says for one call: its kind, its pieces, whether it ends in free text, and the call."""

    kind: str
    pieces: list[Piece]
    open_ended: bool
    call: dict[str, Any]


def _parameter(line: str) -> Parameter:
    left, _, names = line.partition(" : ")
    key, _, filler = left.partition(" ")
    return Parameter(key.rstrip("*"), key.endswith("*"), filler, tuple(names.split(", ")))


def _tools(text: str) -> list[Everyday]:
    found: list[Everyday] = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        domain, _, body = section.partition("\n")
        for block in re.split(r"^@ ", body, flags=re.MULTILINE)[1:]:
            names, descriptions, *lines = [line for line in block.splitlines() if line]
            found.append(
                Everyday(
                    domain,
                    tuple(names.split(", ")),
                    tuple(descriptions.removeprefix(": ").split(" / ")),
                    tuple(_parameter(line) for line in lines if line[0] not in "-?~"),
                    tuple(line for line in lines if line[0] in "-?~"),
                )
            )
    return found


def _indirect(text: str) -> dict[str, tuple[str, ...]]:
    blocks = (block.splitlines() for block in re.split(r"^@ ", text, flags=re.MULTILINE)[1:])
    return {name: tuple(lines) for name, *lines in blocks}


def _texts(folder: str) -> list[str]:
    entries = (files("bezel.training.data.everyday") / folder).iterdir()
    found = sorted((entry.name, entry.read_text("utf-8")) for entry in entries if entry.name.endswith(".txt"))
    return [text for _, text in found]


@cache
def everyday_tools() -> tuple[Everyday, ...]:
    """Every everyday tool, in the order of the files."""
    indirect = {name: lines for text in _texts("indirect") for name, lines in _indirect(text).items()}
    tools = [tool for text in _texts("tools") for tool in _tools(text)]
    return tuple(replace(tool, indirect=indirect[tool.names[0]]) for tool in tools)


def _description(rng: random.Random, text: str) -> str:
    text = text.rstrip(".")
    if rng.random() < 0.15:
        text = rng.choice(("This function ", "Use this to ", "Tool: ", "Call it to ")) + text[0].lower() + text[1:]
    return text + rng.choice(("", "", "."))


def offer(rng: random.Random, split: Split, tool: Everyday) -> Offer:
    """`tool` under one of its names, its parameters shuffled and some renamed to made-up words that are described."""
    name = rng.choice(tool.names)
    if rng.random() < 0.06:
        name = "_".join(words.made_up(rng, split) for _ in range(rng.choice((1, 2))))
    shuffled = rng.sample(tool.parameters, len(tool.parameters)) if rng.random() < 0.5 else list(tool.parameters)
    camel = rng.random() < 0.08
    properties: dict[str, Any] = {}
    bears: dict[str, str] = {}
    described = rng.random() < 0.2
    for parameter in shuffled:
        spoken = rng.choice([known for known in parameter.names if known not in properties])
        body = dict(parameter.schema)
        shown = spoken
        if rng.random() < 0.1:
            shown = words.made_up(rng, split)
        elif camel:
            shown = re.sub(r"_(\w)", lambda letter: letter[1].upper(), spoken)
        if (shown != spoken and not camel) or described:
            body["description"] = rng.choice(("", "", "the ")) + spoken.replace("_", " ")
        properties[shown], bears[parameter.key] = body, shown
    required = [bears[parameter.key] for parameter in shuffled if parameter.required]
    body = {"type": "object", "properties": properties, "required": required}
    described_as = _description(rng, rng.choice(tool.descriptions))
    function = {"name": name, "description": described_as, "parameters": body}
    return Offer(tool, {"type": "function", "function": function}, bears)


def expand(rng: random.Random, wording: str) -> str:
    """`wording` with one branch of each `(a|b)` taken, innermost first."""
    while match := re.search(r"\(([^()|]*(?:\|[^()|]*)+)\)", wording):
        wording = wording[: match.start()] + rng.choice(match[1].split("|")) + wording[match.end() :]
    return re.sub(r"  +", " ", wording).strip()


def implied(values: str) -> dict[str, Any]:
    """The values after `=>`: `quiet=true, mode=eco` is `{"quiet": True, "mode": "eco"}`."""
    pairs = (item.split("=") for item in values.split(", ") if item)
    return {key.strip(): {"true": True, "false": False}.get(value, value) for key, value in pairs}


def request(
    rng: random.Random, split: Split, wording_split: Split, offered: Offer, indirect_share: float = 0.0
) -> Request:
    """One way to ask for the offered tool, of `wording_split`, with values of `split`; and the call that answers it."""
    indirect = indirect_share > 0 and rng.random() < indirect_share
    line = choose(rng, wording_split, offered.tool.indirect if indirect else offered.tool.requests)
    wording, _, hints = line[2:].partition(" => ")
    fills = {parameter.key: parameter.filler for parameter in offered.tool.parameters}
    values = implied(hints)
    pieces: list[Piece] = []
    free = False
    parts = re.split(r"\{(\w+(?::[^}]+)?)\}", expand(rng, wording))
    for place, part in enumerate(parts):
        if place % 2 == 0:
            pieces += [(part, False)] if part else []
            free = free and not part
            continue
        key, _, other = part.partition(":")
        filler = other or fills[key]
        for _ in range(9):
            spoken, value = fillers.fill(rng, split, filler)
            if value not in values.values():
                break
        tight = (parts[place - 1][-1:] or " ") in "$€£#" or (parts[place + 1][:1] or " ") not in " ,.;:?!"
        if isinstance(value, (int, float)) and not isinstance(value, bool) and tight:
            spoken = str(value)
        pieces.append((spoken, True))
        values[key], free = value, filler in fillers.FREE
    arguments = {shown: values[key] for key, shown in offered.bears.items() if key in values}
    call = {"name": offered.schema["function"]["name"], "parameters": arguments}
    return Request(line[0], pieces, free, call)
