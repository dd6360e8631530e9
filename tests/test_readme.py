"""What the README tells people to type works; models that would be downloaded are stood in for by tiny."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from bezel.cli.main import app

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip().removeprefix("scripts/")
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.partition("#")[0].strip().startswith(("bezel ", "scripts/bezel ", "git diff |"))
]
PIPED = "a line of text\n"
FILES = {
    "person.json": '{"type": "object", "properties": {"name": {"enum": ["Ada"]}}, "required": ["name"]}',
    "my_tools.py": 'def weather(city: str) -> str:\n    """The weather in a city."""\n    return "rain"\n',
}
"""Files that a reader of the README would have."""
NEEDS = {"check": "a ShieldGemma", "transcribe": "a model that hears"}


def local(argument: str) -> str:
    """tiny in place of a hub's name."""
    return "tiny" if re.match(r"[\w-]+/[\w.-]+", argument) and not argument.endswith(".gguf") else argument


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_of_the_readme_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    piped, _, after = command.rpartition("|")
    _, verb, *arguments = shlex.split(after)
    if any("someone/" in argument for argument in arguments):
        pytest.skip("names a file on a hub")
    if verb in NEEDS or "--image" in arguments:
        pytest.skip(f"needs {NEEDS.get(verb, 'a model that sees')}")
    arguments = [local(argument) for argument in arguments]
    if verb == "quantize":
        arguments[arguments.index("Q4_0")] = "Q8_0"  # what tiny is stored in; a second rounding is refused
    text = PIPED if piped else "hello\n/exit\n" if verb == "chat" else ""
    done = CliRunner().invoke(app, [verb, *arguments], input=text)
    assert done.exit_code == 0, done.output
    assert done.output.strip()


def test_the_python_of_the_readme_works(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(code.replace("google/gemma-3-1b-it", "tiny").replace(', level="balanced"', ""), "README", "exec"), {})
    assert len(capsys.readouterr().out) > 20


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 6
