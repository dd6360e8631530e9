"""Function calls: tools of made-up and everyday words, and everyday requests that never name a parameter."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bezel.training.data import words
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
_JOINTS = (", ", " with ", ": ", " - ", " using ", " (", "; ", " where ", ", please ", "\n", "... ", " and ")
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
_LINKS = (", then ", " and then ", "; also ", ". After that ", " and ", ". Also ", ", and ", ". And ", " plus ")


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


def _setting(rng: random.Random, split: Split, name: str, kind: dict[str, Any]) -> tuple[str, Any]:
    spoken = name.replace("_", " ")
    if kind["type"] == "boolean":
        value = rng.random() < 0.5
        forms = ("{} on", "{} yes", "with {}", "{} true") if value else ("{} off", "no {}", "without {}", "{} false")
        return rng.choice(forms).format(spoken), value
    if "enum" in kind:
        choice = rng.choice(kind["enum"])
        return rng.choice((f"{choice} {spoken}", choose(rng, split, _SETTINGS).format(p=spoken, v=choice))), choice
    filled = words.integer(rng) if kind["type"] in ("integer", "number") else words.text(rng, split)
    return choose(rng, split, _SETTINGS).format(p=spoken, v=filled), filled


def _named_request(rng: random.Random, split: Split, tool: Tool) -> tuple[str, Values]:
    function = tool.schema["function"]
    parameters, required = function["parameters"]["properties"], function["parameters"]["required"]
    used = [name for name in parameters if name in required or rng.random() < 0.6]
    rng.shuffle(used)
    settings = {name: _setting(rng, split, name, parameters[name]) for name in used}
    phrases = [phrase for phrase, _ in settings.values()]
    tail = ", ".join(phrases[:-1]) + (rng.choice((" and ", ", ")) if len(phrases) > 1 else "") + phrases[-1]
    joint = choose(rng, split, _JOINTS)
    asked = f"{rng.choice(words.VERBS[tool.verb])} {rng.choice(('the ', 'a ', 'my ', ''))}{tool.thing}"
    arguments = {name: settings[name][1] for name in parameters if name in settings}
    return f"{asked}{joint}{tail}{')' if joint == ' (' else ''}", {"name": function["name"], "parameters": arguments}


@dataclass(frozen=True)
class Everyday:
    """An everyday tool and requests for it that show the values and not the parameters' names."""

    names: tuple[str, ...]
    description: str
    types: dict[str, Any]
    requests: tuple[str, ...]


