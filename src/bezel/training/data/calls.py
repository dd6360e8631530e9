"""Function calls: made-up tools asked for by their parameters' names, and everyday tools asked for in natural words."""

import random
import re
from dataclasses import dataclass, replace
from typing import Any

from bezel.training.data import everyday, words
from bezel.training.data.everyday import framing
from bezel.training.data.example import Example, Split, choose, compact_json, held_out, single_turn

Values = dict[str, Any]

_OPENERS = (
    "",
    "",
    "Please ",
    "Can you ",
    "Could you ",
    "I need you to ",
    "Now ",
    "Hey, ",
    "I want to ",
    "Let's ",
    "Help me ",
)
_JOINTS = (
    *(", ", ": ", " - ", " (", "; ", ".\n", "\n", "... ", " and ", ". ", " -> ", " | ", ", and ", " / "),
    *(
        f"{mark} {word} "
        for mark in ("", ",", ";", " -", ".", ":")
        for word in ("with", "using", "where", "please", "having", "given", "namely", "and", "like so:", "this way:")
    ),
)
_SETTINGS = tuple(
    form.format(article=article)
    for form in (
        "{article}{{p}} {{v}}",
        "{article}{{p}}: {{v}}",
        "{article}{{p}} is {{v}}",
        "{{v}} as {article}{{p}}",
        "{article}{{p}} = {{v}}",
        "with {article}{{p}} {{v}}",
        "for {article}{{p}} use {{v}}",
        "let {article}{{p}} be {{v}}",
        "{article}{{p}} must be {{v}}",
        "set {article}{{p}} to {{v}}",
        "{article}{{p}} -> {{v}}",
        "take {{v}} as {article}{{p}}",
        "put {{v}} in {article}{{p}}",
        "use {{v}} for {article}{{p}}",
        "{article}{{p}} should be {{v}}",
        "{{v}} goes in {article}{{p}}",
        "{{v}} is {article}{{p}}",
        "pick {{v}} for {article}{{p}}",
        "{article}{{p}} equal to {{v}}",
        "{article}{{p}} named {{v}}",
        "{article}{{p}} will be {{v}}",
        "choosing {{v}} as {article}{{p}}",
        "by {article}{{p}} {{v}}",
        "I said {article}{{p}} {{v}}",
        '{article}{{p}} "{{v}}"',
        "having {article}{{p}} {{v}}",
    )
    for article in ("", "the ", "its ", "my ")
)
_LINKS = tuple(
    mark + word
    for mark in (" ", ", ", "; ", ". ", " - ", "\n", "... ", ".\n")
    for word in (
        *("", "then ", "and ", "and then ", "also ", "and also ", "after that ", "plus ", "next ", "afterwards "),
        *("finally ", "once done ", "besides ", "as well as ", "and next ", "second, ", "when done, ", "oh and "),
    )
    if (mark + word).strip()
)
_DISTRACTORS = (0, 1, 1, 2, 3)
"""How many tools are on offer that nobody asked for."""
_EVERYDAY_SHARE = 0.45


@dataclass(frozen=True)
class Tool:
    """An OpenAI function schema with the words by which people ask for it."""

    schema: dict[str, Any]
    verb: str
    thing: str


def schema(name: str, description: str, parameters: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """An OpenAI tool of `parameters` (JSON schemas by name)."""
    body = {"type": "object", "properties": parameters, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": body}}


def _parameter(rng: random.Random, split: Split) -> tuple[str, dict[str, Any]]:
    kind, made_up = rng.random(), rng.random() < 0.6
    if kind < 0.5:
        suffix = rng.choice(("", "_name", "_code", "_id"))
        return (words.made_up(rng, split) + suffix if made_up else rng.choice(words.TEXT_PARAMETERS)), {
            "type": "string"
        }
    if kind < 0.75:
        suffix = rng.choice(("_count", "_level", "_id", ""))
        return (words.made_up(rng, split) + suffix if made_up else rng.choice(words.NUMBER_PARAMETERS)), {
            "type": rng.choice(("integer", "integer", "number"))
        }
    if kind < 0.87:
        return rng.choice(words.FLAGS), {"type": "boolean"}
    if made_up:
        return words.made_up(rng, split), {"type": "string", "enum": [words.made_up(rng, split) for _ in range(3)]}
    name = rng.choice(list(words.ENUMS))
    return name, {"type": "string", "enum": list(words.ENUMS[name])}


def made_up_tool(rng: random.Random, split: Split) -> Tool:
    """A tool `verb_thing`; known verb-noun pairs are held out by hash, made-up nouns by their own."""
    while True:
        verb, noun = rng.choice(list(words.VERBS)), words.noun(rng, split)
        if split == "held_out" or not held_out(verb + noun):
            break
    thing = f"{words.noun(rng, split)} {noun}" if rng.random() < 0.3 else noun
    parameters = dict(_parameter(rng, split) for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5))))
    required = [name for name in parameters if rng.random() < 0.6] or list(parameters)[:1]
    name = f"{verb}_{thing.replace(' ', '_')}"
    description = f"{rng.choice(words.VERBS[verb]).capitalize()} {rng.choice(('a', 'the'))} {thing}"
    return Tool(schema(name, description, parameters, required), verb, thing)


