"""Calls read from answers, whole and in pieces, in every dialect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.text.calls import Call, CallBroken, CallDelta, CallEvent, CallFinished, CallStarted, CallText, parse_calls
from bezel.text.dialects import native
from bezel.text.dialects.forms import FUNCTION_GEMMA, GEMMA_4, PROMPTED
from bezel.text.dialects.prompted import PromptedReader
from bezel.text.dialects.reader import COUNT_LIMIT, DEPTH_LIMIT, SIZE_LIMIT, Reader

TOOLS = {"f": ["a", "b"], "get_weather": ["city", "unit"]}
CONTROLS = {piece for dialect in (FUNCTION_GEMMA, GEMMA_4) for piece in (*dialect.pieces.call, dialect.pieces.quote)}
Events = list[CallText | CallEvent]


def fed(reader: Reader, parts: Iterable[str], cut: int = 1) -> Events:
    """All events, the text in pieces of `cut` characters; parts that spell control pieces are control pieces."""
    events: Events = []
    for part in parts:
        events += reader.control(part) if part in CONTROLS else pushed(reader, part, cut)
    return events + reader.close()


def pushed(reader: Reader, text: str, cut: int) -> Events:
    return [event for at in range(0, len(text), cut) for event in reader.push(text[at : at + cut])]


def read(text: str, cut: int = 1) -> Events:
    reader = PromptedReader(TOOLS)
    return pushed(reader, text, cut) + reader.close()


def text_of(events: Events) -> str:
    return "".join(event.text for event in events if isinstance(event, CallText))


def calls_of(events: Events) -> list[Call]:
    return [event.call for event in events if isinstance(event, CallFinished)]


def check_order(events: Events) -> None:
    """Each call starts, gives its arguments and ends, one after the other; the pieces are the arguments."""
    at, arguments, ended = -1, "", True
    for event in events:
        if isinstance(event, CallText):
            assert ended
        elif isinstance(event, CallStarted):
            assert ended and event.index == at + 1
            at, arguments, ended = event.index, "", False
        else:
            assert event.index == at and not ended
            if isinstance(event, CallDelta):
                assert event.arguments
                arguments += event.arguments
            else:
                ended = True
            if isinstance(event, CallFinished):
                assert json.loads(arguments) == event.call.arguments
    assert ended


OSLO = Call("get_weather", {"city": "Oslo"})


@pytest.mark.parametrize("cut", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ('I look.\n{"name": "get_weather", "parameters": {"city": "Oslo"}}', "I look.", [OSLO]),
        ('{"name":"f","parameters":{}}, {"name":"f","parameters":{}}', "", [Call("f", {})] * 2),
        ('{"function_name":"f","arguments":{"a":[1,{"b":null}]}}', "", [Call("f", {"a": [1, {"b": None}]})]),
        ('{"parameters":{"a":1},"name":"f"}', "", [Call("f", {"a": 1})]),
        ('{"type":"function","id":"x","name":"f"}', "", [Call("f", {})]),
        ('{"name":"f","parameters":{"a":"one\ntwo"}}', "", [Call("f", {"a": "one\ntwo"})]),
        ('{"name":"nobody","parameters":{}}', "", [Call("nobody", {})]),
        ('get_weather(city="Oslo")', "", [OSLO]),
        ('get_weather("Oslo")', "", [OSLO]),
        ("f(1, b=-2.5)", "", [Call("f", {"a": 1, "b": -2.5})]),
        (
            'Calls:\n1. get_weather(city="Oslo")\n2. f(\n  a=["x", "y"],\n  b=60\n)',
            "Calls:",
            [OSLO, Call("f", {"a": ["x", "y"], "b": 60})],
        ),
        ("[f(a=1), g(b=True)]", "", [Call("f", {"a": 1}), Call("g", {"b": True})]),
        (
            "FUNCTION_CALL: f(a='it\\'s', b={'k': (1,)})\nFUNCTION_CALL: g()",
            "",
            [Call("f", {"a": "it's", "b": {"k": [1]}}), Call("g", {})],
        ),
        ('```tool_code\nprint(get_weather(city="Oslo"))\n```\nDone.', "\nDone.", [OSLO]),
        ('```json\n[{"name":"f"}]\n```', "", [Call("f", {})]),
        ('```tool_code\ng(a="""x"\ny""")', "", [Call("g", {"a": 'x"\ny'})]),
        ('[{"name":"f"}', "", [Call("f", {})]),
        ("f(a='\\u00e9\\x41\\n\\d', b='')", "", [Call("f", {"a": "éA\n\\d", "b": ""})]),
    ],
)
def test_prompted_calls_are_read(text: str, said: str, calls: list[Call], cut: int) -> None:
    events = read(text, cut)
    check_order(events)
    assert calls_of(events) == calls and text_of(events) == said
    assert not any(isinstance(event, CallBroken) for event in events)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "Hello, f(a=1) is how one calls it.",
        '{"title": "A", "name": "f"}',
        '{"name": "Ada", "age": 3}',
        "[1] a source",
        "[link](https://example.org)",
        "[g()]",
        "- one\n- two\n* three\n3.14",
        '```python\nprint("f")\n```\n',
        "```\n```",
        "`f(a=1)`",
        "f = 3",
        "f(x)",
        "g(a=1)",
        "FUNCTION_CALL: none",
        '{"name": "f", "param',
        "{}",
        '{"name": "f", "parameters": [1]}',
        "__import__('os').system('x')",
        "print(1)",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    for cut in (1, 2, 10_000):
        assert text_of(read(text, cut)) == text and not calls_of(read(text, cut))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name":"f","parameters":{"a":1', "missing"),
        ('{"name":"f","parameters":{"a":01}}', "'01' is no value"),
        ('{"name":"f","parameters":{"a":NaN}}', "'NaN' is no value"),
        ('{"name":"f","parameters":{"a":1e999}}', "not JSON"),
        ('{"name":"f","parameters":{"a":"\\ud800"}}', "surrogate"),
        ('{"name":"f","parameters":{"a":"\\q"}}', "no escape"),
        ('{"name":"f","parameters":{"a":' + "[" * (DEPTH_LIMIT + 1), "nested"),
        ("f(a=1, a=2)", "a is given twice"),
        ("f(a=__import__('os'))", "'__import__' is no value"),
        ("f(a=open)", "'open' is no value"),
        ("f(a=1+1)", r"'1\+1' is no value"),
        ("f(a=[x for x in y])", "'x' is no value"),
        ("f(a=f'{x}')", "'f' is no value"),
        ("f(a='x' 'y')", "missing"),
        ("f(a='x", "no closing quote"),
        ("f(a='\\ud800')", "no character"),
        ("f(a=" + "(" * 100, "nested"),
        ("f(a=" + "9" * 5000 + ")", "too large"),
        ("f(a='" + "x" * SIZE_LIMIT, "longer"),
    ],
    ids=lambda value: value[:30],
)
def test_a_call_that_breaks_is_said_to_be_broken(text: str, reason: str) -> None:
    events = read("Well.\n" + text, 5000)
    check_order(events)
    (broken,) = [event for event in events if isinstance(event, CallBroken)]
    assert broken.name == "f" and broken.source == text and text_of(events) == "Well."
    assert __import__("re").search(reason, broken.reason), broken.reason
    assert not calls_of(events)


