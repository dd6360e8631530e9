"""The example of two functions, end to end on the embedded model."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_two_functions_are_called_in_one_answer_executed_and_answered(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    example("weather_and_meeting").main("tiny")
    printed = capsys.readouterr().out
    assert (
        'Call: get_weather({"city":"Tokyo"})\nCall: schedule_meeting({"title":"review","date":"tomorrow"})' in printed
    )
    assert '"sky": "partly cloudy", "temperature": 24' in printed and '"status": "scheduled"' in printed
    answer = printed[printed.index("tiny: ") :]
    assert printed.index("Result of schedule_meeting") < printed.index("tiny: ")
    assert "partly cloudy" in answer and "24" in answer and "scheduled" in answer