def _setting(rng: random.Random, split: Split, wording: Split, name: str, kind: dict[str, Any]) -> tuple[str, Any]:
    spoken = name.replace("_", " ")
    if kind["type"] == "boolean":
        value = rng.random() < 0.5
        forms = ("{} on", "{} yes", "with {}", "{} true") if value else ("{} off", "no {}", "without {}", "{} false")
        return rng.choice(forms).format(spoken), value
    if "enum" in kind:
        choice = rng.choice(kind["enum"])
        return rng.choice((f"{choice} {spoken}", choose(rng, wording, _SETTINGS).format(p=spoken, v=choice))), choice
    filled = words.integer(rng) if kind["type"] in ("integer", "number") else words.text(rng, split)
    return choose(rng, wording, _SETTINGS).format(p=spoken, v=filled), filled


def _named_request(rng: random.Random, split: Split, wording: Split, tool: Tool) -> tuple[str, Values]:
    function = tool.schema["function"]
    parameters, required = function["parameters"]["properties"], function["parameters"]["required"]
    used = [name for name in parameters if name in required or rng.random() < 0.6]
    rng.shuffle(used)
    settings = {name: _setting(rng, split, wording, name, parameters[name]) for name in used}
    phrases = [phrase for phrase, _ in settings.values()]
    tail = ", ".join(phrases[:-1]) + (rng.choice((" and ", ", ")) if len(phrases) > 1 else "") + phrases[-1]
    joint = choose(rng, wording, _JOINTS)
    asked = f"{rng.choice(words.VERBS[tool.verb])} {rng.choice(('the ', 'a ', 'my ', ''))}{tool.thing}"
    arguments = {name: settings[name][1] for name in parameters if name in settings}
    return f"{asked}{joint}{tail}{')' if joint == ' (' else ''}", {"name": function["name"], "parameters": arguments}


class _MadeUp:
    """Made-up tools on offer."""

    def __init__(self, rng: random.Random, split: Split, count: int) -> None:
        tools: dict[str, Tool] = {}
        while len(tools) < count:
            tool = made_up_tool(rng, split)
            tools.setdefault(tool.schema["function"]["name"], tool)
        self._tools = list(tools.values())

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [tool.schema for tool in self._tools]

    def ask(self, rng: random.Random, split: Split, wording: Split, wanted: int) -> tuple[str, list[Values]]:
        """A message that asks for `wanted` different tools, and the calls."""
        asked = [_named_request(rng, split, wording, tool) for tool in rng.sample(self._tools, wanted)]
        link = choose(rng, wording, _LINKS)
        if link[0] in ".\n" and rng.random() < 0.6:
            link = re.sub(r"[a-z]", lambda letter: letter[0].upper(), link, count=1)
        user = rng.choice(_OPENERS) + link.join(request for request, _ in asked)
        user = user if rng.random() < 0.3 else user[0].upper() + user[1:]
        return user + rng.choice(("", ".", "?", "!", " please", "")), [call for _, call in asked]


class _Everyday:
    """Everyday tools on offer, half of those behind the first from its domain, with a share of indirect requests."""

    def __init__(self, rng: random.Random, split: Split, count: int, indirect_share: float) -> None:
        self._indirect_share = indirect_share
        tools = everyday.everyday_tools()
        offers: dict[str, everyday.Offer] = {}
        while len(offers) < count:
            near = [tool for tool in tools if offers and tool.domain == next(iter(offers.values())).tool.domain]
            offer = everyday.offer(rng, split, rng.choice(near if near and rng.random() < 0.5 else tools))
            if offer.tool not in [one.tool for one in offers.values()]:
                offers.setdefault(offer.schema["function"]["name"], offer)
        self._offers = list(offers.values())

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [offer.schema for offer in self._offers]

    def ask(self, rng: random.Random, split: Split, wording: Split, wanted: int) -> tuple[str, list[Values]]:
        """A message that asks for `wanted` different calls, now and then two of one tool, and the calls."""
        asked: list[everyday.Request] = []
        unused = rng.sample(self._offers, len(self._offers))
        while len(asked) < wanted:
            again = asked and (not unused or rng.random() < 0.15)
            offer = rng.choice(self._offers) if again else unused.pop()
            request = everyday.request(rng, split, wording, offer, self._indirect_share)
            if request.call not in [one.call for one in asked]:
                asked.append(request)
        return framing.frame(rng, wording, asked), [request.call for request in asked]


def sample(rng: random.Random, split: Split, wording: Split | None = None) -> Example:
    """One to six tools and a request for one, two or three calls; the answer is JSON, an array for several.

    `wording` is the split of phrasings, `split` that of names and values; by default both are one.
    """
    return sample_of_several(rng, split, 1, wording=wording)


def sample_of_several(
    rng: random.Random,
    split: Split,
    questions: int = 4,
    everyday_share: float = _EVERYDAY_SHARE,
    wording: Split | None = None,
    indirect_share: float = 0.0,
) -> Example:
    """As `sample`, with further questions about the same tools in `Example.more`."""
    counts = rng.choices((1, 2, 3), (58, 33, 9), k=questions)
    is_everyday, tools = rng.random() < everyday_share, max(counts) + rng.choice(_DISTRACTORS)
    offered = _Everyday(rng, split, tools, indirect_share) if is_everyday else _MadeUp(rng, split, tools)
    asked = []
    for wanted in counts:
        user, found = offered.ask(rng, split, wording or split, wanted)
        asked.append((user, compact_json(found[0] if wanted == 1 else found)))
    schemas = offered.schemas
    rng.shuffle(schemas)
    return replace(single_turn(*asked[0], "calls", schemas), more=tuple(asked[1:]))