def test_an_answer_has_a_limited_number_of_calls() -> None:
    events = read('{"name":"f"}' * (COUNT_LIMIT + 5), 500)
    assert len(calls_of(events)) == COUNT_LIMIT
    assert isinstance(events[-1], CallBroken) and "more than" in events[-1].reason


def test_arguments_come_while_they_are_written() -> None:
    reader = PromptedReader(TOOLS)
    assert reader.push('{"name": "get_weather", "para') == []
    assert reader.push('meters": {"city": "Os') == [CallStarted(0, "get_weather"), CallDelta(0, '{"city":"Os')]
    assert reader.push("lo") == [CallDelta(0, "lo")]
    assert reader.push('"}') == [CallDelta(0, '"}')]
    assert reader.push("}") == [CallFinished(0, OSLO)]


def test_text_is_not_held_back() -> None:
    reader = PromptedReader(TOOLS)
    assert text_of(reader.push("The ") + reader.push("weather ")) == "The weather "
    assert text_of(reader.push("{")) == "{"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.from_regex(r"[a-z_]{1,5}", fullmatch=True)
KEYS = st.text("abcdefgh_é", min_size=1, max_size=5)
ARGUMENTS = st.dictionaries(KEYS, VALUES, max_size=3)
HOSTILE = ["<escape>", '<|"|>', "<end_function_call>", '"', "\\", "}", "<end_of_turn>", "\n", "🙂", "\u202eabc", "', '"]


@settings(max_examples=150, deadline=None)
@given(arguments=ARGUMENTS | st.fixed_dictionaries({"a": st.sampled_from(HOSTILE)}), cut=st.integers(1, 20))
def test_json_arguments_survive_exactly(arguments: dict[str, Any], cut: int) -> None:
    call = Call("f", arguments)
    events = read(PROMPTED.calls([call, call]), cut)
    check_order(events)
    assert calls_of(events) == [call, call] and text_of(events) == ""


