"""What the examples say to who types nothing, too much, or a model that there is not; and to tiny's small context."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

from tests.examples.conftest import FOLDER

TYPED = {
    "chart_questions": ["chart.png"],
    "document_analysis": ["page.jpg"],
    "live_translation": ["talk.ogg", "it"],
    "private_assistant": ["notes"],
    "tutoring": ["sums.jpg", "why.ogg"],
    "voice_notes": ["note.ogg"],
    "weather_and_meeting": [],
}


def ran(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> str | int | None:
    """What an example leaves with, run as a program; None where it comes to its end."""
    file = FOLDER / f"{name}.py"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("sys.argv", [str(file), *arguments])
    monkeypatch.syspath_prepend(str(FOLDER))
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as left:
        return left.code
    return None


def test_all_examples_are_tried() -> None:
    assert {file.stem for file in FOLDER.glob("*.py")} - {"command_line"} == set(TYPED)


@pytest.mark.parametrize("name", TYPED)
def test_an_example_says_what_to_type(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    too_few: list[list[str]] = [[]] if TYPED[name] else []
    for arguments in (*too_few, [*TYPED[name], "tiny", "and", "more"]):
        assert ran(monkeypatch, name, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"usage: python examples/{name}.py ") and line.endswith("[MODEL]")


@pytest.mark.parametrize("name", TYPED)
def test_a_model_that_there_is_not_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ran(monkeypatch, name, *TYPED[name], "nothing")
    assert isinstance(said, str) and "'nothing' is neither a file or folder here nor a hub name" in said
    assert "\n" not in said


def test_a_page_fits_into_tinys_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (300, 240), "white").save(tmp_path / "page.png")
    assert ran(monkeypatch, "document_analysis", str(tmp_path / "page.png"), "tiny") is None
    assert capsys.readouterr().out
