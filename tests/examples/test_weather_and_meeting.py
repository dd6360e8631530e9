"""The example of two functions, end to end on the embedded model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent.parent / "examples" / "weather_and_meeting.py"


def test_two_functions_are_called_in_one_answer_executed_and_answered(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("weather_and_meeting", FILE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main("tiny")
    printed = capsys.readouterr().out
    assert (
        'Call: get_weather({"city":"Tokyo"})\nCall: schedule_meeting({"title":"review","date":"tomorrow"})' in printed
    )
    assert '"sky": "partly cloudy", "temperature": 24' in printed and '"status": "scheduled"' in printed
    assert printed.index("Result of schedule_meeting") < printed.index("tiny: ")
