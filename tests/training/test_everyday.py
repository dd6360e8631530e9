"""Everyday calls: every value can be found in what the user said, and every tool can be read as written."""

import json
import random
import re

import pytest

from bezel.training.data import calls, everyday
from bezel.training.data.everyday import fillers, framing
from bezel.training.data.example import held_out

KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
TOOLS = everyday.everyday_tools()


def said(value, user):
    """Whether `value` can be read off `user`, as digits, as a number word, or verbatim."""
    if isinstance(value, str):
        return value in user
    spelled = [word for word, number in fillers.NUMBER_WORDS.items() if number == value]
    return bool(re.search(rf"(?<![\d.]){re.escape(str(value))}(?!\d)", user)) or any(
        re.search(rf"\b{word}\b", user) for word in spelled
    )


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_argument_is_allowed_and_was_said(split):
    rng, several = random.Random(11), 0
    for _ in range(5000):
        example = calls.sample(rng, split)
        user, answer = example.messages[0]["content"], json.loads(example.answer)
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
        assert len(schemas) == len(example.tools)
        several += isinstance(answer, list)
        for call in answer if isinstance(answer, list) else [answer]:
            shape = schemas[call["name"]]
            assert set(shape["required"]) <= set(call["parameters"]) <= set(shape["properties"]), example
            for name, value in call["parameters"].items():
                kind = shape["properties"][name]
                assert isinstance(value, KINDS[kind["type"]]), example
                if "enum" in kind:
                    assert value in kind["enum"], example
                elif not isinstance(value, bool):
                    assert said(value, user), example
    assert 1950 < several < 2250


def test_every_tool_is_well_formed():
    names = [name for tool in TOOLS for name in tool.names]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    for tool in TOOLS:
        keys = {parameter.key: parameter for parameter in tool.parameters}
        assert len(tool.names) >= 3 and len(tool.requests) >= 5, tool.names
        shown = [name for parameter in tool.parameters for name in parameter.names]
        assert len(set(shown)) == len(shown) and all(name.isidentifier() for name in shown), tool.names
        for name in [*tool.names, *keys]:
            assert name.isidentifier(), tool.names
        assert len(tool.indirect) == 6 and not set(tool.indirect) & set(tool.requests), tool.names
        for line in (*tool.requests, *tool.indirect):
            wording, _, hints = line[2:].partition(" => ")
            slots = set(re.findall(r"\{(\w+)", wording))
            implied = everyday.implied(hints)
            assert slots | set(implied) <= set(keys), line
            assert not slots & set(implied), line
            for key, value in implied.items():
                assert isinstance(value, bool) or value in keys[key].schema["enum"], line
            for _ in range(20):
                spoken = everyday.expand(random.Random(_), wording)
                assert not re.search(r"[()|]", spoken), line
                filled = set(re.findall(r"\{(\w+)", spoken)) | set(implied)
                assert {key for key, parameter in keys.items() if parameter.required} <= filled, line


def test_requests_of_the_two_splits_differ():
    tool = next(tool for tool in TOOLS if any(map(held_out, tool.requests)))
    tested = [line for line in tool.requests if held_out(line)]
    assert 0 < len(tested) < len(tool.requests)


def test_framing_leaves_values_alone():
    rng = random.Random(4)
    values = [("McDuff-77 iPad", True), ("  odd,  'quoted' ", True)]
    request = everyday.Request("-", [("call ", False), values[0], (" about ", False), values[1]], False, {})
    for _ in range(500):
        user = framing.frame(rng, "train", [request])
        assert values[0][0] in user and values[1][0].strip() in user


def test_fillers_agree_with_their_schemas():
    rng = random.Random(6)
    for parameter in {parameter.filler: parameter for tool in TOOLS for parameter in tool.parameters}.values():
        if parameter.filler == "bool":
            continue
        for _ in range(50):
            spoken, value = fillers.fill(rng, "train", parameter.filler)
            assert isinstance(value, KINDS[parameter.schema["type"]])
            assert spoken and spoken == spoken.strip() and "<" not in spoken
