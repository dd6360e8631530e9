"""The Python and the commands of the pages on tools and prompts work; models that would be downloaded are tiny."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bezel.cli.main import app
from bezel.prompts import cultures

FOLDER = Path(__file__).parent.parent / "docs"


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (FOLDER / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["tools.md", "prompts.md"])
def test_the_python_of_a_page_works(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(cultures._cultures)
    for number, text in enumerate(blocks(page, "toml")):
        (tmp_path / ("my-cultures.toml" if number == 0 else f"{number}.toml")).write_text(text, "utf-8")
    code = blocks(page, "python")
    assert len(code) > 2
    names = {"__name__": "page"}
    try:
        for text in code:
            exec(compile(text, page, "exec"), names)
    finally:
        cultures._cultures.clear()
        cultures._cultures.update(before)


@pytest.mark.parametrize(
    "command",
    [line for page in ("tools.md", "prompts.md") for text in blocks(page, "sh") for line in text.splitlines()],
)
def test_a_command_of_a_page_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "--mcp" in command:
        pytest.skip("starts a server; see tests/tools/test_mcp.py")
    Path("functions.py").write_text('def get_weather(city: str) -> str:\n    """Weather."""\n    return "sunny"\n')
    Path("schemas.json").write_text('[{"type": "function", "function": {"name": "get_weather"}}]')
    _, verb, *arguments = shlex.split(command.partition("#")[0])
    done = CliRunner().invoke(app, [verb, "-n", "20", *arguments], input="hello\n/quit\n" if verb == "chat" else "")
    assert done.exit_code == 0, done.output
