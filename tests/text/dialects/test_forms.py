"""Tools, calls and results written for models, through every kind of template; content never becomes structure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bezel.errors import InvalidRequestError
from bezel.testing import byte_tokenizer
from bezel.text.dialects import native
from bezel.text.dialects.forms import FUNCTION_GEMMA, GEMMA_4, PROMPTED, Native, dialect_of
from bezel.text.messages import normalise
from bezel.text.template import ChatTemplate
from bezel.text.tools import NamedTool, check_tools, tool_choice

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather now.",
        "parameters": {
            "type": "object",
            "properties": {
                "unit": {"type": "string", "enum": ["celsius", "kelvin"], "description": "Which."},
                "City": {"type": "string"},
                "days": {"type": ["integer", "null"]},
                "who": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["City"],
        },
    },
}
CALLS = [
    {
        "id": "1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"unit": "kelvin", "City": "Oslo"}},
    },
    {"id": "2", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, true, null, {"b": 0.5}]}'}},
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Go."},
    {"role": "assistant", "content": "Well.", "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "2", "content": "sunny"},
    {"role": "tool", "tool_call_id": "1", "content": '{"sky": "blue", "at": [3]}'},
]
DIALECTS = {"functiongemma": FUNCTION_GEMMA, "gemma4": GEMMA_4}


def pieces_of(dialect: Native) -> list[str]:
    pieces = dialect.pieces
    turns = [piece for piece in (dialect.form["open"], dialect.form["close"]) if "_of_turn" not in piece]
    return [*pieces.declare, *pieces.call, *pieces.respond, pieces.quote, *turns]


def template(dialect: Native | None = None, source: str | None = None) -> ChatTemplate:
    return ChatTemplate(byte_tokenizer(*(pieces_of(dialect) if dialect else [])), source)


def rendered(chat: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    return chat._tokenizer.decode(chat.encode(messages, tools or []), keep_control=True)


def test_function_gemma_as_it_was_trained() -> None:
    assert rendered(template(FUNCTION_GEMMA), CHAT[1:], [WEATHER]) == (
        "<bos><start_of_turn>developer\nYou are a model that can do function calling with the following functions"
        "<start_function_declaration>declaration:get_weather{description:<escape>Weather now.<escape>,parameters:{"
        "properties:{City:{type:<escape>STRING<escape>},days:{nullable:true,type:<escape>INTEGER<escape>},"
        "unit:{description:<escape>Which.<escape>,enum:[<escape>celsius<escape>,<escape>kelvin<escape>],"
        "type:<escape>STRING<escape>},who:{items:{type:<escape>STRING<escape>},type:<escape>ARRAY<escape>}},"
        "required:[<escape>City<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration><end_of_turn>\n"
        "<start_of_turn>user\nGo.<end_of_turn>\n<start_of_turn>model\nWell."
        "<start_function_call>call:get_weather{City:<escape>Oslo<escape>,unit:<escape>kelvin<escape>}"
        "<end_function_call><start_function_call>call:f{a:[1,true,null,{b:0.5}]}<end_function_call>"
        "<start_function_response>response:f{value:<escape>sunny<escape>}<end_function_response>"
        "<start_function_response>response:get_weather{at:[3],sky:<escape>blue<escape>}<end_function_response>"
    )


def test_gemma_4_as_it_was_trained() -> None:
    more = [*CHAT, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Thanks."}]
    text = rendered(template(GEMMA_4), more, [WEATHER])
    assert text.startswith('<bos><|turn>system\nBe brief.<|tool>declaration:get_weather{description:<|"|>Weather')
    assert text.endswith(
        '<|tool_response>response:f{value:<|"|>sunny<|"|>}<tool_response|>'
        '<|tool_response>response:get_weather{at:[3],sky:<|"|>blue<|"|>}<tool_response|>'
        "Blue.<turn|>\n<|turn>user\nThanks.<turn|>\n<|turn>model\n"
    )


def test_calls_without_results_close_their_turn() -> None:
    text = rendered(template(FUNCTION_GEMMA), [*CHAT[1:3], {"role": "user", "content": "Well?"}])
    assert text.endswith(
        "<end_function_call><end_of_turn>\n<start_of_turn>user\nWell?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_gemma_3_is_told_in_words() -> None:
    text = rendered(template(), CHAT, [WEATHER])
    assert text.startswith("<bos><start_of_turn>user\nBe brief.\n\nYou have access to functions.")
    assert json.dumps([WEATHER]) in text
    assert text.endswith(
        '<start_of_turn>model\nWell.\n{"name":"get_weather","parameters":{"unit":"kelvin","City":"Oslo"}}\n'
        '{"name":"f","parameters":{"a":[1,true,null,{"b":0.5}]}}<end_of_turn>\n<start_of_turn>user\n'
        'Result of f:\nsunny\n\nResult of get_weather:\n{"sky": "blue", "at": [3]}<end_of_turn>\n<start_of_turn>model\n'
    )
    asked = rendered(template(), [*CHAT, {"role": "user", "content": "And?"}])
    assert asked.endswith('"at": [3]}\n\nAnd?<end_of_turn>\n<start_of_turn>model\n')


TURNS = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TURNS, "[system:Be brief.\n\nYou have access"),
        ("{{ tools | tojson }}" + TURNS, '[{"type": "function"'),
        (TURNS + "{% for m in messages %}{{ m.tool_calls | length if m.tool_calls }}{% endfor %}", "[assistant:Well.]"),
        (TURNS + "{% if messages[0].role == 'tool' %}x{% endif %}", "[tool:sunny][tool:{"),
    ],
    ids=["nothing", "tools", "calls", "results"],
)
def test_a_checkpoints_own_template_writes_what_it_knows(source: str, said: str) -> None:
    text = rendered(template(source=source), CHAT, [WEATHER])
    assert said in text
    assert ("You have access" in text) == ("tools" not in source)
    assert ("[user:Result of" in text) == ("'tool'" not in source)
    assert ('{"name":"get_weather","parameters"' in text) == ("tool_calls" not in source)


def test_the_dialect_is_that_of_vocabulary_and_template() -> None:
    for dialect in (FUNCTION_GEMMA, GEMMA_4):
        tokenizer = byte_tokenizer(*pieces_of(dialect))
        assert dialect_of(tokenizer, None) is dialect
        assert dialect_of(tokenizer, "writes " + dialect.pieces.call[0]) is dialect
        assert dialect_of(tokenizer, TURNS) is PROMPTED
        assert tokenizer.control_pieces[dialect.pieces.respond[0]] in tokenizer.stop_ids
    assert dialect_of(byte_tokenizer(), FUNCTION_GEMMA.template) is PROMPTED


@pytest.mark.parametrize("name", ["gemma", "functiongemma", "gemma4"])
def test_no_call_result_or_tool_changes_the_structure(name: str) -> None:
    dialect = DIALECTS.get(name)
    chat = template(dialect)
    tokenizer = chat._tokenizer

    def controls(text: str) -> list[int]:
        tool = {
            "name": text,
            "description": text,
            "parameters": {
                "type": "object",
                "properties": {text: {"type": text, "enum": [text], "description": text}},
                "required": [text],
            },
        }
        calls = [{"id": text, "function": {"name": text, "arguments": {text: [text, {text: text}]}}}]
        messages = [
            {"role": "system", "content": text},
            {"role": "user", "content": text},
            {"role": "assistant", "content": text, "tool_calls": calls},
            {"role": "tool", "content": text, "tool_call_id": text},
            {"role": "tool", "content": json.dumps({text: text}), "name": text},
        ]
        ids = chat.encode(messages, [{"type": "function", "function": tool}])
        return [token for token in ids if token in tokenizer.control_ids]

    expected = controls("harmless")
    assert len(expected) > 4
    for piece in tokenizer.control_pieces:
        for text in (piece, f"x{piece}y", piece + piece, piece[1:] + piece + piece[:-1]):
            assert controls(text) == expected, text


def test_results_bear_the_name_of_their_call() -> None:
    clean = normalise(CHAT)
    assert [message["name"] for message in clean if message["role"] == "tool"] == ["f", "get_weather"]
    unnamed = [
        CHAT[1],
        {"role": "assistant", "tool_calls": CALLS},
        {"role": "tool", "content": "a"},
        {"role": "tool", "content": "b"},
    ]
    assert [message["name"] for message in normalise(unnamed)[2:]] == ["get_weather", "f"]
    with pytest.raises(InvalidRequestError, match=r"messages\[3\].tool_call_id is '9'"):
        normalise([*CHAT[:3], {"role": "tool", "tool_call_id": "9", "content": "x"}])


def test_results_that_are_no_objects_are_a_value() -> None:
    for content in ("plain", "[1]", "3", "{", "[" * 5000):
        assert native.response("f", content, native.GEMMA_4).startswith('<|tool_response>response:f{value:<|"|>')


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("x", "list of tool schemas"),
        ([{"name": "f"}], r"tools\[0\] must be"),
        ([{"function": {"name": ""}}], r"tools\[0\].function.name is missing"),
        ([{"function": {"name": "f"}}] * 2, r"tools\[1\].*again"),
        ([{"function": {"name": "f", "parameters": [1]}}], "JSON Schema"),
    ],
)
def test_bad_tools_name_the_field(tools: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        check_tools(tools)


def test_tool_choices_are_read() -> None:
    assert [tool_choice(word) for word in ("none", "auto", "required")] == ["none", "auto", "required"]
    named = {"type": "function", "function": {"name": "f"}}
    assert tool_choice(named) == tool_choice(NamedTool("f")) == NamedTool("f")
    for wrong in ("always", None, {"name": "f"}, {"function": {}}):
        with pytest.raises(InvalidRequestError, match="tool_choice"):
            tool_choice(wrong)