_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
EVERYDAY = (
    Everyday(
        ("weather_lookup", "get_weather", "forecast"),
        "Weather of a place",
        {"place": _TEXT, "days": _NUMBER},
        (
            "is it sunny in {place}",
            "I am off to {place} for {days} days, umbrella or not",
            "{place} over the next {days} days, sunny",
            "do I need a coat in {place}",
            "how warm is {place} now",
            "{days} days in {place}, how will the sky be",
            "how hot does {place} get",
        ),
    ),
    Everyday(
        ("alarm_at", "add_alarm", "wake_up"),
        "Ring at a time",
        {"time": _TEXT},
        (
            "get me out of bed at {time}",
            "I must be up by {time}",
            "ring at {time}",
            "{time}, do not let me sleep on",
            "alarm {time}",
        ),
    ),
    Everyday(
        ("text_person", "message", "send_sms"),
        "Message someone",
        {"to": _TEXT, "text": _TEXT},
        (
            "tell {to} {text}",
            "let {to} know: {text}",
            "write to {to} that {text}",
            "drop {to} a line saying {text}",
            "text {to} {text}",
        ),
    ),
    Everyday(
        ("reserve", "table_booking"),
        "Reserve a table",
        {"place": _TEXT, "people": _NUMBER, "time": _TEXT},
        (
            "we are {people} and hungry, {place} at {time}",
            "a table at {place} for {people}, {time}",
            "{people} of us want to eat at {place} at {time}",
            "supper at {place}, {people} people, around {time}",
        ),
    ),
    Everyday(
        ("light_on", "lamp_on"),
        "Switch a light on",
        {"room": _TEXT, "brightness": _NUMBER},
        (
            "I can't see a thing in the {room}",
            "light up the {room}",
            "{room} lamp at {brightness} percent",
            "some light in the {room}",
        ),
    ),
    Everyday(
        ("light_off", "lamp_off"),
        "Switch a light off",
        {"room": _TEXT},
        (
            "make it dark in the {room}",
            "nobody needs light in the {room}",
            "{room} lights out",
            "off with the {room} lamp",
        ),
    ),
    Everyday(
        ("exchange", "convert"),
        "Convert money",
        {"amount": _NUMBER, "from": _TEXT, "to": _TEXT},
        (
            "{amount} {from} in {to}",
            "what would {amount} {from} be in {to}",
            "change {amount} {from} into {to}",
            "I hold {amount} {from} and want {to}",
        ),
    ),
    Everyday(
        ("flights", "search_flight"),
        "Search flights",
        {"origin": _TEXT, "destination": _TEXT, "date": _TEXT},
        (
            "{origin} to {destination} on {date}",
            "fly me from {origin} to {destination}, {date}",
            "I leave {origin} for {destination} on {date}",
            "on {date} I want to go from {origin} to {destination}",
        ),
    ),
    Everyday(
        ("shopping", "buy_list"),
        "Add to the shopping list",
        {"item": _TEXT, "quantity": _NUMBER},
        (
            "we need {quantity} {item}",
            "no {item} left at home",
            "buy {item}",
            "{quantity} {item} for the weekend",
            "remember {item}",
        ),
    ),
    Everyday(
        ("timer", "countdown"),
        "Count minutes down",
        {"minutes": _NUMBER},
        (
            "{minutes} minutes from now call me",
            "the cake takes {minutes} minutes",
            "count {minutes} minutes",
            "{minutes} minutes, go",
        ),
    ),
    Everyday(
        ("parcel", "shipment_status"),
        "Find a parcel",
        {"number": _TEXT},
        ("where is {number}", "has {number} arrived", "my package {number}, any idea", "when does {number} come"),
    ),
    Everyday(
        ("lock", "secure"),
        "Lock a door",
        {"door": _TEXT},
        ("is the {door} shut? lock it", "nobody may come in by the {door}", "close up the {door}"),
    ),
    Everyday(
        ("volume", "loudness"),
        "Set the volume",
        {"level": _NUMBER},
        ("turn it to {level}", "I hear nothing, go up to {level}", "quieter, {level}"),
    ),
    Everyday(
        ("heat", "set_temperature"),
        "Heat a room",
        {"room": _TEXT, "degrees": _NUMBER},
        (
            "I am cold, {room} at {degrees}",
            "{degrees} degrees in the {room}",
            "warm the {room} up to {degrees}",
            "{room} is too hot, {degrees} will do",
        ),
    ),
    Everyday(
        ("calendar", "add_event"),
        "Put in the calendar",
        {"title": _TEXT, "date": _TEXT},
        ("{title} on {date}", "I have {title} on {date}", "remember {title}, {date}", "keep {date} free for {title}"),
    ),
    Everyday(
        ("taxi", "ride"),
        "Call a ride",
        {"pickup": _TEXT, "dropoff": _TEXT},
        (
            "I'm at {pickup} and must get to {dropoff}",
            "from {pickup} to {dropoff} by car",
            "a cab from {pickup} to {dropoff}",
            "take me to {dropoff}, I wait at {pickup}",
        ),
    ),
    Everyday(
        ("file_rename", "rename"),
        "Rename a file",
        {"old": _TEXT, "new": _TEXT},
        ("{old} is now {new}", "call {old} {new} instead", "{new} is a better name for {old}", "change {old} to {new}"),
    ),
)
_ROOMS = ("kitchen", "bedroom", "hall", "bathroom", "attic", "office", "garage", "cellar", "living room", "studio")
_FILLERS: dict[str, Callable[[random.Random, Split], Any]] = {
    "place": lambda rng, split: rng.choice((rng.choice(words.PLACES), words.made_up(rng, split).capitalize())),
    "to": lambda rng, split: rng.choice((rng.choice(words.PEOPLE), words.made_up(rng, split).capitalize())),
    "text": lambda rng, split: " ".join(
        words.made_up(rng, split) if rng.random() < 0.3 else rng.choice(words.TOPICS) for _ in range(rng.randint(2, 5))
    ),
    "time": lambda rng, split: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
    "date": lambda rng, split: f"20{rng.randint(24, 35)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    "room": lambda rng, split: rng.choice((rng.choice(_ROOMS), words.made_up(rng, split))),
    "door": lambda rng, split: rng.choice((rng.choice(_ROOMS), words.made_up(rng, split))),
    "number": words.code,
    "old": lambda rng, split: f"{words.made_up(rng, split)}.{rng.choice(('txt', 'pdf', 'png'))}",
    "new": lambda rng, split: f"{words.made_up(rng, split)}.{rng.choice(('txt', 'pdf', 'png'))}",
}
_PLACED = ("origin", "destination", "pickup", "dropoff")


