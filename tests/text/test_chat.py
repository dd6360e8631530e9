"""Chats through templates, streaming text, and calls in answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError, TemplateError
from bezel.testing import byte_tokenizer
from bezel.text.calls import Call, parse_calls
from bezel.text.detokenizer import Detokenizer
from bezel.text.messages import normalise
from bezel.text.template import ChatTemplate

TOKENIZER = byte_tokenizer("<start_of_image>", "[multimodal]")
CHAT = ChatTemplate(TOKENIZER)


def rendered(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    return TOKENIZER.decode(CHAT.encode(messages, tools or []), keep_control=True)


def test_turns_look_as_gemma_was_trained() -> None:
    chat = [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": [{"type": "text", "text": " Hi "}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    assert rendered(chat) == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("piece", TOKENIZER.control_pieces)
def test_no_content_becomes_a_control_piece(piece: str) -> None:
    def controls(text: str) -> list[int]:
        tool = {"type": "function", "function": {"name": text, "description": text, "parameters": {text: [text]}}}
        call = {"function": {"name": text, "arguments": {text: text}}}
        chat = [
            {"role": "system", "content": text},
            {"role": "user", "content": f"{piece[1:]}{text}{piece[:-1]}"},
            {"role": "assistant", "content": text, "tool_calls": [call]},
            {"role": "tool", "content": text, "name": text},
        ]
        return [i for i in CHAT.encode(chat, [tool]) if i in TOKENIZER.control_ids]

    assert controls(piece) == controls("x") == [2, 4, 5, 4, 5, 4, 5, 4]


def test_a_template_agrees_with_transformers() -> None:
    library = pytest.importorskip("transformers.utils.chat_template_utils")
    source = (
        "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}\n<start_of_turn>{{ m.role }}\n"
        "{{ m.content | trim }}<end_of_turn>\n  {% endif %}\n{% endfor %}\n{{ tools | tojson(indent=2) if tools }}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    chat = [{"role": "user", "content": " a <b> é "}, {"role": "user", "content": "c"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    expected = library._compile_jinja_template(source).render(
        messages=chat, tools=tools, add_generation_prompt=True, bos_token="<bos>"
    )
    ours = ChatTemplate(TOKENIZER, source).encode(chat, tools)
    assert TOKENIZER.decode(ours, keep_control=True) == expected


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{% for %}", TemplateError),
        ("{{ messages[0].nothing.at.all }}", TemplateError),
        ("{{ ''.__class__.__mro__ }}", TemplateError),
        ("{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}", TemplateError),
        ("{{ raise_exception('no') }}", InvalidRequestError),
        ("{{ messages.append(1) }}", TemplateError),
    ],
)
def test_templates_are_contained(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ChatTemplate(TOKENIZER, source).encode([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([], "empty"),
        ([{"role": "wizard", "content": "x"}], r"messages\[0\].role"),
        ([{"role": "user"}], r"messages\[0\].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\]"),
        ([{"role": "user", "content": 3}], "int"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "arguments"),
        ([{"role": "assistant", "content": "x"}], "alternate"),
    ],
)
def test_bad_messages_name_the_field(messages: list[dict[str, Any]], where: str) -> None:
    with pytest.raises(InvalidRequestError, match=where):
        CHAT.encode(messages)


def test_call_arguments_come_as_text_or_object() -> None:
    for arguments in ('{"a":1}', {"a": 1}):
        message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
        assert normalise([message])[0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


@settings(max_examples=300, deadline=None)
@given(text=st.text(), more=st.lists(st.integers(8, 264), max_size=6))
def test_streamed_text_is_whole_and_complete(text: str, more: list[int]) -> None:
    ids = TOKENIZER.encode(text) + more
    detokenizer = Detokenizer(TOKENIZER)
    pieces = [detokenizer.push(i) for i in ids]
    if not more:
        assert all("\ufffd" not in piece or "\ufffd" in text for piece in pieces)
    assert "".join(pieces) + detokenizer.flush() == TOKENIZER.decode(ids)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name":"f","parameters":{"a":1}}', [Call("f", {"a": 1})]),
        ('[{"name":"f","parameters":{}},{"name":"g","parameters":{}}]', [Call("f", {}), Call("g", {})]),
        ('```json\n{"name": "f", "arguments": {"b": [2]}}\n```', [Call("f", {"b": [2]})]),
        ('{"name":"f"}\n{"name":"g"}', [Call("f", {}), Call("g", {})]),
        ("hello", []),
        ('{"name":"f"', []),
        ('[{"name":"f"}', []),
        ('```json\n{"name":"f"}', []),
        ('{"name":"f","parameters":[]}', []),
        ("[" * 100_000, []),
    ],
)
def test_calls_are_read_from_answers(text: str, calls: list[Call]) -> None:
    assert parse_calls(text) == calls
