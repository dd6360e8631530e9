"""Builders of messages, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bezel import prompts
from bezel.errors import InvalidRequestError
from bezel.prompts import cultures as module

LESSON = ("american", "brazilian", "german", "indian", "japanese")


@pytest.fixture(autouse=True)
def restored() -> object:
    before = dict(module._cultures)
    yield
    module._cultures.clear()
    module._cultures.update(before)


def test_cultures_and_styles_reach_the_system_message() -> None:
    system, user = prompts.answering(" Balance? ", ["Japanese", " american"], "educational", system="Be brief.")
    assert user == {"role": "user", "content": "Balance?"}
    assert system["role"] == "system" and system["content"].startswith("Be brief.")
    for part in ("For Japanese readers: Use respectful", "For American readers: Be direct", "Teach: "):
        assert part in system["content"]
    assert "German" not in system["content"]
    assert prompts.answering("Hi") == [{"role": "user", "content": "Hi"}]
    assert "several cultures" not in prompts.instructions(["german"]) and prompts.instructions() == ""


def test_the_five_cultures_and_three_styles_are_there() -> None:
    assert sorted(prompts.CULTURES) == list(LESSON)
    assert list(prompts.STYLES) == ["formal", "casual", "educational"]
    assert len({prompts.instructions([name]) for name in LESSON}) == 5
    assert len({prompts.instructions(style=name) for name in prompts.STYLES}) == 3


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: prompts.answering("x", ["martian"]), "unknown culture 'martian'; known: american, brazilian, german"),
        (lambda: prompts.answering("x", style="rude"), "unknown style 'rude'; known: casual, educational, formal"),
        (lambda: prompts.answering("x", "german"), "list of names"),
        (lambda: prompts.answering(" "), "question is empty"),
        (lambda: prompts.multilingual("x", []), "languages"),
        (lambda: prompts.multilingual("x", "English"), "languages"),
        (lambda: prompts.comparison("x", ["a.png"]), "two images"),
        (lambda: prompts.analysis("x", ""), "image"),
        (lambda: prompts.function_calling("x", []), "functions is empty"),
        (lambda: prompts.function_calling("x", [{"description": "f"}]), "no name"),
        (lambda: prompts.function_calling("x", {"name": "f"}), "functions is a dict"),  # type: ignore[arg-type]
        (lambda: prompts.function_calling("x", ["f"]), "no name: 'f'"),  # type: ignore[list-item]
        (lambda: prompts.function_calling("x", [{"name": "f", "parameters": True}]), "parameters of f"),
        (lambda: prompts.register_culture("a,b", "A", "B"), "comma"),
        (lambda: prompts.register_culture("a", "A", " "), "guidance"),
    ],
)
def test_what_is_wrong_is_named(ask: object, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        ask()  # type: ignore[operator]


def test_cultures_are_added_in_code_and_from_a_file(tmp_path: Path) -> None:
    prompts.register_culture("Telugu", "Telugu readers", "Address elders with garu.")
    assert "For Telugu readers: Address elders with garu." in prompts.instructions(["telugu"])
    file = tmp_path / "more.toml"
    file.write_text('[Swiss]\naudience = "Swiss readers"\nguidance = "Be on time."\n')
    assert prompts.load_cultures(file) == ["swiss"]
    assert "Be on time." in prompts.instructions(["SWISS"])
    with pytest.raises(TypeError):
        prompts.CULTURES["x"] = prompts.Culture("a", "b")  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a", "TOML"),
        ('[a]\naudience = "A"\n', r"\[a\] must have"),
        ('[a]\naudience = "A"\nguidance = 3\n', "guidance"),
        ('a = "b"', r"\[a\]"),
    ],
)
def test_a_bad_file_of_cultures_is_refused_whole(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[fine]\naudience = "A"\nguidance = "B"\n' + text if text != "[a" else text)
    if text == 'a = "b"':
        file.write_text(text)
    with pytest.raises(InvalidRequestError, match=said):
        prompts.load_cultures(file)
    assert sorted(prompts.CULTURES) == list(LESSON)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        prompts.load_cultures(tmp_path / "none.toml")


def test_languages_stand_in_their_order() -> None:
    system, user = prompts.multilingual("Explain tides.", ["English", "తెలుగు", "中文"])
    assert "English, తెలుగు and 中文" in system["content"] and user["content"] == "Explain tides."
    assert "Answer in Telugu" in prompts.multilingual("x", ["Telugu"])[0]["content"]


def test_images_are_parts_before_the_question() -> None:
    _, user = prompts.analysis("What sells?", "chart.png", context="two years")
    image, text = user["content"]
    assert image == {"type": "image_url", "image_url": {"url": "chart.png"}}
    assert text["text"].startswith("What sells?") and text["text"].endswith("two years")
    system, user = prompts.comparison("Which is older?", ["a.png", "b.png"])
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text", "image_url", "text"]
    assert user["content"][2]["text"] == "Image 2:" and "differ" in system["content"]


def test_functions_are_described_with_their_context() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "City and country"},
            "unit": {"enum": ["celsius", "kelvin"]},
            "who": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    }
    function = {"name": "weather", "description": "Weather now.", "parameters": schema}
    system, _ = prompts.function_calling("Oslo?", [function], context="Today is Monday.")
    text = system["content"]
    assert "- weather: Weather now.\n  - city (string, required): City and country\n" in text
    assert '  - unit (one of "celsius", "kelvin", optional)\n  - who (array of string, optional)' in text
    assert text.endswith("Context: Today is Monday.") and "FUNCTION_CALL: name(" in text
    assert prompts.function_calling("Oslo?", [{"type": "function", "function": function}])[0]["content"] in text


def test_functions_may_take_anything_or_nothing() -> None:
    properties = {"x": True, "y": False, "z": {"type": "array", "items": True}}
    system, _ = prompts.function_calling("x", [{"name": "f", "parameters": {"properties": properties}}])
    assert "\n  - x (anything, optional)\n  - z (array of anything, optional)\n" in system["content"]