def _everyday_request(rng: random.Random, split: Split, everyday: Everyday) -> tuple[dict[str, Any], str, Values]:
    request = choose(rng, split, everyday.requests)
    values: Values = {}
    for name, kind in everyday.types.items():
        if "{" + name + "}" not in request:
            continue
        if kind is _NUMBER:
            values[name] = rng.randint(1, 12) if rng.random() < 0.5 else rng.randint(1, 300)
        elif everyday.description == "Convert money":
            values[name] = rng.choice(("USD", "EUR", "CHF", "SEK", "INR", "BRL", "CAD", "NOK"))
        else:
            values[name] = _FILLERS.get("place" if name in _PLACED else name, words.text)(rng, split)
    name = rng.choice(everyday.names)
    renamed = {key: (words.made_up(rng, split) if rng.random() < 0.1 else key) for key in everyday.types}
    tool = schema(
        name,
        everyday.description,
        {renamed[key]: kind for key, kind in everyday.types.items()},
        [renamed[next(iter(values))]],
    )
    return (
        tool,
        request.format(**values),
        {"name": name, "parameters": {renamed[key]: values[key] for key in everyday.types if key in values}},
    )


def sample(rng: random.Random, split: Split) -> Example:
    """One to four tools and a request for one or, in 30% of cases, two calls; the answer is JSON, an array for two."""
    asked: list[tuple[str, Values]] = []
    tools: dict[str, dict[str, Any]] = {}
    everyday_turn = rng.random() < 0.45
    wanted = 2 if rng.random() < 0.3 else 1
    while len(asked) < wanted:
        if everyday_turn:
            schema_, request, call = _everyday_request(rng, split, rng.choice(EVERYDAY))
        else:
            tool = made_up_tool(rng, split)
            schema_, (request, call) = tool.schema, _named_request(rng, split, tool)
        if call["name"] not in tools:
            tools[call["name"]] = schema_
            asked.append((request, call))
    for _ in range(rng.choice((0, 1, 1, 2))):
        other = (
            _everyday_request(rng, split, rng.choice(EVERYDAY))[0] if everyday_turn else made_up_tool(rng, split).schema
        )
        tools.setdefault(other["function"]["name"], other)
    offered = list(tools.values())
    rng.shuffle(offered)
    user = rng.choice(_OPENERS if not everyday_turn else ("", "", "", "Hi, ", "OK, ", "So ")) + choose(
        rng, split, _LINKS
    ).join(request for request, _ in asked)
    user = user if rng.random() < 0.3 else user[0].upper() + user[1:]
    user += rng.choice(("", ".", "?", "!", " please", ""))
    calls = [call for _, call in asked]
    return single_turn(user, compact_json(calls[0] if wanted == 1 else calls), "calls", offered)
