"""Tools, cultures and styles on the command line, with the embedded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.api import Model
from bezel.cli.main import app
from bezel.errors import InvalidRequestError, ToolChoiceError, ToolError

TOOL = 'def get_weather(city: str) -> str:\n    """Weather in a city."""\n    return "sunny in " + city\n'
SCHEMA = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = "What is the weather in Oslo?"


def ran(*arguments: object, given: str = "") -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), input=given)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(TOOL)
    return file


def test_functions_of_a_module_are_executed(module: Path) -> None:
    done = ran("run", "--tools", module, "--max-rounds", 1, "-t", 0, "--json", QUESTION)
    answer = json.loads(done.stdout)
    (run,) = answer["runs"]
    assert run["call"] == {"name": "get_weather", "arguments": {"city": "Oslo"}} and run["content"] == "sunny in Oslo"
    done = ran("run", "--tools", module, "--max-rounds", 1, "-t", 0, QUESTION)
    assert 'get_weather({"city":"Oslo"})' in done.stdout
    assert "get_weather -> sunny in Oslo" in done.stderr and "no answer in words after 1 rounds" in done.stderr


def test_a_call_may_be_required_or_named_or_none(tmp_path: Path) -> None:
    other = json.loads(json.dumps(SCHEMA).replace("get_weather", "get_time"))
    schemas = tmp_path / "tools.json"
    schemas.write_text(json.dumps([SCHEMA, other]))
    asked = ("run", "--tools", schemas, "-t", 0, "-n", 60, "--json", "Hello!")
    for choice, names in (("required", {"get_weather", "get_time"}), ("get_time", {"get_time"}), ("none", set())):
        called = {call["name"] for call in json.loads(ran(*asked, "--tool-choice", choice).stdout).get("calls", ())}
        assert called <= names and bool(called) == bool(names)
    assert isinstance(ran(*asked, "--tool-choice", "no_tool").exception, ToolChoiceError)


def test_schemas_of_a_file_are_never_executed(tmp_path: Path, module: Path) -> None:
    schemas = tmp_path / "tools.json"
    schemas.write_text(json.dumps([SCHEMA]))
    answer = json.loads(ran("run", "--tools", schemas, "-t", 0, "--json", QUESTION).stdout)
    assert answer["calls"] == [{"name": "get_weather", "arguments": {"city": "Oslo"}}] and "runs" not in answer
    assert answer["text"] == ""
    refused = ran("run", "--tools", schemas, "--tools", module, QUESTION)
    assert isinstance(refused.exception, InvalidRequestError) and "never executed" in str(refused.exception)
    schemas.write_text("[1]")
    assert "must be a list" in str(ran("run", "--tools", schemas, QUESTION).exception)


def test_a_chat_remembers_calls_and_results(module: Path, tmp_path: Path) -> None:
    session = tmp_path / "chat.json"
    done = ran(
        "chat", "--tools", module, "--max-rounds", 1, "-t", 0, "--session", session, given=f"{QUESTION}\n/quit\n"
    )
    assert done.exit_code == 0, done.output
    roles = [message["role"] for message in json.loads(session.read_text())["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant"]
    again = ran("chat", "-t", 0, "-n", 5, "--session", session, given="And now?\n/undo\n/quit\n")
    assert again.exit_code == 0, again.output
    assert len(json.loads(session.read_text())["messages"]) == 4


def test_cultures_and_a_style_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    request = Model.request

    def noted(self: Model, messages: Any = None, *rest: Any, **options: Any) -> Any:
        asked.append(messages)
        return request(self, messages, *rest, **options)

    monkeypatch.setattr(Model, "request", noted)
    done = ran("run", "--culture", "japanese,american", "--style", "educational", "-n", 3, "Explain balance.")
    assert done.exit_code == 0, done.output
    system, user = asked[0]
    assert "Japanese readers" in system["content"] and "American readers" in system["content"]
    assert "Teach" in system["content"] and user["content"] == "Explain balance."
    ran("chat", "--style", "casual", "--system", "Be brief.", "-n", 3, given="Hello\n/quit\n")
    assert asked[1][0]["content"].startswith("Be brief.\n\nStyle: ")
    for option, name in (("--culture", "martian"), ("--style", "rude")):
        wrong = ran("run", option, name, "x")
        assert isinstance(wrong.exception, InvalidRequestError) and "known: " in str(wrong.exception)


def test_what_is_no_tool_file_says_so(tmp_path: Path) -> None:
    assert isinstance(ran("run", "--tools", tmp_path / "no.py", "x").exception, ToolError)
    assert "empty" in str(ran("run", "--mcp", "", "x").exception)
    assert isinstance(ran("run", "--mcp", "'", "x").exception, ToolError)