@settings(max_examples=150, deadline=None)
@given(
    arguments=st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), VALUES, max_size=3), cut=st.integers(1, 20)
)
def test_python_arguments_survive_exactly(arguments: dict[str, Any], cut: int) -> None:
    text = f"FUNCTION_CALL: f({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    events = read(text, cut)
    check_order(events)
    assert calls_of(events) == [Call("f", arguments)] and text_of(events) == ""


def pieces_of(call: Call, pieces: native.Pieces) -> list[str]:
    """A rendered call with its control pieces apart, though texts in it may spell the same."""
    mark = "\uf8ff"
    marked = native.Pieces(
        *[tuple(mark + p + mark for p in pair) for pair in (pieces.declare, pieces.call, pieces.respond)],
        mark + pieces.quote + mark,
    )
    return native.call({"name": call.name, "arguments": call.arguments}, marked).split(mark)


NATIVE_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\uf8ff", exclude_categories=["Cs"]))
    | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("dialect", [FUNCTION_GEMMA, GEMMA_4], ids=lambda dialect: dialect.name)
@settings(max_examples=150, deadline=None)
@given(arguments=st.dictionaries(KEYS, NATIVE_VALUES, max_size=3), cut=st.integers(1, 20))
def test_native_arguments_survive_exactly(dialect: Any, arguments: dict[str, Any], cut: int) -> None:
    call = Call("get_weather", arguments)
    rendered = pieces_of(call, dialect.pieces)
    reader = dialect.reader([])
    events = reader.push("Look: <escape>{")
    for _ in range(2):
        for place, part in enumerate(rendered):
            between_marks = place % 2
            events += reader.control(part) if between_marks else pushed(reader, part, cut)
    events += reader.close()
    check_order(events)
    assert calls_of(events) == [call, call] and text_of(events) == "Look: <escape>{"


def test_native_calls_are_read_leniently() -> None:
    start, end = FUNCTION_GEMMA.pieces.call
    for body, arguments in (
        ("call:f{a:Paris,b:-1.5e3}", {"a": "Paris", "b": -1500.0}),
        ("call: f { a : True , b:[ 1, two ] } ", {"a": True, "b": [1, "two"]}),
        ("call:f{a:{},b:[]}", {"a": {}, "b": []}),
        ("call:f{a:007}", {"a": "007"}),
    ):
        for parts in ([start, body, end], [start, body]):
            assert calls_of(fed(FUNCTION_GEMMA.reader([]), parts)) == [Call("f", arguments)]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (["<start_function_call>", "call:f{a:", "<escape>", "x"], "no closing quote"),
        (["<start_function_call>", "call:f{a:", "<escape>", "x", "<end_function_call>"], "no closing quote"),
        (["<start_function_call>", "call:f{a:}", "<end_function_call>"], "a value is missing"),
        (["<start_function_call>", "call:f{:1}", "<end_function_call>"], "name is missing"),
        (["<start_function_call>", "call:f{a:1}x", "<end_function_call>"], "behind the arguments"),
        (["<start_function_call>", "call:f{a:" + "[" * 100, "<end_function_call>"], "nested"),
    ],
)
def test_native_calls_that_break(parts: Sequence[str], reason: str) -> None:
    more = ["<start_function_call>", "call:g{}", "<end_function_call>"]
    whole = [*parts, *more] if parts[-1] == "<end_function_call>" else parts
    events = fed(FUNCTION_GEMMA.reader([]), whole)
    check_order(events)
    (broken,) = [event for event in events if isinstance(event, CallBroken)]
    assert reason in broken.reason and broken.source == "".join(parts)
    assert calls_of(events) == ([Call("g", {})] if whole is not parts else [])


def test_a_native_call_without_a_name_is_text() -> None:
    events = fed(GEMMA_4.reader([]), ["<|tool_call>", "hello"])
    assert events and text_of(events) == "hello"


@settings(max_examples=400, deadline=None)
@given(
    text=st.text(st.sampled_from("{}[]()\"'\\,:=`-1.efg_ \nNaT"), max_size=60) | st.text(max_size=40),
    cut=st.integers(1, 9),
)
def test_no_text_is_lost_or_crashes_a_reader(text: str, cut: int) -> None:
    events = read(text, cut)
    check_order(events)
    if not any(not isinstance(event, CallText) for event in events):
        assert text_of(events) == text
    reader = GEMMA_4.reader([])
    assert text_of(pushed(reader, text, cut) + reader.close()) == text
    parse_calls(text)
